"""Boosted phrases: gains of pieces, rejected phrases, and emitted tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from piece_lists import PIECES

import wheatear
from wheatear import Phrase, PhraseError
from wheatear.audio.reader import sample_speech
from wheatear.decoder.boosting import BoostingTree, BoostState

BLANK = len(PIECES)


class Pieces:
    """A vocabulary like a bundle's."""

    def __init__(self) -> None:
        self.texts = ["" if p.startswith("<") else p.replace("\u2581", " ") for p in PIECES]
        self.by_text: dict[str, list[int]] = {}
        for token, text in enumerate(self.texts):
            if text:
                self.by_text.setdefault(text, []).append(token)
        self.longest = max(map(len, self.by_text))

    def text(self, token: int) -> str:
        return self.texts[token]


def tree_of(*phrases: Phrase | str) -> BoostingTree:
    return BoostingTree(Pieces(), [Phrase(p) if isinstance(p, str) else p for p in phrases])  # type: ignore[arg-type]


def gains(tree: BoostingTree, *pieces: str) -> list[float]:
    """Gain of each piece of a row."""
    nodes, found = (), []
    for piece in pieces:
        tokens, bonus = tree.bonuses(nodes)
        token = PIECES.index(piece)
        found.append(round(float(dict(zip(tokens.tolist(), bonus, strict=True)).get(token, 0)), 4))
        nodes = tree.follow(nodes, token)
    return found


def test_gain_of_a_phrase_is_the_same_for_any_pieces() -> None:
    tree = tree_of("banana")
    rows = [("▁ban", "ana"), ("▁ban", "a", "na"), ("▁", "b", "an", "an", "a"), ("▁b", "ana", "na")]
    totals = {round(sum(gains(tree, *row)), 3) for row in rows}
    assert len(totals) == 1
    assert totals.pop() > 0.9
    assert gains(tree, "▁ban", "c", "ana") == [gains(tree, "▁ban")[0], 0, 0]


def test_a_phrase_begins_only_where_a_word_does() -> None:
    assert gains(tree_of("banana"), "b", "ana", "na") == [0, 0, 0]
    assert gains(tree_of("banana"), "▁c", "▁ban", "ana")[1:] == gains(
        tree_of("banana"), "▁ban", "ana"
    )
    assert gains(tree_of("今日は"), "▁a", "今日", "は")[1] > 0
    assert gains(tree_of("johnny"), "▁Jo", "hn", "ny")[2] > 0  # as a sentence may begin


def test_language_tags_break_nothing_off() -> None:
    tree = tree_of("banana")
    assert gains(tree, "▁ban", "<en>", "ana")[2] == gains(tree, "▁ban", "ana")[1]


def test_weights_add_up_and_never_take_away() -> None:
    one, three = (sum(gains(tree_of(Phrase("banana", w)), "▁ban", "ana")) for w in (1, 3))
    assert three == pytest.approx(3 * one, abs=1e-3)
    both = tree_of(Phrase("ban", 10), Phrase("banana", 0.1), Phrase("can", 0))
    assert all(gain > 0 for gain in gains(both, "▁ban", "ana"))
    assert gains(both, "▁c", "an") == [0, 0]
    assert gains(tree_of(Phrase("ccc", aliases=("banana",))), "▁ban")[0] > 0


@given(st.lists(st.sampled_from(["banana", "ban", "can", "Jon", "an ban", "na"]), max_size=4),
       st.lists(st.sampled_from(range(len(PIECES))), max_size=10))  # fmt: skip
def test_nothing_is_gained_beyond_the_phrases(phrases: list[str], path: list[int]) -> None:
    """No text gains more than a part of one phrase."""
    tree = tree_of(*phrases)
    most = max((sum(gains(tree_of(p), *f" {p}".replace(" ", "▁"))) for p in phrases), default=0)
    nodes: tuple[int, ...] = ()
    for token in path:
        tokens, bonus = tree.bonuses(nodes)
        assert len(set(tokens.tolist())) == len(tokens)
        assert all(0 <= b <= most + 1e-3 or most == 0 for b in bonus)
        nodes = tree.follow(nodes, token)
        assert list(nodes) == sorted(set(nodes))


