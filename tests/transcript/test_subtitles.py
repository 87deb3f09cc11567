"""Finals are cut into cues that can be read in time."""

import pytest
from finals import final_of, turns
from hypothesis import given
from hypothesis import strategies as st

from wheatear.transcript.results import Final, Word
from wheatear.transcript.subtitles import CueBuilder, CueRules

LETTERS = st.text(alphabet="abcdef-.?今日", min_size=1, max_size=16)
TURN = st.lists(st.tuples(LETTERS, st.floats(0, 2), st.floats(0.001, 3)), min_size=1, max_size=40)


@given(
    st.lists(TURN, max_size=5), st.integers(8, 60), st.integers(1, 3), st.floats(1, 30),
)  # fmt: skip
def test_cues_hold_every_word_once_and_do_not_overlap(
    words: list[list[tuple[str, float, float]]], letters: int, lines: int, speed: float
) -> None:
    finals = turns(*words)
    builder = CueBuilder(CueRules(letters, lines, speed))
    cues = [cue for turn in finals for cue in builder.cues(turn)]
    assert " ".join(line for cue in cues for line in cue.lines).split() == [
        word.text for turn in finals for word in turn.words
    ]
    time = 0.0
    for cue in cues:
        assert time <= cue.start < cue.end
        time = cue.end
        assert 1 <= len(cue.lines) <= lines
        assert all(len(line) <= letters or " " not in line for line in cue.lines)


def test_cue_stays_long_enough_to_be_read() -> None:
    (turn,) = turns([("a" * 34, 0, 0.2)])
    (cue,) = CueBuilder(CueRules()).cues(final_of(list(turn.words), 0, 9))
    assert cue.end == pytest.approx(2.0)
    (cue,) = CueBuilder(CueRules()).cues(final_of(list(turn.words), 0, 0.9))
    assert cue.end == pytest.approx(0.9)  # the next turn may begin there


def test_silence_has_no_cues() -> None:
    assert not list(CueBuilder(CueRules()).cues(Final("", (), 0.0, 2.0, None, (), ())))


def test_rolling_lines_move_up() -> None:
    words = [(word, 0.1, 0.3) for word in ["one", "two", "three", "four", "five", "six", "seven"]]
    cues = [c for t in turns(words) for c in CueBuilder(CueRules(letters=9, rolling=True)).cues(t)]
    assert [cue.lines for cue in cues] == [
        ("one two",), ("one two", "three"), ("three", "four five"), ("four five", "six seven"),
    ]  # fmt: skip


def test_wide_letters_count_twice() -> None:
    words = [Word(c, i, i + 0.5, 0.9, False) for i, c in enumerate("今日は良い天気")]
    cues = list(CueBuilder(CueRules(letters=8)).cues(final_of(words, 0, 9)))
    assert [cue.lines for cue in cues] == [("今日は良", "い天気")]


@pytest.mark.parametrize("wrong", [{"letters": 7}, {"lines": 0}, {"letters_per_second": 0}])
def test_rules_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"subtitle.*; give"):
        CueRules(**wrong)  # type: ignore[arg-type]
