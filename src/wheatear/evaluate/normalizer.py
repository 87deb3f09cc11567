"""Text normalization before error rates: texts that read the same become the same characters.

Whisper's multilingual normalizer replaces combining marks by spaces, which breaks words of Hindi,
Thai and Arabic. Here marks are letters. The rules:

* Compatibility forms (full width, ligatures, Arabic presentation forms) become plain ones by NFKC,
  but Thai and Lao AM, which NFKC splits, stay whole. The result is in NFC.
* Lower case; Turkish and Azerbaijani i with and without dot, Greek final sigma as sigma. German
  sharp s stays, since it distinguishes words.
* Punctuation and symbols become spaces, hyphens too. An apostrophe between letters stays, in one
  form (l'été, м'яч); Hebrew gershayim between letters are dropped. Text in brackets stays.
* Digits of any script become 0-9. A full stop or comma between them stays as a full stop (3.5),
  unless it sets off three digits: then it groups thousands and is dropped (1,000).
* Arabic: vowel signs, Quranic marks and tatweel are optional and dropped. In Arabic locales alef
  with hamza, madda or wasla is alef, since their use varies. Teh marbuta and alef maksura are kept.
  Hebrew: points and accents are dropped.
* Russian ё is е; Romanian letters with cedilla are those with comma.
* Joiners, direction marks, variation selectors and soft hyphens are dropped.
* Distinct: traditional and simplified characters, kana and kanji, Hindi letters with and without
  nukta, numbers in words and in digits (unless spelled out).

English is normalized as in the Open ASR Leaderboard, by Whisper's EnglishTextNormalizer, so that
figures compare with published ones: contractions and spellings unified, numbers in digits. It drops
fillers (uh, mm) and text in brackets, so that some texts have no words left. Remains of leaders
(...) do not count as words.
"""

import re
import unicodedata
from functools import cache, lru_cache
from typing import Any

from wheatear.errors import MissingExtraError
from wheatear.model.locales import error_unit, language_of

_QUOTES = "\u2019\u2018\u201b\u02bc\u02bb\u02b9`\u00b4\u2032\u05f3"
_APOSTROPHES = str.maketrans(_QUOTES, "'" * len(_QUOTES))
_MARKS = str.maketrans("\u2122\u2120", "  ")  # ™ and ℠ would become letters
_NUMBER_SIGNS = str.maketrans("\u066b\u066c", ".,")  # Arabic
# Letters that NFKC splits, with their tone mark in either order.
_AM = re.compile("\u0e4d([\u0e48-\u0e4b]?)\u0e32|\u0ecd([\u0ec8-\u0ecb]?)\u0eb2")
_OPTIONAL = re.compile(
    "[\u0610-\u061a\u0640\u064b-\u0652\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed"  # Arabic
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # Hebrew
    "\u180b-\u180d\ufe00-\ufe0f\U000e0100-\U000e01ef\u20dd-\u20e4]"  # variants of a glyph
)
_GERSHAYIM = re.compile('(?<=[\u05d0-\u05ea])[\u05f4"\u201c-\u201f](?=[\u05d0-\u05ea])')
_SPACED_THOUSANDS = re.compile("(?<=\\d)[\u00a0\u2009\u202f](?=\\d{3}(?!\\d))")
_THOUSANDS = re.compile(r"(?<=\d)[.,'](?=\d{3}(?!\d))")
_DECIMAL = re.compile(r"(?<=\d)[.,](?=\d)")
_LAKHS = frozenset({"bn", "gu", "hi", "kn", "ml", "mr", "ne", "pa", "si", "ta", "te", "ur"})
_LETTERS_OF = {
    "ar": str.maketrans("\u0622\u0623\u0625\u0671", "\u0627" * 4),
    "az": str.maketrans("Iİ", "ıi"),
    "ro": str.maketrans("şţŞŢ", "șțȘȚ"),
    "ru": str.maketrans("ёЁ", "еЕ"),
    "tr": str.maketrans("Iİ", "ıi"),
}
_NUM2WORDS = {"nb": "no", "nn": "no"}


def normalize(
    text: str, locale: str, *, spell_numbers: bool = False, fold_accents: bool = False
) -> str:
    """Normalizes a text; words are separated by single spaces.

    Args:
        text: Reference or hypothesis.
        locale: Locale of the text.
        spell_numbers: Replace digits by words in languages that num2words knows, except English.
        fold_accents: Remove accents of Latin letters, for references without accents.

    Raises:
        MissingExtraError: The extra `evaluate` is not installed.
    """
    if language_of(locale) != "en":
        return normalize_words(text, locale, spell_numbers=spell_numbers, fold_accents=fold_accents)
    words = (word for word in english_normalizer()(text).split() if any(map(str.isalnum, word)))
    text = " ".join(words)
    return _without_accents(text) if fold_accents else text


