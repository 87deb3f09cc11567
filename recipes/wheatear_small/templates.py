"""Sentences of the closed domain, from templates written for this project.

domain/<locale>.toml holds word lists and templates, which `random_sentence` fills at random.
Numbers are words (num2words), not digits, so that each has one spelling.  All templates are
original text under the license of the code.
"""

from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from num2words import num2words

LOCALES = ("en-US", "es-US", "fr-CA", "it-IT", "pt-BR", "de-DE", "ru-RU")
# Locales with given sentences and voices but without templates, an example of an added language.
ADDED = ("nl-NL",)
_LATIN = "abcdefghijklmnopqrstuvwxyz"
LETTERS = {"de-DE": _LATIN + "äöü", "ru-RU": "абвгдежзийклмнопрстуфхцчшщыэюя"}
_NUM2WORDS = {
    "en-US": "en", "es-US": "es", "fr-CA": "fr_CA", "it-IT": "it", "pt-BR": "pt_BR",
    "de-DE": "de", "ru-RU": "ru", "nl-NL": "nl",
}  # fmt: skip
# Slots of a date: numbers to spell with the lowest they take, and word lists.
_FIRST_DAY = {"num31": 2, "ordinal": 1}
_DAYS = (*_FIRST_DAY, "date", "date_of")
_MONTHS = ("month", "month_of")
_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True)
class Language:
    """Word lists (by slot name) and templates of one locale."""

    words: dict[str, tuple[str, ...]]
    templates: tuple[str, ...]
    clock: dict[str, str]
    """Times of day: `hours` from two to twelve, patterns with {hour} and {minute}, and the
    `agreement` of the last words ("old=new", separated by bars)."""
    spelling: dict[str, str]
    """Corrected spellings of words in prompts; a phrase has underscores for its spaces."""


@cache
def load_language(locale: str) -> Language:
    """Reads domain/<locale>.toml."""
    path = Path(__file__).parent / "domain" / f"{locale}.toml"
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    lists = {name: tuple(text.split("|")) for name, text in values["words"].items()}
    pairs = values.get("spelling", {"pairs": ""})["pairs"].split()
    spelling = dict(pair.split("=") for pair in pairs)
    templates = tuple(values["templates"].strip().splitlines())
    return Language(lists, templates, values["clock"], spelling)


def spell_number(number: int, locale: str, ordinal: bool = False) -> str:
    """Returns a number in words, in one spelling per locale (English without "and")."""
    words: str = num2words(number, lang=_NUM2WORDS[locale], to="ordinal" if ordinal else "cardinal")
    words = words.replace(",", "").replace("ё", "е")  # as the Russian prompts are written
    if locale == "en-US":
        words = words.replace(" and ", " ").replace("-", " ")
    if locale == "es-US":
        words = words.replace("veintiuno mil", "veintiún mil").replace(" uno mil", " un mil")
        words = words.replace("décimoprimero", "undécimo").replace("décimosegundo", "duodécimo")
    return words


def _number(rng: random.Random) -> int:
    """Draws a number; small numbers are the most frequent."""
    low, high = rng.choices(
        ((0, 20), (21, 99), (100, 999), (1000, 9999), (10000, 999999)), (35, 38, 17, 7, 3)
    )[0]
    return rng.randint(low, high)


def _year(locale: str, rng: random.Random) -> str:
    year = rng.choice((rng.randint(1900, 1999), rng.randint(2000, 2040)))
    if locale == "de-DE":
        return str(num2words(year, lang="de", to="year"))
    if locale != "en-US" or 2000 <= year < 2010:
        return spell_number(year, locale)
    first, last = divmod(year, 100)
    tail = "hundred" if last == 0 else ("oh " if last < 10 else "") + spell_number(last, locale)
    return f"{spell_number(first, locale)} {tail}"


def _time(locale: str, rng: random.Random) -> str:
    clock = load_language(locale).clock
    at = rng.randint(2, 12)  # from two on: one o'clock takes another article in es and it
    minute = rng.choice((0, 15, 30, 45, rng.randint(1, 59)))
    hour = clock["hours"].split("|")[at - 2] if "hours" in clock else spell_number(at, locale)
    pattern = {0: "exact", 15: "quarter", 30: "half"}.get(minute, "minutes")
    if minute < 10 and "few" in clock and minute:
        pattern = "few"
    text = clock[pattern].format(hour=hour, minute=spell_number(minute, locale))
    for pair in clock.get("agreement", "").split("|"):
        old, _, new = pair.partition("=")
        if old and text.endswith(old):  # minutes are feminine in French and Russian
            text = text.removesuffix(old) + new
    return text


def capitalize(text: str) -> str:
    """Makes the first letter upper case, after an opening mark if there is one."""
    at = next((i for i, c in enumerate(text) if c.isalpha()), 0)
    return text[:at] + text[at : at + 1].upper() + text[at + 1 :]


def random_sentence(locale: str, rng: random.Random) -> str:
    """Fills a random template of a locale."""
    domain = load_language(locale)
    template = rng.choice(domain.templates)
    slots = re.findall(r"\{(\w+)\}", template)
    picked = [_fill(slot, locale, rng) for slot in slots]
    _keep_in_month(slots, picked)
    fillers = (_text_of(slot, value, locale) for slot, value in zip(slots, picked, strict=True))
    text = re.sub(r"\{\w+\}", lambda _: next(fillers), template)
    return re.sub(r"(?<=\w\.m)\.\.", ".", capitalize(text))


def _fill(slot: str, locale: str, rng: random.Random) -> int | str:
    """Draws the filler of a slot: an index of its word list, a day of the month, or the words."""
    if slot in load_language(locale).words:
        return rng.randrange(len(load_language(locale).words[slot]))
    if slot in _FIRST_DAY:
        return rng.randint(_FIRST_DAY[slot], 31)
    if slot == "digits":
        return " ".join(spell_number(rng.randint(0, 9), locale) for _ in range(rng.randint(1, 7)))
    if slot == "letter":
        return rng.choice(LETTERS.get(locale, _LATIN))
    if slot == "num":
        return spell_number(_number(rng), locale)
    return {"year": _year, "time": _time}[slot](locale, rng)


def _text_of(slot: str, value: int | str, locale: str) -> str:
    if isinstance(value, str):
        return value
    lists = load_language(locale).words
    return lists[slot][value] if slot in lists else spell_number(value, locale, slot == "ordinal")


def _keep_in_month(slots: list[str], picked: list[int | str]) -> None:
    """Limits days to the length of the month next to them."""
    for at, slot in enumerate(slots):
        if slot in _MONTHS:
            last = _LENGTHS[int(picked[at])]
            for beside in (at - 1, at + 1):
                if 0 <= beside < len(slots) and slots[beside] in _DAYS:
                    limit = last - (slots[beside] not in _FIRST_DAY)  # a place counts from zero
                    picked[beside] = min(int(picked[beside]), limit)


def random_digits(locale: str, rng: random.Random) -> str:
    """Draws one to six digits, as words."""
    words = [spell_number(rng.randint(0, 9), locale) for _ in range(rng.randint(1, 6))]
    return capitalize(" ".join(words)) + "."
