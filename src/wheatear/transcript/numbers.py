"""Which spoken numbers are written in digits: those that a person would write so, and no others.

The library `text_to_num` finds numbers.  It takes every word that may be one for one, so what it
finds is looked at in its place: a scale word alone (`a hundred people`, `mille grazie`), a fraction
(`a third`) and a word that mostly means something else (Italian `sei`, French `neuf`) stay words.
So do numbers side by side (`five twenty`), unless they are digits said one by one (`5 5 5 1 2`) or,
in English and Dutch, a year in two parts (`nineteen eighty four`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from wheatear.errors import MissingExtraError

LANGUAGES = ("en", "fr", "es", "de", "it", "nl", "pt")  # what the library writes
_SMALL = 3.0  # numbers alone below it stay words ("one apple"), as the library has it


def _words(text: str) -> dict[str, frozenset[str]]:
    """Language -> words, of lines `language: words`."""
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
"""Words before a scale word that say nothing more than one of it."""
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
"""Numbers alone that mostly mean something else: new, (you) are."""
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
_YEARS = ("en", "nl")  # languages that say years as two numbers
_CENTURIES = range(16, 21)


@dataclass(frozen=True, slots=True)
class Span:
    """Words that are written in digits."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class _Spoken:
    """A word as the number library wants it."""

    word: str
    apart: bool

    def text(self) -> str:
        return self.word

    def nt_separated(self, _previous: "_Spoken") -> bool:
        return self.apart

    def not_a_number_part(self) -> bool:
        return False


def spans(words: Sequence[str], apart: Sequence[bool], language: str) -> Iterator[Span]:
    """The numbers among some words that are to be written in digits, in order.

    words: in lower case, without punctuation.  apart: True where punctuation parts a word from the
    one before.  language: one of LANGUAGES.
    """
    spoken = list(map(_Spoken, words, apart))
    found = number_library().find_numbers(spoken, language, _SMALL)
    run: list[Any] = []
    for number in found:
        if run and (number.start != run[-1].end or apart[number.start]):
            yield from _written(run, words, apart, language)
            run = []
        run.append(number)
    yield from _written(run, words, apart, language)


def number_library() -> Any:
    """Raises MissingExtraError where it is not installed."""
    try:
        return import_module("text_to_num")  # an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"writing numbers in digits needs {error.name}: pip install 'wheatear[numbers]'"
        ) from error


def _written(
    run: Sequence[Any], words: Sequence[str], apart: Sequence[bool], language: str
) -> Iterator[Span]:
    """The spans of numbers that stand side by side."""
    if not run:
        return
    before = _before(run[0].start, words, apart)
    after = _after(run[-1].end, words, apart)
    if not _ZEROS[language] & {*before, *after[:1]}:
        if len(run) == 1:
            yield from _alone(run[0], words, before, after, language)
        elif _is_year(run, language):
            yield Span(run[0].start, run[1].end, run[0].text + run[1].text)
        elif _is_code(run):
            yield from (Span(number.start, number.end, number.text) for number in run)


def _alone(
    number: Any, words: Sequence[str], before: frozenset[str], after: tuple[str, ...], language: str
) -> Iterator[Span]:
    """The span of a number without another one beside it."""
    said = words[number.start : number.end]
    scales = _SCALES[language]
    if len(said) == 1 and (
        said[0] in scales or number.is_ordinal or said[0] in _MOSTLY_OTHER[language]
    ):
        return
    if said[0] in scales and before & _VAGUE[language]:
        return
    if _has_part(after, language):
        return
    start = number.start
    if said[0] in scales and before & _ARTICLES[language]:
        start -= 1  # "a hundred and twenty": the article is the one of it
    zeros = _ROUND.get(f"{language}:{said[-1]}", _ROUND.get(said[-1], 0))
    factor, rest = number.text[:-zeros], number.text[-zeros:]
    if zeros and factor.isdecimal() and not rest.strip("0"):
        # "two million" is written "2 million", "one million" and "a hundred million" in words.
        if factor != "1" and start == number.start:
            yield Span(start, number.end - 1, factor)
        return
    yield Span(start, number.end, number.text)


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
    """True for digits that are said one by one, or in pairs after a zero or a single digit."""
    texts = [number.text for number in run]
    if not all(text.isdecimal() for text in texts) or any(number.is_ordinal for number in run):
        return False
    if all(len(text) == 1 for text in texts):
        return True
    return texts[0][0] == "0" or (len(texts) > 2 and len(texts[0]) == 1)


def _before(at: int, words: Sequence[str], apart: Sequence[bool]) -> frozenset[str]:
    """The word before a place, unless punctuation parts it."""
    return frozenset({words[at - 1]} if at and not apart[at] else ())


def _after(at: int, words: Sequence[str], apart: Sequence[bool]) -> tuple[str, ...]:
    """Up to three words from a place on, up to punctuation."""
    end = next((n for n in range(at, len(words)) if apart[n]), len(words))
    return tuple(words[at : min(end, at + 3)])
