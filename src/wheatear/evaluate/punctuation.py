"""Punctuation and capitals: how often they are wrong, whatever the words.

Marks and words are aligned together, words without regard to case.  Of all marks that were said or
heard, those that have no partner or another mark for one are wrong; of the words that are right and
have case, those in another case are.  Four marks count, in the forms of all scripts; leaders,
quotes and the points inside of numbers and abbreviations do not.

Source: Meister et al. 2023 (arXiv 2310.02943, punctuation error rate).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from wheatear.evaluate.wer import align, matching_pairs
from wheatear.model.locales import is_spaceless, language_of

_FORMS = {".": ".。．｡।॥۔።", ",": ",，、､،", "?": "?？؟", "!": "!！"}
_MARK_OF = {form: mark for mark, forms in _FORMS.items() for form in forms}
_MARK = "\1"  # before the key of a mark, so that it is no word's
_LEADERS = re.compile(r"\.{2,}|…+|。{2,}")


@dataclass(frozen=True, slots=True)
class PunctuationCounts:
    """Counts of one text."""

    marks: int
    """Marks that were said or heard, partners counted once."""
    wrong_marks: int
    cased: int
    """Right words that have upper and lower case."""
    miscased: int


def compare_punctuation(said: str, heard: str, locale: str) -> PunctuationCounts:
    """How a text is written against how it should be."""
    one, other = list(_tokens(said, locale)), list(_tokens(heard, locale))
    pairs = align([key for key, _ in one], [key for key, _ in other])
    marks = [(a, b) for a, b in pairs if _is_mark(a) or _is_mark(b)]
    # A mark against a word is two things: a mark that is missing, or one too many.
    words = [[token for token in tokens if not _is_mark(token[0])] for tokens in (one, other)]
    cased = [
        (words[0][i][1], words[1][j][1])
        for i, j in matching_pairs([key for key, _ in words[0]], [key for key, _ in words[1]])
    ]
    cased = [(a, b) for a, b in cased if a.lower() != a.upper()]
    return PunctuationCounts(
        len(marks), sum(a != b for a, b in marks), len(cased), sum(a != b for a, b in cased)
    )


def has_capitals(text: str) -> bool:
    return any(c.isupper() or c.istitle() for c in text)


def has_marks(text: str, locale: str) -> bool:
    return any(_is_mark(key) for key, _ in _tokens(text, locale))


def _is_mark(key: str | None) -> bool:
    return key is not None and key.startswith(_MARK)


def _tokens(text: str, locale: str) -> Iterator[tuple[str, str]]:
    """(key to align by, as written) of the words and marks; of scripts without spaces letters."""
    text = _LEADERS.sub(" ", unicodedata.normalize("NFC", text).replace("\u2019", "'"))
    forms = _MARK_OF | {";": "?"} if language_of(locale) == "el" else _MARK_OF
    word = ""
    for c, after in pairwise(f"{text} "):
        if _goes_on(word, c, after):
            word += c
            continue
        if word:
            yield word.lower(), word
        word = c if unicodedata.category(c)[0] in "LNM" else ""
        if c in forms:
            yield f"{_MARK}{forms[c]}", c
    if word:
        yield word.lower(), word


def _goes_on(word: str, c: str, after: str) -> bool:
    """Whether a character belongs to the word before it."""
    kind = unicodedata.category(c)[0]
    if not word or kind == "M":
        return bool(word)
    if kind in "LN":
        return not (is_spaceless(c) or is_spaceless(word[0]))
    return c in "'.,-" and unicodedata.category(after)[0] in "LN" and not is_spaceless(after)
