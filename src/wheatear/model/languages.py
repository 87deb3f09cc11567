"""Resolves the language that a caller names to a key of a model's prompt dictionary.

A key is itself. Any other BCP 47 tag means the nearest locale of its language: of the same region,
otherwise of the same group of regions, otherwise the usual locale. Script, variants and extensions
are ignored: they do not change how a language is spoken.

Ids come from the model's own prompt dictionary only, because published tables differ.
Sources: RFC 5646 (tags), Unicode CLDR 48 (aliases, parent locales, language matching).
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from wheatear.errors import LanguageError
from wheatear.model.locales import LOCALES

AUTO = "auto"
_SHOWN = 5
"""Maximum number of suggestions."""
_LONGEST = 60
"""Maximum length of a language in characters, and in messages."""
_UNDETERMINED = ("mul", "und")
_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(?P<extended>(-[a-z]{3}){0,3})(-[a-z]{4})?"
    r"(-(?P<region>[a-z]{2}|\d{3}))?"
    r"(-([a-z0-9]{5,8}|\d[a-z0-9]{3}|oed))*(-[a-wyz0-9](-[a-z0-9]{2,8})+)*(-x(-[a-z0-9]{1,8})+)?"
)
_EXTENDED = frozenset({"ar", "kok", "lv", "ms", "sw", "uz", "zh"})
"""Languages whose tags may have a second language, which is the one that counts."""
_OLD_TAGS = {
    "i-hak": "hak", "i-lux": "lb", "no-bok": "nb", "no-nyn": "nn", "zh-guoyu": "zh",
    "zh-hakka": "hak", "zh-min": "nan", "zh-min-nan": "nan", "zh-xiang": "hsn",
}  # fmt: skip

# ISO 639-2 and -3 codes, deprecated codes, and the usual individual language of a macrolanguage.
_CODES = {
    other: code
    for code, others in {
        "af": "afr", "am": "amh", "ar": "ara arb", "ay": "aym ayr", "az": "aze azj", "bg": "bul",
        "bn": "ben", "cs": "ces cze", "da": "dan", "de": "deu ger", "el": "ell gre", "en": "eng",
        "es": "spa", "et": "est ekk", "fa": "fas per pes", "fi": "fin", "fil": "tl tgl",
        "fr": "fra fre", "gn": "grn gug", "gu": "guj", "ha": "hau", "he": "heb iw", "hi": "hin",
        "hr": "hrv", "hu": "hun", "hy": "hye arm", "id": "ind in", "ig": "ibo", "it": "ita",
        "ja": "jpn", "ka": "kat geo", "km": "khm", "kn": "kan", "ko": "kor", "ku": "kur kmr",
        "ky": "kir", "ln": "lin", "lt": "lit", "lv": "lav lvs", "mi": "mri mao", "ml": "mal",
        "mr": "mar", "ms": "msa may zsm", "mt": "mlt", "nb": "nob", "ne": "nep npi",
        "nl": "nld dut", "nn": "nno", "no": "nor", "ny": "nya", "or": "ori ory", "pl": "pol",
        "pt": "por", "qu": "que quz", "ro": "ron rum mo mol", "ru": "rus", "rw": "kin",
        "si": "sin", "sk": "slk slo", "sl": "slv", "sm": "smo", "so": "som", "sv": "swe",
        "sw": "swa swh", "ta": "tam", "te": "tel", "tg": "tgk", "th": "tha", "to": "ton",
        "tr": "tur", "uk": "ukr", "ur": "urd", "uz": "uzb uzn", "vi": "vie", "yi": "yid ydd ji",
        "yo": "yor", "zh": "zho chi cmn", "zu": "zul",
    }.items()
    for other in others.split()
}  # fmt: skip

# Groups of regions with a common variety, by their main region, which is the first. Other regions
# belong to the last group of a language.
_GROUPS: dict[str, tuple[tuple[str, frozenset[str]], ...]] = {
    language: tuple((group.partition(" ")[0], frozenset(group.split())) for group in groups)
    for language, groups in {
        "en": ("us as ca gu mh mp ph pr um vi 003 019 021", "gb"),
        "es": ("us mx 419 003 005 013 019 021 029 ar bo br bz ca cl co cr cu do ec gt hn ni pa pe "
               "pr py sv uy ve", "es"),
        "fr": ("ca 021 pm", "fr"),
        "pt": ("pt ao ch cv fr gq gw lu mo mz st tl 002 150", "br"),
    }.items()
}  # fmt: skip

_RELATED = {
    "ar": "apc apd arz ary acm acw aeb afb ajp arq ars mt", "cs": "sk", "da": "nb nn no",
    "de": "gsw lb nds bar", "es": "ca gl ast an", "et": "vro", "fi": "krl", "fr": "oc br wa",
    "hi": "ur mr pa", "hr": "bs sr sh hbs srp bos cnr", "id": "ms", "it": "sc scn nap vec lmo fur",
    "nb": "nn no da", "nl": "af li fy", "nn": "nb no", "pt": "gl", "ro": "rup", "ru": "be kk",
    "sk": "cs", "sl": "hr", "sv": "nb no", "tr": "az tk", "uk": "be rue", "bg": "mk",
    "zh": "yue nan hak wuu hsn gan cdo cjy", "lv": "ltg", "en": "sco",
}  # fmt: skip
"""Language of a model -> related languages, for suggestions."""


@dataclass(frozen=True, slots=True)
class _Tag:
    """Language and region of a BCP 47 tag in lower case."""

    language: str
    region: str = ""


def resolve_language(prompts: Mapping[str, int], language: str) -> str:
    """Returns the key of a prompt dictionary that a language means.

    Args:
        prompts: Key -> prompt id; empty for a model without a language prompt.
        language: A key, a BCP 47 tag, a bare language (`zh`), or a name (`German`, `Deutsch`).
            Case, `_` for `-`, and suffixes of POSIX locales (`.UTF-8`, `@euro`) are ignored.

    Raises:
        LanguageError: The model does not have the language; the message has suggestions. A model
            without prompts has only "auto".
    """
    if not isinstance(language, str):
        raise LanguageError(f"language must be a string such as 'en-US', not {language!r}")
    plain = _plain(language[: _LONGEST + 1])
    shown = repr(language) if len(language) <= _LONGEST else f"{language[:_LONGEST]!r}..."
    if not prompts:
        if plain == AUTO:
            return AUTO
        raise LanguageError(
            f"this model has one language and takes no language prompt: leave the language at "
            f"'auto' instead of {shown}"
        )
    by_plain = {_plain(key): key for key in prompts}
    if plain in ("no", "no-no") and "nb-no" in by_plain:
        # NVIDIA's dictionary has an id for "no" that was never trained.
        return by_plain["nb-no"]
    if plain in by_plain:
        return by_plain[plain]
    if plain in _UNDETERMINED and AUTO in by_plain:
        return by_plain[AUTO]
    tag = _MEANINGS.get(plain) or _parse(plain) if len(language) <= _LONGEST else None
    if tag and (key := _nearest(by_plain, tag)):
        return key
    raise LanguageError(
        f"this model does not know the language {shown}; {_hint(by_plain, plain, tag)}"
    )


def replacement_note(language: str, key: str) -> str | None:
    """Returns a note if `resolve_language` replaced a region by another one, otherwise None."""
    tag, found = _parse(_plain(language)), _parse(_plain(key))
    if tag is None or found is None or not tag.region or tag.region == found.region:
        return None
    return f"language {language}: {key} is the nearest that this model has"


def _plain(language: str) -> str:
    """Returns lower case with hyphens, without character set and modifier of a POSIX locale."""
    return re.split("[.@]", language.strip(), maxsplit=1)[0].replace("_", "-").lower()


def _parse(plain: str) -> _Tag | None:
    """Parses a tag; returns None for other texts."""
    plain = _OLD_TAGS.get(plain, plain)
    found = _TAG.fullmatch(plain)
    if found is None:
        return None
    language, extended = found["language"], found["extended"].lstrip("-")
    if extended and language in _EXTENDED:
        language = extended.partition("-")[0]
    region = {"uk": "gb"}.get(found["region"] or "", found["region"] or "")
    return _Tag(_CODES.get(language, language), region)


def _meanings() -> dict[str, _Tag]:
    """Returns names and other codes -> language and region."""
    found: dict[str, _Tag] = {}
    for locale in LOCALES:
        own = _Tag(locale.language, _plain(locale.id).partition("-")[2])
        bare = _Tag(own.language)
        for alias in locale.aliases:
            found[_plain(alias)] = own if "-" in alias else bare
        for name in (locale.english, locale.own):
            short, region, _ = _plain(name).partition(" (")
            found.setdefault(short, bare)
            if region:
                found[_plain(name)] = own
    return found


_MEANINGS = _meanings()


def _nearest(by_plain: Mapping[str, str], tag: _Tag) -> str | None:
    """Returns the key of the nearest locale of a tag's language; None if it is ambiguous."""
    locales = _of_language(by_plain, tag.language)
    if not locales:
        return None
    nearest = min(locales, key=lambda plain: _distance(tag, plain, locales[plain]))
    own = locales[nearest]
    chosen = own.region in ("", tag.region) or nearest in _USUAL or own.language in _GROUPS
    return by_plain[nearest] if chosen or len(locales) == 1 else None