def test_a_phrase_that_has_begun_goes_on_against_the_blank() -> None:
    tree = tree_of(Phrase("Johnny", 3))
    row = np.full(BLANK + 1, -9.0, np.float32)
    row[BLANK], row[PIECES.index("ny")] = -0.6, -1.2
    nodes = tree.follow(tree.follow((), PIECES.index("▁Jo")), PIECES.index("hn"))
    assert int(tree.boost(nodes, row, BLANK).argmax()) == PIECES.index("ny")
    assert int(tree.boost((), row, BLANK).argmax()) == BLANK
    away = tree.follow(nodes, PIECES.index("a"))
    assert away == ()


def test_gains_leave_the_blank_unchanged_outside_of_phrases() -> None:
    tree = tree_of("Johnny")
    row = np.full(BLANK + 1, -9.0, np.float32)
    row[PIECES.index("▁Jon")], row[PIECES.index("▁Jo")] = -1.0, -1.1
    row[BLANK] = -1.3
    row -= np.log(np.exp(row).sum())

    def emitted(tree: BoostingTree, *rows: np.ndarray) -> list[int]:
        logits = np.stack(rows)
        return BoostState(tree).choose(logits.argmax(axis=1), logits, BLANK).tolist()

    assert emitted(tree, row) == [PIECES.index("▁Jo")]
    assert emitted(tree_of("can"), row) == [PIECES.index("▁Jon")]
    silent = np.full(BLANK + 1, -9.0, np.float32)
    silent[BLANK], silent[PIECES.index("▁Jo")] = -0.1, -3
    assert emitted(tree_of(Phrase("Johnny", 10)), silent, row) == [BLANK, PIECES.index("▁Jo")]
    shifted = tree.boost((), row, BLANK)
    assert shifted[BLANK] == row[BLANK]
    assert np.exp(shifted).sum() == pytest.approx(1, abs=1e-5)
    assert shifted[PIECES.index("▁Jo")] > row[PIECES.index("▁Jo")]
    assert shifted[PIECES.index("▁Jon")] < row[PIECES.index("▁Jon")]


@pytest.mark.parametrize(
    ("phrase", "message"),
    [
        (lambda: Phrase("..."), "needs a letter"),
        (lambda: Phrase(""), "needs a letter"),
        (lambda: Phrase("a" * 201), "at most 200"),
        (lambda: Phrase("a", -1), "0 to 10"),
        (lambda: Phrase("a", aliases=("!",)), "needs a letter"),
        (lambda: tree_of("banzan"), "cannot write 'z' of the phrase 'banzan'"),
        (lambda: tree_of(*["ban"] * 5001), "at most 5000"),
    ],
)
def test_phrases_that_cannot_be_listened_for(phrase, message: str) -> None:
    with pytest.raises(PhraseError, match=message):
        phrase()


def test_streams_with_phrases_are_cut_and_batched_as_they_like() -> None:
    recognizer = wheatear.load(threads=1)
    samples, names = sample_speech(), ["unable to locate", "the person", Phrase("calling", 2)]
    options = {"language": "en-US", "latency_ms": 320, "phrases": names}
    whole = recognizer.transcribe(samples, **options)
    plain = recognizer.transcribe(samples, language="en-US", latency_ms=320)
    streams = [recognizer.stream(**options) for _ in range(3)]
    other = recognizer.stream(language="en-US", latency_ms=320)
    for at in range(0, len(samples), 5000):
        block = samples[at : at + 5000]
        recognizer.push_many([(s, block) for s in (*streams, other)])
    assert {s.finish().tokens for s in streams} == {whole.tokens}
    assert other.finish().tokens == plain.tokens
    many = [f"name {'abcdefghij'[n % 10]}{'klmnopqrst'[n // 10 % 10]}" for n in range(100)]
    assert recognizer.transcribe(samples, phrases=many).text
    with pytest.raises(PhraseError, match="今"):
        recognizer.stream(phrases=["今日"])
