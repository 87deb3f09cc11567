"""Punctuation and capitalization errors, independent of word errors.

Marks and words are aligned together, words without case. A mark is wrong if its partner is missing
or another mark. A correct word with case is wrong if its case differs. Full stops, commas, question
and exclamation marks count, in the forms of all scripts; leaders, quotation marks and the points in
numbers and abbreviations do not.

Source: Meister et al. 2023 (arXiv 2310.02943, punctuation error rate).
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from wheatear.evaluate.wer import align, matching_pairs
from wheatear.model.locales import is_spaceless, language_of

_FORMS = {".": ".。．｡।॥۔።", ",": ",，、､،", "?": "?？؟", "!": "!！"}
_MARK_OF = {form: mark for mark, forms in _FORMS.items() for form in forms}
_MARK = "\1"  # prefix of the key of a mark, so that it differs from all words
_LEADERS = re.compile(r"\.{2,}|…+|。{2,}")


@dataclass(frozen=True, slots=True)
class PunctuationCounts:
    """Counts of one text."""

    marks: int
    """Marks in reference or hypothesis, aligned marks counted once."""
    wrong_marks: int
    cased: int
    """Correct words that have upper and lower case."""
    miscased: int


def compare_punctuation(reference: str, hypothesis: str, locale: str) -> PunctuationCounts:
    """Counts marks and case of a hypothesis against its reference."""
    ours, theirs = list(_tokens(reference, locale)), list(_tokens(hypothesis, locale))
    pairs = align([key for key, _ in ours], [key for key, _ in theirs])
    # A mark aligned with a word counts as wrong: it is missing or superfluous.
    marks = [(a, b) for a, b in pairs if _is_mark(a) or _is_mark(b)]
    words = [[token for token in tokens if not _is_mark(token[0])] for tokens in (ours, theirs)]
    keys = [[key for key, _ in tokens] for tokens in words]
    cased = [(words[0][i][1], words[1][j][1]) for i, j in matching_pairs(*keys)]
    cased = [(a, b) for a, b in cased if a.lower() != a.upper()]
    return PunctuationCounts(
        len(marks), sum(a != b for a, b in marks), len(cased), sum(a != b for a, b in cased)
    )


def has_capitals(text: str) -> bool:
    """True if a text has capital letters."""
    return any(c.isupper() or c.istitle() for c in text)


def has_marks(text: str, locale: str) -> bool:
    """True if a text has punctuation marks."""
    return any(_is_mark(key) for key, _ in _tokens(text, locale))


def _is_mark(key: str | None) -> bool:
    return key is not None and key.startswith(_MARK)


def _tokens(text: str, locale: str) -> Iterator[tuple[str, str]]:
    """Yields words and marks as (key for the alignment, text).

    In scripts without spaces each letter is a word.
    """
    text = _LEADERS.sub(" ", unicodedata.normalize("NFC", text).replace("\u2019", "'"))
    forms = _MARK_OF | {";": "?"} if language_of(locale) == "el" else _MARK_OF
    word = ""
    for c, after in pairwise(f"{text} "):
        if _continues(word, c, after):
            word += c
            continue
        if word:
            yield word.lower(), word
        word = c if unicodedata.category(c)[0] in "LNM" else ""
        if c in forms:
            yield f"{_MARK}{forms[c]}", c
    if word:
        yield word.lower(), word


def _continues(word: str, c: str, after: str) -> bool:
    """True if a character belongs to the word before it."""
    kind = unicodedata.category(c)[0]
    if not word or kind == "M":
        return bool(word)
    if kind in "LN":
        return not (is_spaceless(c) or is_spaceless(word[0]))
    return c in "'.,-" and unicodedata.category(after)[0] in "LN" and not is_spaceless(after)
