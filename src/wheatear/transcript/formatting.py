"""How a text is written: with or without punctuation and capitals, numbers in digits, words masked.

A form changes words, never tokens.  What it does word by word it does to partials as well, and they
still only grow: a word that may yet turn out to be a masked one is held back until it is whole.
Numbers and the other names of phrases need the words after them, so finals alone have them, and
need not begin with what partials said.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from wheatear.common.arguments import check_kind, shown
from wheatear.decoder.boosting import Phrase
from wheatear.errors import LanguageError, TextFormatError
from wheatear.transcript.numbers import LANGUAGES, number_library, spans
from wheatear.transcript.results import Final, Partial, Segment, Transcript, Word
from wheatear.transcript.segments import join_words

_DOTTED = ("tr", "az")  # languages whose capital I has no dot, and whose i keeps it


@dataclass(frozen=True)
class TextFormat:
    """How finals and partials are written.  Raises TextFormatError for what makes no sense, such as
    masking what is no word, and MissingExtraError for numbers without the extra `numbers`."""

    punctuation: bool = True
    capitals: bool = True
    numbers: Literal["spoken", "written"] = "spoken"
    """written: in digits, where the language is one that the library knows."""
    masked: frozenset[str] = field(default_factory=frozenset)
    """Words that are shown as asterisks, whatever their capitals."""

    def __post_init__(self) -> None:
        for name in ("punctuation", "capitals"):
            check_kind(name, getattr(self, name), bool, "True or False", TextFormatError)
        if self.numbers not in ("spoken", "written"):
            raise TextFormatError(f"numbers is {shown(self.numbers)}; give 'spoken' or 'written'")
        if self.numbers == "written":
            number_library()
        kinds = (frozenset, set, list, tuple)
        check_kind(
            "masked", self.masked, kinds, "words, such as frozenset({'damn'})", TextFormatError
        )
        for word in self.masked:
            check_kind("a word to mask", word, str, "a string", TextFormatError)
        if wrong := sorted(w for w in self.masked if not _bare(w) or len(w.split()) > 1):
            raise TextFormatError(f"{wrong[0]!r} cannot be masked: give single words with letters")
        object.__setattr__(self, "masked", frozenset(map(_bare, self.masked)))

    def check(self, language: str | None) -> None:
        """Raises LanguageError for a language whose numbers cannot be written in digits."""
        if self.numbers == "written" and language and _base(language) not in LANGUAGES:
            raise LanguageError(
                f"numbers in {language} cannot be written in digits, only those of "
                f"{', '.join(LANGUAGES)}: leave them spoken"
            )


class TextFormatter:
    """Writes one stream's events in a form, with the names of its phrases."""

    def __init__(self, form: TextFormat, phrases: Sequence[Phrase] = ()) -> None:
        self._form = form
        self._names = {
            tuple(map(_bare, alias.split())): phrase.text.split()
            for phrase in phrases
            for alias in phrase.spellings[1:]
        }
        self._longest = max(map(len, self._names), default=0)
        self.plain = form == TextFormat() and not self._names
        """Whether everything stays as it is."""
        self.late = bool(self._names) or form.numbers == "written"
        """Whether finals may say other words than partials."""

    def partial(self, partial: Partial) -> Partial | None:
        """The partial as it is shown; None if there is nothing to show."""
        words = list(partial.words)
        if words and self._may_be_masked(words[-1]):
            words.pop()
        shown = self._each(words, partial.language)
        return replace(partial, words=shown, text=join_words(shown)) if shown else None

    def final(self, final: Final) -> Final:
        """The final as it is written."""
        segments = tuple(map(self._segment, final.segments))
        words = tuple(word for segment in segments for word in segment.words)
        return replace(final, segments=segments, words=words, text=join_words(words))

    def transcript(self, transcript: Transcript) -> Transcript:
        """The transcript as it is written."""
        segments = tuple(map(self._segment, transcript.segments))
        words = tuple(word for segment in segments for word in segment.words)
        return replace(transcript, segments=segments, words=words, text=join_words(words))

    def _segment(self, segment: Segment) -> Segment:
        words = self._named(segment.words)
        if self._form.numbers == "written":
            words = tuple(_in_digits(words, segment.language))
        words = self._each(words, segment.language)
        return replace(segment, words=words, text=join_words(words))

    def _each(self, words: Sequence[Word], language: str | None) -> tuple[Word, ...]:
        """What is done word by word; a word that nothing is left of goes."""
        shown = []
        for word in words:
            text = word.text
            if _bare(text) in self._form.masked:
                text = "".join("*" if c.isalnum() else c for c in text)
            if not self._form.punctuation:
                text = _core(text)[1]
            if not self._form.capitals:
                text = _lower(text, language)
            if text:
                shown.append(replace(word, text=text))
        return tuple(shown)

    def _may_be_masked(self, word: Word) -> bool:
        begun = _bare(word.text)
        return any(masked.startswith(begun) for masked in self._form.masked)

    def _named(self, words: Sequence[Word]) -> tuple[Word, ...]:
        """The words with aliases in their places."""
        found: list[Word] = []
        at = 0
        while at < len(words):
            for size in range(min(self._longest, len(words) - at), 0, -1):
                some = words[at : at + size]
                name = self._names.get(tuple(_bare(word.text) for word in some))
                # Punctuation inside says that these are no one name.
                if name and not any(_core(word.text)[2] for word in some[:-1]):
                    found += _renamed(some, name)
                    at += size
                    break
            else:
                found.append(words[at])
                at += 1
        return tuple(found)


def _renamed(words: Sequence[Word], name: list[str]) -> Iterator[Word]:
    """Words of another name in the time of these, the punctuation around them kept."""
    start, length = words[0].start, words[-1].end - words[0].start
    sure = min(word.confidence for word in words)
    total, done = sum(map(len, name)), 0
    for number, text in enumerate(name):
        begin, done = start + length * done / total, done + len(text)
        before = _core(words[0].text)[0] if number == 0 else ""
        after = _core(words[-1].text)[2] if number == len(name) - 1 else ""
        end = start + length * done / total
        spaced = words[0].space_before if number == 0 else True
        yield Word(f"{before}{text}{after}", round(begin, 3), round(end, 3), sure, spaced)


# -- numbers


def _in_digits(words: Sequence[Word], language: str | None) -> Iterator[Word]:
    """The words with numbers in digits, each number one word."""
    if not language or _base(language) not in LANGUAGES:
        yield from words
        return
    ends = [bool(_core(word.text)[2]) for word in words]
    apart = [n > 0 and ends[n - 1] for n in range(len(words))]
    at = 0
    for span in spans([_bare(word.text) for word in words], apart, _base(language)):
        yield from words[at : span.start]
        yield from _renamed(words[span.start : span.end], [span.text])
        at = span.end
    yield from words[at:]


# -- letters


def _base(language: str) -> str:
    return language.partition("-")[0].lower()


def _core(text: str) -> tuple[str, str, str]:
    """What is before the first letter or digit of a word, from there to the last, after it."""
    at = [n for n, c in enumerate(text) if unicodedata.category(c)[0] in "LNM" or c == "*"]
    if not at:
        return text, "", ""
    return text[: at[0]], text[at[0] : at[-1] + 1], text[at[-1] + 1 :]


def _bare(text: str) -> str:
    return _core(text)[1].casefold()


def _lower(text: str, language: str | None) -> str:
    """Letter by letter, so that what follows a letter does not change it."""
    if language and _base(language) in _DOTTED:
        text = text.replace("I", "ı").replace("İ", "i")
    return "".join(c.lower() for c in text)
