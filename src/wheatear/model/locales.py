"""The forty locales of Nemotron 3.5: tiers, names, scripts, units of error.

Prompt ids come from the dictionary of a checkpoint only. Other locales have the properties of
their language.

Sources: NVIDIA's model card of Nemotron 3.5 (locales, tiers); Unicode CLDR (names, scripts).
"""

from dataclasses import dataclass
from typing import Literal

Tier = Literal["transcription-ready", "broad-coverage", "adaptation-ready"]
Unit = Literal["word", "character"]

# Languages written without spaces between words; Korean spaces are often a matter of taste.
_SPACELESS = frozenset({"ja", "km", "lo", "my", "th", "yue", "zh"})
_BY_CHARACTER = _SPACELESS | {"ko"}
_SPACELESS_SCRIPTS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # Han iteration marks
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


@dataclass(frozen=True, slots=True)
class Locale:
    """A locale with its names and scripts."""

    id: str
    """Name in checkpoints, such as `en-US`."""
    tier: Tier
    """Quality by NVIDIA; adaptation-ready locales need fine-tuning."""
    english: str
    own: str
    """Name in the language itself."""
    aliases: tuple[str, ...] = ()
    """Other codes: with a region for this locale, without for its language."""
    scripts: tuple[str, ...] = ("Latn",)
    """ISO 15924."""

    @property
    def language(self) -> str:
        return language_of(self.id)

    @property
    def unit(self) -> Unit:
        """Unit in which errors are counted."""
        return error_unit(self.id)

    @property
    def spaces(self) -> bool:
        """True if words are separated by spaces."""
        return has_spaces(self.id)


_READY, _BROAD, _ADAPT = "transcription-ready", "broad-coverage", "adaptation-ready"

# The first of several locales of a language is the usual one.
LOCALES: tuple[Locale, ...] = (
    Locale("en-US", _READY, "English (US)", "English (US)", ("eng",)),
    Locale("en-GB", _READY, "English (UK)", "English (UK)", ("en-UK",)),
    Locale("es-US", _READY, "Spanish (Americas)", "español (América)", ("es-419", "es-MX", "spa")),
    Locale("es-ES", _READY, "Spanish (Spain)", "español (España)", ("castellano",)),
    Locale("fr-FR", _READY, "French (France)", "français (France)", ("fra", "fre")),
    Locale("fr-CA", _READY, "French (Canada)", "français (Canada)"),
    Locale("it-IT", _READY, "Italian", "italiano", ("ita",)),
    Locale("pt-BR", _READY, "Portuguese (Brazil)", "português (Brasil)", ("por",)),
    Locale("pt-PT", _READY, "Portuguese (Portugal)", "português (Portugal)"),
    Locale("nl-NL", _READY, "Dutch", "Nederlands", ("nld", "dut")),
    Locale("de-DE", _READY, "German", "Deutsch", ("deu", "ger")),
    Locale("tr-TR", _READY, "Turkish", "Türkçe", ("tur",)),
    Locale("ru-RU", _READY, "Russian", "русский", ("rus",), ("Cyrl",)),
    Locale("ar-AR", _READY, "Arabic", "العربية", ("ar-001", "ara", "arb"), ("Arab",)),
    Locale("hi-IN", _READY, "Hindi", "हिन्दी", ("hin",), ("Deva",)),
    Locale("ja-JP", _READY, "Japanese", "日本語", ("jpn",), ("Hani", "Hira", "Kana")),
    Locale("ko-KR", _READY, "Korean", "한국어", ("kor",), ("Hang",)),
    Locale("vi-VN", _READY, "Vietnamese", "Tiếng Việt", ("vie",)),
    Locale("uk-UA", _READY, "Ukrainian", "українська", ("ukr",), ("Cyrl",)),
    Locale("pl-PL", _BROAD, "Polish", "polski", ("pol",)),
    Locale("sv-SE", _BROAD, "Swedish", "svenska", ("swe",)),
    Locale("cs-CZ", _BROAD, "Czech", "čeština", ("ces", "cze")),
    Locale("nb-NO", _BROAD, "Norwegian Bokmål", "norsk bokmål", ("nob", "norwegian", "norsk")),
    Locale("da-DK", _BROAD, "Danish", "dansk", ("dan",)),
    Locale("bg-BG", _BROAD, "Bulgarian", "български", ("bul",), ("Cyrl",)),
    Locale("fi-FI", _BROAD, "Finnish", "suomi", ("fin",)),
    Locale("hr-HR", _BROAD, "Croatian", "hrvatski", ("hrv",)),
    Locale("sk-SK", _BROAD, "Slovak", "slovenčina", ("slk", "slo")),
    Locale("zh-CN", _BROAD, "Chinese (Mandarin)", "中文 (普通话)",
           ("cmn", "cmn-Hans-CN", "zh-Hans", "zh-Hans-CN", "zho", "chi", "mandarin"), ("Hans",)),
    Locale("hu-HU", _BROAD, "Hungarian", "magyar", ("hun",)),
    Locale("ro-RO", _BROAD, "Romanian", "română", ("mo", "ron", "rum")),
    Locale("et-EE", _BROAD, "Estonian", "eesti", ("est",)),
    Locale("el-GR", _ADAPT, "Greek", "ελληνικά", ("ell", "gre"), ("Grek",)),
    Locale("lt-LT", _ADAPT, "Lithuanian", "lietuvių", ("lit",)),
    Locale("lv-LV", _ADAPT, "Latvian", "latviešu", ("lav",)),
    Locale("mt-MT", _ADAPT, "Maltese", "Malti", ("mlt",)),
    Locale("sl-SI", _ADAPT, "Slovenian", "slovenščina", ("slv", "slovene")),
    Locale("he-IL", _ADAPT, "Hebrew", "עברית", ("heb", "iw", "iw-IL"), ("Hebr",)),
    Locale("th-TH", _ADAPT, "Thai", "ไทย", ("tha",), ("Thai",)),
    Locale("nn-NO", _ADAPT, "Norwegian Nynorsk", "norsk nynorsk", ("nno",)),
)  # fmt: skip


_FORTY = {locale.id.lower(): locale.id for locale in LOCALES}


def canonical_locale(locale: str) -> str:
    """Returns a locale with hyphens, in the spelling of the forty if it is one of them."""
    usual = locale.strip().replace("_", "-")
    return _FORTY.get(usual.lower(), usual)


def language_of(locale: str) -> str:
    """Returns the language code of a locale: `en` for `en-US`."""
    return locale.replace("_", "-").partition("-")[0].lower()


def error_unit(locale: str) -> Unit:
    """Returns the unit in which errors are counted: characters where spaces separate no words."""
    return "character" if language_of(locale) in _BY_CHARACTER else "word"


def has_spaces(locale: str) -> bool:
    """True if the words of a locale are separated by spaces."""
    return language_of(locale) not in _SPACELESS


def is_spaceless(letter: str) -> bool:
    """True if a letter belongs to a script that is written without spaces between words."""
    code = ord(letter)
    return any(low <= code <= high for low, high in _SPACELESS_SCRIPTS)
