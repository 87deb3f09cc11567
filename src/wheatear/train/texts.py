"""Sentences of the closed domain, from templates written for this project.

domain/<locale>.toml holds word lists and templates; `sentence` fills a template at random.
Numbers are spoken words throughout (num2words), never digits, so that the recogniser has
one way of writing each of them.  Everything there is original text under the licence of the
code; sentences from other sources come in through corpus.py with their own licence.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from num2words import num2words

LOCALES = ("en-US", "es-US", "it-IT")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
_NUM2WORDS = {"en-US": "en", "es-US": "es", "it-IT": "it"}


@dataclass(frozen=True)
class Language:
    """Word lists (by slot name) and templates of one locale."""

    words: dict[str, tuple[str, ...]]
    templates: tuple[str, ...]
    spelling: dict[str, str]
    """Corrections to words of the given prompts."""


@cache
def language(locale: str) -> Language:
    """What domain/<locale>.toml says."""
    path = Path(__file__).parent / "domain" / f"{locale}.toml"
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    lists = {name: tuple(text.split("|")) for name, text in values["words"].items()}
    pairs = values.get("spelling", {"pairs": ""})["pairs"].split()
    spelling = dict(pair.split("=") for pair in pairs)
    return Language(lists, tuple(values["templates"].strip().splitlines()), spelling)


def spell(number: int, locale: str, ordinal: bool = False) -> str:
    """The number in words, in the one spelling used everywhere (English without "and")."""
    words: str = num2words(number, lang=_NUM2WORDS[locale], to="ordinal" if ordinal else "cardinal")
    if locale == "en-US":
        words = words.replace(" and ", " ").replace("-", " ").replace(",", "")
    return words


def _number(rng: random.Random) -> int:
    """Small numbers are said most often."""
    low, high = rng.choices(
        ((0, 20), (21, 99), (100, 999), (1000, 9999), (10000, 999999)), (35, 38, 17, 7, 3)
    )[0]
    return rng.randint(low, high)


def _year(locale: str, rng: random.Random) -> str:
    year = rng.choice((rng.randint(1900, 1999), rng.randint(2000, 2040)))
    if locale != "en-US" or 2000 <= year < 2010:
        return spell(year, locale)
    first, last = divmod(year, 100)
    tail = "hundred" if last == 0 else ("oh " if last < 10 else "") + spell(last, locale)
    return f"{spell(first, locale)} {tail}"


def _time(locale: str, rng: random.Random) -> str:
    hour = rng.randint(2, 12)  # from two on: one o'clock takes another article in es and it
    minute = rng.choice((0, 15, 30, 45, rng.randint(1, 59)))
    if locale == "en-US":
        tail = " o'clock" if minute == 0 else " oh" * (minute < 10) + " " + spell(minute, locale)
        return spell(hour, locale) + tail
    special = {"es-US": {15: "cuarto", 30: "media"}, "it-IT": {15: "un quarto", 30: "mezza"}}
    joiner = {"es-US": " y ", "it-IT": " e "}[locale]
    tail = special[locale].get(minute, spell(minute, locale)) if minute else ""
    return spell(hour, locale) + (joiner + tail if tail else "")


def capitalise(text: str) -> str:
    """First letter upper case, after an opening mark if there is one."""
    at = next((i for i, c in enumerate(text) if c.isalpha()), 0)
    return text[:at] + text[at : at + 1].upper() + text[at + 1 :]


def sentence(locale: str, rng: random.Random) -> str:
    """One random sentence of the closed domain."""
    domain = language(locale)
    slots: dict[str, Callable[[], str]] = {
        "num": lambda: spell(_number(rng), locale),
        "num31": lambda: spell(rng.randint(2, 31), locale),
        "ordinal": lambda: spell(rng.randint(1, 31), locale, ordinal=True),
        "digits": lambda: " ".join(
            spell(rng.randint(0, 9), locale) for _ in range(rng.randint(1, 7))
        ),
        "year": lambda: _year(locale, rng),
        "time": lambda: _time(locale, rng),
        "letter": lambda: rng.choice(LETTERS),
    }

    def fill(match: re.Match[str]) -> str:
        slot = match.group(1)
        return slots[slot]() if slot in slots else rng.choice(domain.words[slot])

    text = re.sub(r"\{(\w+)\}", fill, rng.choice(domain.templates))
    return re.sub(r"(?<=\w\.m)\.\.", ".", capitalise(text))


def digits(locale: str, rng: random.Random) -> str:
    """One to six digits: the first lesson."""
    words = [spell(rng.randint(0, 9), locale) for _ in range(rng.randint(1, 6))]
    return capitalise(" ".join(words)) + "."
