"""Text formatting: punctuation, capitalization, numbers in digits, masked words, names of phrases.

Formatting changes words, never tokens. Changes of single words apply to partials too, which still
only grow: a word that may become a masked one is withheld until it is complete. Numbers and aliases
of phrases need the words after them, so only finals have them, and need not begin with the text of
their partials.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from wheatear.common.arguments import check_kind, shown
from wheatear.decoder.boosting import Phrase
from wheatear.errors import LanguageError, TextFormatError
from wheatear.model.locales import language_of
from wheatear.transcript.numbers import LANGUAGES, number_library, number_spans
from wheatear.transcript.results import Final, Partial, Segment, Transcript, Word
from wheatear.transcript.segments import join_words

_DOTTED = ("tr", "az")  # languages with a dotted capital I and a dotless i
Result = TypeVar("Result", Final, Transcript)


@dataclass(frozen=True)
class TextFormat:
    """Format of the text of finals and partials.

    Raises:
        TextFormatError: A value is invalid, such as a masked word without letters.
        MissingExtraError: Written numbers need the extra `numbers`.
    """

    punctuation: bool = True
    capitals: bool = True
    numbers: Literal["spoken", "written"] = "spoken"
    """Numbers in words, or in digits where the language is supported."""
    masked: frozenset[str] = field(default_factory=frozenset)
    """Words that are replaced by asterisks, in any capitalization."""

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
        if self.numbers == "written" and language and language_of(language) not in LANGUAGES:
            raise LanguageError(
                f"numbers in {language} cannot be written in digits, only those of "
                f"{', '.join(LANGUAGES)}: leave them spoken"
            )


class TextFormatter:
    """Formats the events of one stream."""

    def __init__(self, form: TextFormat, phrases: Sequence[Phrase] = ()) -> None:
        self._form = form
        self._names = {
            tuple(map(_bare, alias.split())): phrase.text.split()
            for phrase in phrases
            for alias in phrase.spellings[1:]
        }
        self._longest = max(map(len, self._names), default=0)
        self.plain = form == TextFormat() and not self._names
        """True if nothing is changed."""
        self.changes_finals = bool(self._names) or form.numbers == "written"
        """True if finals may have other words than their partials."""

    def partial(self, partial: Partial) -> Partial | None:
        """Returns a formatted partial; None if it has no words."""
        words = list(partial.words)
        if words and self._may_be_masked(words[-1]):
            words.pop()
        changed = self._change_words(words, partial.language)
        return replace(partial, words=changed, text=join_words(changed)) if changed else None

    def final(self, final: Final) -> Final:
        """Returns a formatted final."""
        return self._change_segments(final)

    def transcript(self, transcript: Transcript) -> Transcript:
        """Returns a formatted transcript."""
        return self._change_segments(transcript)

    def _change_segments(self, result: Result) -> Result:
        segments = tuple(map(self._segment, result.segments))
        words = tuple(word for segment in segments for word in segment.words)
        return replace(result, segments=segments, words=words, text=join_words(words))

    def _segment(self, segment: Segment) -> Segment:
        words = self._named(segment.words)
        if self._form.numbers == "written":
            words = tuple(_in_digits(words, segment.language))
        words = self._change_words(words, segment.language)
        return replace(segment, words=words, text=join_words(words))

    def _change_words(self, words: Sequence[Word], language: str | None) -> tuple[Word, ...]:
        """Applies the changes of single words; empty words are removed."""
        changed = []
        for word in words:
            text = word.text
            if _bare(text) in self._form.masked:
                text = "".join("*" if c.isalnum() else c for c in text)
            if not self._form.punctuation:
                text = _core(text)[1]
            if not self._form.capitals:
                text = _lower(text, language)
            if text:
                changed.append(replace(word, text=text))
        return tuple(changed)

    def _may_be_masked(self, word: Word) -> bool:
        start = _bare(word.text)
        return any(masked.startswith(start) for masked in self._form.masked)

    def _named(self, words: Sequence[Word]) -> tuple[Word, ...]:
        """Returns the words with aliases replaced by the names of their phrases."""
        found: list[Word] = []
        at = 0
        while at < len(words):
            for size in range(min(self._longest, len(words) - at), 0, -1):
                some = words[at : at + size]
                name = self._names.get(tuple(_bare(word.text) for word in some))
                # Punctuation inside separates names.
                if name and not any(_core(word.text)[2] for word in some[:-1]):
                    found += _renamed(some, name)
                    at += size
                    break
            else:
                found.append(words[at])
                at += 1
        return tuple(found)


def _renamed(words: Sequence[Word], name: list[str]) -> Iterator[Word]:
    """Yields the words of a name in the time of other words, with the punctuation around them."""
    start, length = words[0].start, words[-1].end - words[0].start
    confidence = min(word.confidence for word in words)
    total, done = sum(map(len, name)), 0
    for number, text in enumerate(name):
        begin, done = start + length * done / total, done + len(text)
        before = _core(words[0].text)[0] if number == 0 else ""
        after = _core(words[-1].text)[2] if number == len(name) - 1 else ""
        end = start + length * done / total
        spaced = words[0].space_before if number == 0 else True
        yield Word(f"{before}{text}{after}", round(begin, 3), round(end, 3), confidence, spaced)


# -- numbers


def _in_digits(words: Sequence[Word], language: str | None) -> Iterator[Word]:
    """Yields the words with numbers in digits, each number one word."""
    if not language or language_of(language) not in LANGUAGES:
        yield from words
        return
    ends = [bool(_core(word.text)[2]) for word in words]
    separated = [n > 0 and ends[n - 1] for n in range(len(words))]
    at = 0
    for span in number_spans(
        [_bare(word.text) for word in words], separated, language_of(language)
    ):
        yield from words[at : span.start]
        yield from _renamed(words[span.start : span.end], [span.text])
        at = span.end
    yield from words[at:]


# -- letters


def _core(text: str) -> tuple[str, str, str]:
    """Splits a word into the text before its first letter or digit, up to its last, and after."""
    at = [n for n, c in enumerate(text) if unicodedata.category(c)[0] in "LNM" or c == "*"]
    if not at:
        return text, "", ""
    return text[: at[0]], text[at[0] : at[-1] + 1], text[at[-1] + 1 :]


def _bare(text: str) -> str:
    return _core(text)[1].casefold()


def _lower(text: str, language: str | None) -> str:
    """Lowercases letter by letter, so that later letters do not change earlier ones."""
    if language and language_of(language) in _DOTTED:
        text = text.replace("I", "ı").replace("İ", "i")
    return "".join(c.lower() for c in text)
