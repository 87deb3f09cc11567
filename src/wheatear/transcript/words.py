"""From tokens to words, as they come: where a word begins, when it was said, how sure it is.

A word begins at a space.  Scripts that write none (Han, Kana, Thai and their kin) get a unit for
each piece of the model's vocabulary, which is a word or a syllable or so; marks and closing
punctuation always stay with what they follow.
"""

import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

from wheatear.model.locales import is_spaceless
from wheatear.transcript.results import Token, Word

# What never begins a unit: closing punctuation, combining marks, letters that modify.
_FOLLOWS = {"Pe", "Pf", "Po", "Pd", "Mn", "Mc", "Me", "Lm", "Sk"}
_OPENS = "¿¡"
_SMALL_KANA = frozenset("ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ")
_SHORTEST = 0.04  # seconds


@dataclass(frozen=True, slots=True)
class Delay:
    """How late the search emits the pieces of a word, seconds; measured for each latency."""

    start: float = 0.0
    """Of a word's first token after the beginning of the word."""
    end: float = 0.0
    """Of its last token after the word's end."""


def calibrated(probability: float, line: tuple[float, float]) -> float:
    """The probability after scale and shift of its log-odds."""
    scale, shift = line
    if (scale, shift) == (1.0, 0.0):
        return probability
    p = min(max(probability, 1e-6), 1 - 1e-6)
    return 1 / (1 + math.exp(-(scale * math.log(p / (1 - p)) + shift)))


@dataclass
class _Open:
    """The word that is being said."""

    text: str
    start: float
    end: float
    space_before: bool
    confidences: list[float] = field(default_factory=list)


class WordBuilder:
    """Makes words of one stream's tokens.  What `add` has returned never changes."""

    def __init__(self, delay: Delay = Delay()) -> None:
        self.delay = delay
        self._open: _Open | None = None
        self._space = False
        """Whether a space came since the last letter."""
        self._last = 0.0
        """End of the last finished word."""

    def add(self, token: Token) -> list[Word]:
        """The words that this token ends."""
        done = []
        for part, after_space in _parts(token.text):
            spaced, self._space = after_space or self._space, False
            if self._open is not None and (spaced or _splits(self._open.text, part)):
                done.append(self._close(token.start))
            if self._open is None:
                self._open = _Open("", token.start, token.end, spaced)
            self._open.text += part
            # Punctuation comes late and says nothing of the word.
            if any(map(str.isalnum, part)) or not self._open.confidences:
                self._open.end = token.end
                self._open.confidences.append(token.confidence)
        if token.text.endswith(" "):
            self._space = True
        return done

    def begins(self, text: str) -> bool:
        """Whether a token with this text would begin a word."""
        spaced = self._space or text.startswith(" ")
        return spaced or self._open is None or _splits(self._open.text, text.strip())

    def not_before(self, time: float) -> None:
        """A turn ended at this time, and all words of it; none will start before."""
        self._last = time

    def finish(self) -> list[Word]:
        """The word that was being said, if any."""
        return [] if self._open is None else [self._close(math.inf)]

    def pending(self) -> Word | None:
        """The word that is being said, as far as it has come."""
        return None if self._open is None else self._word(self._open, math.inf)

    def _close(self, next_start: float) -> Word:
        assert self._open is not None  # noqa: S101
        word = self._word(self._open, next_start)
        self._last, self._open = word.end, None
        return word

    def _word(self, said: _Open, next_start: float) -> Word:
        """Times never run backwards, and words do not overlap."""
        start = max(self._last, said.start - self.delay.start)
        latest = max(start + _SHORTEST, next_start - self.delay.start)
        end = min(latest, max(start + _SHORTEST, said.end - self.delay.end))
        # A word is as sure as its least sure piece.
        sure = min(said.confidences)
        return Word(said.text, round(start, 3), round(end, 3), sure, said.space_before)


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """The text of a token without its spaces, in parts, and whether a space is before a part."""
    for number, part in enumerate(text.split(" ")):
        if part:
            yield part, number > 0


def _splits(before: str, part: str) -> bool:
    """Whether a word ends between two texts without a space."""
    first = part[0]
    if first in _SMALL_KANA or (unicodedata.category(first) in _FOLLOWS and first not in _OPENS):
        return False
    return is_spaceless(first) or is_spaceless(_last_letter(before))


def _last_letter(text: str) -> str:
    return next((c for c in reversed(text) if unicodedata.category(c)[0] in "LN"), text[-1])
