"""Words are moved into the audio, and tokens into their words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheatear.transcript.results import Segment, Token, Word
from wheatear.transcript.timing import segments_within, tokens_within, words_within
from wheatear.transcript.words import Delay

SPANS = st.lists(st.tuples(st.floats(0, 0.5), st.floats(0.04, 1)), min_size=1, max_size=12)


def words_of(spans: list[tuple[float, float]]) -> list[Word]:
    words, time = [], 0.0
    for pause, length in spans:
        start = time + pause
        time = start + length
        words.append(Word("ab", start, time, 0.9))
    return words


@given(SPANS, st.floats(0, 5))
def test_moved_words_lie_inside_and_keep_their_order(
    spans: list[tuple[float, float]], end: float
) -> None:
    words = words_of(spans)
    moved = words_within(words, 0.0, end)
    assert [word.text for word in moved] == [word.text for word in words]
    time = 0.0
    for word in moved:
        assert time <= word.start <= word.end <= max(end, 0.0) + 1e-9
        time = word.end


def test_words_inside_are_unchanged() -> None:
    words = words_of([(0.1, 0.2), (0.0, 0.3)])
    assert words_within(words, 0.0, 1.0) == tuple(words)


def test_segments_take_the_moved_words() -> None:
    words = words_of([(0.0, 0.5), (0.0, 0.5)])
    segments = [Segment("ab", (word,), word.start, word.end, None, None) for word in words]
    moved = words_within(words, 0.0, 0.8)
    found = segments_within(segments, moved)
    assert [segment.words for segment in found] == [(word,) for word in moved]
    assert found[-1].end == pytest.approx(0.8)


def test_tokens_are_corrected_and_lie_inside_their_words() -> None:
    tokens = [Token(n, text, 0.4 * n, 0.4 * n + 0.08) for n, text in enumerate([" a", "b", " c"])]
    words = [Word("ab", 0.0, 0.5, 0.9), Word("c", 0.6, 0.9, 0.9)]
    found = tokens_within(tokens, [Delay(0.1, 0.1)] * 3, words, 0.0, 1.0)
    assert [(token.start, token.end) for token in found] == [(0.0, 0.0), (0.3, 0.38), (0.7, 0.78)]
