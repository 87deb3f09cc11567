"""One time base: words inside the audio, tokens inside their words.

Tokens and words are corrected for how late the search emits them.  A correction of the beginning
and one of the end, and the least length of a word, can take a word beyond the audio that there is;
it is then moved back into it.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from wheatear.transcript.results import Segment, Token, Word
from wheatear.transcript.words import Delay

_LEAST = 0.001  # seconds that a word keeps where too many end at one time


def words_within(words: Sequence[Word], start: float, end: float) -> tuple[Word, ...]:
    """The words, moved so that none ends after `end`, in their order.

    start: the earliest that a word may be moved to; where it is `end`, words have no length.
    """
    if not words or words[-1].end <= end:
        return tuple(words)
    found, latest = list(words), end
    for n in range(len(words) - 1, -1, -1):
        word = words[n]
        if word.end <= latest:
            break
        least = min(_LEAST, max(0.0, latest - start) / (n + 2))
        begin = max(start, min(word.start, latest - least))
        found[n] = replace(word, start=begin, end=latest)
        latest = begin
    return tuple(found)


def segments_within(segments: Sequence[Segment], words: Sequence[Word]) -> tuple[Segment, ...]:
    """The segments with these words, which are theirs in their order, in the place of their own."""
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
    """The tokens of a turn, each corrected by its delay and inside the word that it is part of.

    words: those of the turn, all letters of the tokens in their order.  A token without letters is
    inside the word that goes on after it, or between two words.  start, end: of the turn.
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
    """The time of `size` letters after the first `letters`, or of the place between two letters."""
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
