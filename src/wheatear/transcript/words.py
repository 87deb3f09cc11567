"""Words of a stream from its tokens: boundaries, times, confidence.

A word begins at a space. Scripts without spaces (Han, Kana, Thai and related scripts) have a unit
for each piece of the vocabulary. Marks and closing punctuation stay with the text before them.
"""

import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

from wheatear.model.locales import is_spaceless
from wheatear.transcript.results import Token, Word

# Categories that never begin a unit: closing punctuation, combining marks, modifier letters.
_NEVER_FIRST = {"Pe", "Pf", "Po", "Pd", "Mn", "Mc", "Me", "Lm", "Sk"}
_OPENING = "¿¡"
_SMALL_KANA = frozenset("ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ")
_MIN_WORD_S = 0.04


@dataclass(frozen=True, slots=True)
class Delay:
    """Mean emission delay in seconds, measured for each latency."""

    start: float = 0.0
    """Delay of the first token after the start of a word."""
    end: float = 0.0
    """Delay of the last token after the end of a word."""


def calibrated(probability: float, line: tuple[float, float]) -> float:
    """Returns a probability with its log-odds scaled and shifted."""
    scale, shift = line
    if (scale, shift) == (1.0, 0.0):
        return probability
    p = min(max(probability, 1e-6), 1 - 1e-6)
    return 1 / (1 + math.exp(-(scale * math.log(p / (1 - p)) + shift)))


@dataclass
class _OpenWord:
    text: str
    start: float
    end: float
    space_before: bool
    confidences: list[float] = field(default_factory=list)


class WordBuilder:
    """Joins the tokens of one stream to words. Words that `add` returned never change."""

    def __init__(self, delay: Delay = Delay()) -> None:
        self.delay = delay
        self._open: _OpenWord | None = None
        self._space = False
        """True if a space followed the last letter."""
        self._min_start = 0.0
        """End of the last finished word."""

    def add(self, token: Token) -> list[Word]:
        """Adds a token; returns the words that end before it."""
        finished = []
        for part, after_space in _parts(token.text):
            spaced, self._space = after_space or self._space, False
            if self._open is not None and (spaced or _is_boundary(self._open.text, part)):
                finished.append(self._close(token.start))
            if self._open is None:
                self._open = _OpenWord("", token.start, token.end, spaced)
            self._open.text += part
            # Punctuation is emitted late, and its confidence is not that of the word.
            if any(map(str.isalnum, part)) or not self._open.confidences:
                self._open.end = token.end
                self._open.confidences.append(token.confidence)
        if token.text.endswith(" "):
            self._space = True
        return finished

    def begins(self, text: str) -> bool:
        """True if a token with this text would begin a word."""
        spaced = self._space or text.startswith(" ")
        return spaced or self._open is None or _is_boundary(self._open.text, text.strip())

    def not_before(self, time: float) -> None:
        """Sets the earliest start of further words."""
        self._min_start = time

    def finish(self) -> list[Word]:
        """Ends the open word, and returns it."""
        return [] if self._open is None else [self._close(math.inf)]

    def pending(self) -> Word | None:
        """Returns the unfinished word."""
        return None if self._open is None else self._word(self._open, math.inf)

    def _close(self, next_start: float) -> Word:
        assert self._open is not None  # noqa: S101
        word = self._word(self._open, next_start)
        self._min_start, self._open = word.end, None
        return word

    def _word(self, opened: _OpenWord, next_start: float) -> Word:
        """Returns a word with corrected times, which do not overlap those of others."""
        start = max(self._min_start, opened.start - self.delay.start)
        latest = max(start + _MIN_WORD_S, next_start - self.delay.start)
        end = min(latest, max(start + _MIN_WORD_S, opened.end - self.delay.end))
        confidence = min(opened.confidences)
        return Word(opened.text, round(start, 3), round(end, 3), confidence, opened.space_before)


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """Yields the parts of a token between spaces, and True if a space is before the part."""
    for number, part in enumerate(text.split(" ")):
        if part:
            yield part, number > 0


def _is_boundary(before: str, part: str) -> bool:
    """True if a word ends between two texts without a space."""
    first = part[0]
    if first in _SMALL_KANA or (
        unicodedata.category(first) in _NEVER_FIRST and first not in _OPENING
    ):
        return False
    return is_spaceless(first) or is_spaceless(_last_letter(before))


def _last_letter(text: str) -> str:
    return next((c for c in reversed(text) if unicodedata.category(c)[0] in "LN"), text[-1])
