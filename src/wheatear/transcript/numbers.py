"""Inverse text normalization of numbers: finds spoken numbers to write in digits.

The library `text_to_num` finds every word that can be a number. These stay words: a single scale
word (`a hundred people`, `mille grazie`), a fraction (`a third`), and words that usually have
another meaning (Italian `sei`, French `neuf`). Adjacent numbers (`five twenty`) stay words too.
Exceptions are single digits (`5 5 5 1 2`) and, in English and Dutch, a year in two parts
(`nineteen eighty four`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from wheatear.errors import MissingExtraError

LANGUAGES = ("en", "fr", "es", "de", "it", "nl", "pt")  # of the library
_MIN_SINGLE = 3.0  # single numbers below it stay words ("one apple")


def _words(text: str) -> dict[str, frozenset[str]]:
    """Parses lines `language: words`."""
    rows = (line.split(":") for line in text.strip().splitlines())
    return {language.strip(): frozenset(words.split()) for language, words in rows}


_SCALES = _words("""
    en: hundred hundreds thousand thousands million millions billion billions trillion trillions
    fr: cent cents mille million millions milliard milliards billion billions
    es: cien ciento cientos mil miles millón millon millones billón billon billones
    de: hundert tausend million millionen milliarde milliarden billion billionen
    it: cento mille mila milione milioni miliardo miliardi bilione bilioni
    nl: honderd duizend miljoen miljard biljoen
    pt: cem cento centos mil milhão milhao milhões milhoes bilhão bilhões trilhão trilhões
""")
_ZEROS_OF = {
    6: "million millions millionen millón millon millones milione milioni miljoen milhão milhao "
       "milhões milhoes",
    9: "milliard milliards milliarde milliarden miliardo miliardi miljard en:billion en:billions "
       "bilhão bilhões",
    12: "en:trillion en:trillions trilhão trilhões billion billions billionen billón billon "
        "billones bilione bilioni biljoen",
}  # fmt: skip
"""Zeros -> the scale words of a million and more; a billion is another one in English."""
_ROUND = {word: zeros for zeros, words in _ZEROS_OF.items() for word in words.split()}
_ARTICLES = _words("en: a an\nde: eine einer einem ein\nnl: een\nfr:\nes:\nit:\npt:")
"""Words before a scale word that mean one of it."""
_VAGUE = _words("""
    en: half couple few several some many every per quarter of
    fr: demi demie quelques plusieurs chaque par pour
    es: medio media unos unas pocos varios varias cada por
    de: halbe halben paar mehrere einige viele pro jede alle anderthalb
    it: mezzo mezza alcuni pochi parecchi ogni per qualche
    nl: half halve paar enkele vele elke per anderhalf
    pt: meio meia uns umas poucos alguns vários varias cada por
""")
"""Words before a scale word that make a vague amount or a share of it."""
_MOSTLY_OTHER = _words("en:\nfr: neuf neufs\nes:\nde:\nit: sei\nnl:\npt:")
"""Number words that usually have another meaning: new, (you) are."""
_AND = _words("en: and\nfr: et\nes: y\nde: und\nit: e\nnl: en\npt: e")
_PARTS = _words("""
    en: half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths eighth
    fr: demi demie quart quarts tiers qui
    es: medio media cuarto cuartos tercio tercios
    de: halb halbe einhalb viertel drittel
    it: mezzo mezza quarto quarti terzo terzi
    nl: half halve kwart derde
    pt: meia meio quarto quartos terço terços
""")
"""Parts of a whole, after a number or with "and" after it; in French also who (`les six qui`)."""
_ZEROS = _words("en: oh o\nfr:\nes:\nde:\nit:\nnl:\npt:")
"""Words that stand for a zero and that the library does not know."""
_YEARS = ("en", "nl")  # languages with years of two numbers
_CENTURIES = range(16, 21)


@dataclass(frozen=True, slots=True)
class NumberSpan:
    """Range of words, and the digits that replace them."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class _LibraryWord:
    """A word with the interface of the number library."""

    word: str
    separated: bool

    def text(self) -> str:
        return self.word

    def nt_separated(self, _previous: "_LibraryWord") -> bool:
        return self.separated

    def not_a_number_part(self) -> bool:
        return False