def normalize_words(
    text: str, locale: str, *, spell_numbers: bool = False, fold_accents: bool = False
) -> str:
    """Normalizes a text word by word, without the rules of English.

    A part of a text becomes the same as within the whole text.
    """
    language = language_of(locale)
    text = _SPACED_THOUSANDS.sub("", text.translate(_MARKS))
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).translate(_APOSTROPHES)
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    text = unicodedata.normalize("NFC", _OPTIONAL.sub("", _AM.sub(_whole_am, text)))
    text = text.translate(_LETTERS_OF.get(language, {}))
    text = text.lower().replace("i\u0307", "i").replace("ς", "σ")
    if fold_accents:
        text = _without_accents(text)
    text = _digits(_GERSHAYIM.sub("", text), language in _LAKHS)
    text = "".join(_kept(text, at) for at in range(len(text)))
    if spell_numbers:
        text = re.sub(r"\d+(?:\.\d+)*", lambda run: f" {spell_number(run[0], locale)} ", text)
    return unicodedata.normalize("NFC", " ".join(text.split()))


def units(normal: str, locale: str) -> list[str]:
    """The units of the error rate of a normalized text: words, or characters."""
    return characters(normal) if error_unit(locale) == "character" else normal.split()


def characters(normal: str) -> list[str]:
    """The characters of a text without its spaces, each with its combining marks.

    A Korean syllable, a kana, a Thai consonant with vowel sign and tone are one character each.
    """
    found: list[str] = []
    for c in normal:
        if found and (unicodedata.category(c)[0] == "M" or c in "\u0e33\u0eb3"):
            found[-1] += c
        elif not c.isspace():
            found.append(c)
    return found


def _whole_am(match: re.Match[str]) -> str:
    thai = match[0][0] == "\u0e4d"
    return (match[1] if thai else match[2]) + ("\u0e33" if thai else "\u0eb3")


def _without_accents(text: str) -> str:
    """Latin letters without their marks."""
    kept: list[str] = []
    for c in unicodedata.normalize("NFD", text):
        latin = bool(kept) and "a" <= kept[-1].lower() <= "z"
        if not (latin and unicodedata.category(c) == "Mn"):
            kept.append(c)
    return unicodedata.normalize("NFC", "".join(kept))


def _digits(text: str, lakhs: bool) -> str:
    """Numbers in digits 0-9, without marks between thousands (lakhs), with a decimal point."""
    text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    text = text.translate(_NUMBER_SIGNS)
    if lakhs:
        text = re.sub(r"(?<=\d),(?=\d)", "", text)
    return _DECIMAL.sub(".", _THOUSANDS.sub("", text))


def _kept(text: str, at: int) -> str:
    """The character, or a space in its place."""
    c, before, after = text[at], text[at - 1 : at], text[at + 1 : at + 2]
    if unicodedata.category(c)[0] not in "PSZC":
        return c
    if c == "'" and _is_letter(before) and _is_letter(after):
        return c
    if c == "." and before.isdecimal() and after.isdecimal():
        return c
    return " "


def _is_letter(c: str) -> bool:
    return bool(c) and unicodedata.category(c)[0] in "LM"


@cache
def english_normalizer() -> Any:
    """Whisper's normalizer of English.  Raises MissingExtraError."""
    try:
        from whisper_normalizer.english import EnglishTextNormalizer  # noqa: PLC0415  (an extra)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"normalizing English needs {error.name}: pip install 'wheatear[evaluate]'"
        ) from error
    return EnglishTextNormalizer()


@lru_cache(maxsize=4096)
def spell_number(number: str, locale: str) -> str:
    """The number in words, or unchanged in a language that num2words does not know."""
    try:
        from num2words import num2words  # noqa: PLC0415  (an extra)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "spelling numbers out needs num2words: pip install 'wheatear[evaluate]'"
        ) from error
    language = _NUM2WORDS.get(language_of(locale), locale.replace("-", "_"))
    parts = [*number] if number[0] == "0" and number.isdecimal() else [number]  # 007 is not seven
    try:
        words = [num2words(part, lang=language) for part in parts]
    except (NotImplementedError, ValueError, ArithmeticError):
        return number
    return normalize_words(" ".join(words), locale)
