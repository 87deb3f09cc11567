"""Limits times to the audio: words lie inside it, tokens lie inside their words.

Words and tokens are corrected for the emission delay. The correction and the minimum length of a
word can move a word beyond the end of the audio; it is then moved back.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from wheatear.transcript.results import Segment, Token, Word
from wheatear.transcript.words import Delay

_MIN_WORD_S = 0.001  # of a word that was moved


def words_within(words: Sequence[Word], start: float, end: float) -> tuple[Word, ...]:
    """Returns words in their order, moved so that none ends after `end` or starts before `start`.

    Words have no length if `start` is `end`.
    """
    if not words or words[-1].end <= end:
        return tuple(words)
    found, latest = list(words), end
    for n in range(len(words) - 1, -1, -1):
        word = words[n]
        if word.end <= latest:
            break
        length = min(_MIN_WORD_S, max(0.0, latest - start) / (n + 2))
        begin = max(start, min(word.start, latest - length))
        found[n] = replace(word, start=begin, end=latest)
        latest = begin
    return tuple(found)


def segments_within(segments: Sequence[Segment], words: Sequence[Word]) -> tuple[Segment, ...]:
    """Returns segments whose words are replaced by the moved words."""
    found, at = [], 0
    for segment in segments:
        own = tuple(words[at : at + len(segment.words)])
        at += len(own)
        if own != segment.words:
            segment = replace(segment, words=own, start=own[0].start, end=own[-1].end)  # noqa: PLW2901
        found.append(segment)
    return tuple(found)


def tokens_within(
    tokens: Sequence[Token],
    delays: Sequence[Delay],
    words: Sequence[Word],
    start: float,
    end: float,
) -> tuple[Token, ...]:
    """Returns the tokens of a turn, each corrected by its delay and inside its word.

    `words` are those of the turn, with all letters of the tokens in their order. A token without
    letters lies inside the word around it, or between two words.
    """
    ends = list(accumulate(len(word.text) for word in words))
    found, letters, latest = [], 0, start
    for token, delay in zip(tokens, delays, strict=True):
        size = len(token.text.replace(" ", ""))
        low, high = _span(words, ends, letters, size, (start, end))
        letters += size
        latest = min(max(round(token.start - delay.start, 3), low, latest), high)
        until = min(max(round(token.end - delay.end, 3), latest), high)
        found.append(replace(token, start=latest, end=until))
    return tuple(found)


def _span(
    words: Sequence[Word], ends: Sequence[int], letters: int, size: int, turn: tuple[float, float]
) -> tuple[float, float]:
    """Returns the time of `size` letters after the first `letters`, or of the gap there."""
    first = bisect_right(ends, letters)
    if size:
        last = bisect_right(ends, letters + size - 1)
        if last < len(words):
            return words[first].start, words[last].end
        return turn
    if first < len(words) and letters > (ends[first - 1] if first else 0):
        return words[first].start, words[first].end
    low = words[first - 1].end if first else turn[0]
    high = words[first].start if first < len(words) else turn[1]
    return low, max(low, high)
