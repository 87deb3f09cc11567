"""From what a user calls a language to the prompt id of a model.

Ids come only from the model's own prompt dictionary: published tables disagree with each other.
"""

import difflib
from collections.abc import Mapping

from wheatear.errors import LanguageError
from wheatear.locales import LOCALES

AUTO = "auto"
# Old codes, and what a macro-language means.
_OTHER = {"fil": ("tl",), "in": ("id",), "ji": ("yi",), "nb": ("no",), "no": ("nb", "nn")}


def _meanings() -> dict[str, str]:
    """Names and other codes -> the locale or, where they name no region, the language."""
    found: dict[str, str] = {}
    for locale in LOCALES:
        for alias in locale.aliases:
            found[_plain(alias)] = _plain(locale.id) if "-" in alias else locale.language
        for name in (locale.english, locale.own):
            bare, region, _ = _plain(name).partition(" (")
            found.setdefault(bare, locale.language)
            if region:
                found[_plain(name)] = _plain(locale.id)
    return found


def _plain(language: str) -> str:
    return language.strip().replace("_", "-").lower()


_MEANINGS = _meanings()


def resolve_language(prompts: Mapping[str, int], language: str) -> str:
    """The key of the prompt dictionary meant by `language`: a key, an alias of one (`es-419`), a
    name (`German`, `Deutsch`) or a bare language (`zh`), which means its usual locale among those
    that the model has. Case and `_`/`-` do not matter.

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
    name = _MEANINGS.get(_plain(language), _plain(language))
    for meant in (_plain(language), name, *_OTHER.get(name, ())):
        if (key := by_plain.get(meant) or _by_language(by_plain, meant)) is not None:
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
    usual = (_plain(locale.id) for locale in LOCALES if locale.language == language)
    if (
        key := next((by_plain[locale] for locale in usual if locale in by_plain), None)
    ) is not None:
        return key
    locales = [key for plain, key in by_plain.items() if plain.partition("-")[0] == language]
    return locales[0] if len(locales) == 1 else None