def number_spans(
    words: Sequence[str], separated: Sequence[bool], language: str
) -> Iterator[NumberSpan]:
    """Yields the numbers to write in digits among words in lower case without punctuation.

    separated: True for a word with punctuation between it and the word before.
    """
    library_words = list(map(_LibraryWord, words, separated))
    found = number_library().find_numbers(library_words, language, _MIN_SINGLE)
    run: list[Any] = []
    for number in found:
        if run and (number.start != run[-1].end or separated[number.start]):
            yield from _written(run, words, separated, language)
            run = []
        run.append(number)
    yield from _written(run, words, separated, language)


def number_library() -> Any:
    """Returns the module `text_to_num`. Raises MissingExtraError if it is not installed."""
    try:
        return import_module("text_to_num")  # an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"writing numbers in digits needs {error.name}: pip install 'wheatear[numbers]'"
        ) from error


def _written(
    run: Sequence[Any], words: Sequence[str], separated: Sequence[bool], language: str
) -> Iterator[NumberSpan]:
    """Yields the spans of a run of adjacent numbers."""
    if not run:
        return
    before = _before(run[0].start, words, separated)
    after = _after(run[-1].end, words, separated)
    if not _ZEROS[language] & {*before, *after[:1]}:
        if len(run) == 1:
            yield from _single(run[0], words, before, after, language)
        elif _is_year(run, language):
            yield NumberSpan(run[0].start, run[1].end, run[0].text + run[1].text)
        elif _is_code(run):
            yield from (NumberSpan(number.start, number.end, number.text) for number in run)


def _single(
    number: Any, words: Sequence[str], before: frozenset[str], after: tuple[str, ...], language: str
) -> Iterator[NumberSpan]:
    """Yields the span of a number without adjacent ones, if it is written in digits."""
    spoken = words[number.start : number.end]
    scales = _SCALES[language]
    if len(spoken) == 1 and (
        spoken[0] in scales or number.is_ordinal or spoken[0] in _MOSTLY_OTHER[language]
    ):
        return
    if spoken[0] in scales and before & _VAGUE[language]:
        return
    if _has_part(after, language):
        return
    start = number.start
    if spoken[0] in scales and before & _ARTICLES[language]:
        start -= 1  # "a hundred and twenty": the article means one
    zeros = _ROUND.get(f"{language}:{spoken[-1]}", _ROUND.get(spoken[-1], 0))
    factor, rest = number.text[:-zeros], number.text[-zeros:]
    if zeros and factor.isdecimal() and not rest.strip("0"):
        # "two million" is written "2 million", "one million" and "a hundred million" in words.
        if factor != "1" and start == number.start:
            yield NumberSpan(start, number.end - 1, factor)
        return
    yield NumberSpan(start, number.end, number.text)


def _has_part(after: tuple[str, ...], language: str) -> bool:
    """True if a part of a whole follows: "three quarters", "ten and a half"."""
    rest = list(after)
    if rest and rest[0] in _AND[language]:
        rest.pop(0)
        if rest and rest[0] in _ARTICLES[language]:
            rest.pop(0)
    return bool(rest) and rest[0] in _PARTS[language]


def _is_year(run: Sequence[Any], language: str) -> bool:
    """True for two numbers that are the two halves of a year."""
    if language not in _YEARS or len(run) != 2:
        return False
    first, second = (number.text for number in run)
    halves = first.isdecimal() and second.isdecimal() and len(first) == len(second) == 2
    return halves and int(first) in _CENTURIES


def _is_code(run: Sequence[Any]) -> bool:
    """True for single digits, or pairs of digits after a zero or a single digit."""
    texts = [number.text for number in run]
    if not all(text.isdecimal() for text in texts) or any(number.is_ordinal for number in run):
        return False
    if all(len(text) == 1 for text in texts):
        return True
    return texts[0][0] == "0" or (len(texts) > 2 and len(texts[0]) == 1)


def _before(at: int, words: Sequence[str], separated: Sequence[bool]) -> frozenset[str]:
    """Returns the word before a position, unless punctuation separates it."""
    return frozenset({words[at - 1]} if at and not separated[at] else ())


def _after(at: int, words: Sequence[str], separated: Sequence[bool]) -> tuple[str, ...]:
    """Returns up to three words from a position, up to punctuation."""
    end = next((n for n in range(at, len(words)) if separated[n]), len(words))
    return tuple(words[at : min(end, at + 3)])