def _of_language(by_plain: Mapping[str, str], language: str) -> dict[str, _Tag]:
    """Returns the locales of a language among the keys of a model."""
    known = {plain: own for plain in by_plain if plain != AUTO and (own := _parse(plain))}
    for code in _SAME.get(language, (language,)):
        if locales := {plain: own for plain, own in known.items() if own.language == code}:
            return locales
    return {}


def _distance(tag: _Tag, plain: str, own: _Tag) -> tuple[int, ...]:
    """Returns the distance of a tag from a locale of the same language."""
    usual = _USUAL.get(plain, len(_USUAL))
    if not tag.region:  # a bare language in the dictionary goes first
        return bool(own.region), usual, len(plain)
    group = _group(tag)
    far = own.region != tag.region, not own.region, _group(own) != group, own.region != group
    return *far, usual, len(plain)


def _group(tag: _Tag) -> str:
    """Returns the main region of the group of a tag's region."""
    groups = _GROUPS.get(tag.language, ())
    if not groups or not tag.region:
        return ""
    return next((head for head, members in groups if tag.region in members), groups[-1][0])


_SAME = {"nb": ("nb", "no"), "no": ("nb", "no", "nn")}
"""Languages with several codes in dictionaries of models, in order of preference."""
_USUAL = {_plain(locale.id): place for place, locale in enumerate(LOCALES)}
"""Locale -> its rank; the first locale of a language is the usual one."""


def _hint(by_plain: Mapping[str, str], plain: str, tag: _Tag | None) -> str:
    """Returns suggestions: related locales, otherwise similar names, otherwise all locales."""
    if tag is None:
        names = [*by_plain, *_MEANINGS]
        alike = difflib.get_close_matches(plain, names, n=_SHOWN, cutoff=0.75)
        found = (by_plain.get(name) or _nearest(by_plain, _MEANINGS[name]) for name in alike)
        near = [key for key in found if key]
    else:
        near = [by_plain[locale] for locale in _of_language(by_plain, tag.language)]
        near += [
            key
            for language, others in _RELATED.items()
            if tag.language in others.split() and (key := _nearest(by_plain, _Tag(language)))
        ]
    if near:
        return f"did you mean {' or '.join(dict.fromkeys(near))}?"
    keys = sorted(by_plain.values())
    regional = [key for key in keys if "-" in key or key == AUTO]
    return f"it knows {', '.join(regional if len(regional) > 1 else keys)}"
