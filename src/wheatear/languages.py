"""From what a user calls a language to the prompt id of a model.

Ids come only from the model's own prompt dictionary: published tables disagree with each other.
"""

import difflib
from collections.abc import Mapping

from wheatear.errors import LanguageError

AUTO = "auto"

# What a bare language means where a model has several of its locales, most usual first; and old
# or macro-language codes.
_PREFERRED = {
    "ar": ("ar-AR", "ar-SA", "ar-AE"), "en": ("en-US", "en-GB"), "es": ("es-US", "es-ES"),
    "fr": ("fr-FR", "fr-CA"), "nb": ("nb-NO", "no"), "nl": ("nl-NL",), "no": ("nb-NO", "nn-NO"),
    "pt": ("pt-BR", "pt-PT"), "zh": ("zh-CN", "zh-TW"),
}  # fmt: skip
_OTHER_CODES = {"cmn": "zh", "fil": "tl", "in": "id", "iw": "he", "ji": "yi", "mo": "ro"}


def resolve_language(prompts: Mapping[str, int], language: str) -> str:
    """The key of the prompt dictionary meant by `language`; case and `_`/`-` do not matter, and a
    bare language such as `zh` means its usual locale where the model has it.

    Raises LanguageError with the nearest keys, or, for a model without prompts, for anything
    but "auto".
    """
    if not isinstance(language, str):
        raise LanguageError(f"language must be a string such as 'en-US', not {language!r}")
    if not prompts:
        if _plain(language) == AUTO:
            return AUTO
        raise LanguageError(
            f"this model has one language and takes no language prompt: leave the language at "
            f"'auto' instead of {language!r}"
        )
    by_plain = {_plain(key): key for key in prompts}
    if _plain(language) in ("no", "no-no") and "nb-no" in by_plain:
        # NVIDIA's dictionary has a slot for "no" that none of its locales was trained in.
        return by_plain["nb-no"]
    if (key := by_plain.get(_plain(language))) is not None:
        return key
    if (key := _by_language(by_plain, _plain(language))) is not None:
        return key
    nearest = difflib.get_close_matches(_plain(language), by_plain, n=4, cutoff=0.5)
    hint = (
        f"did you mean {', '.join(by_plain[name] for name in nearest)}?"
        if nearest
        else f"it knows {', '.join(sorted(prompts))}"
    )
    raise LanguageError(f"this model does not know the language {language!r}; {hint}")


def _by_language(by_plain: Mapping[str, str], language: str) -> str | None:
    """The locale that a language without a region stands for, if the model has one."""
    language = _OTHER_CODES.get(language, language)
    if not language.isalpha():
        return None
    for locale in (language, *_PREFERRED.get(language, ())):
        if (key := by_plain.get(locale.lower())) is not None:
            return key
    locales = [key for plain, key in by_plain.items() if plain.partition("-")[0] == language]
    return locales[0] if len(locales) == 1 else None


def _plain(language: str) -> str:
    return language.strip().replace("_", "-").lower()
