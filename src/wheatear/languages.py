"""From what a user calls a language to the prompt id of a model.

Ids come only from the model's own prompt dictionary: published tables disagree with each other.
"""

import difflib
from collections.abc import Mapping

from wheatear.errors import LanguageError

AUTO = "auto"


def resolve_language(prompts: Mapping[str, int], language: str) -> str:
    """The key of the prompt dictionary meant by `language`; case and `_`/`-` do not matter.

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
    if (key := by_plain.get(_plain(language))) is not None:
        return key
    nearest = difflib.get_close_matches(_plain(language), by_plain, n=4, cutoff=0.5)
    hint = (
        f"did you mean {', '.join(by_plain[name] for name in nearest)}?"
        if nearest
        else f"it knows {', '.join(sorted(prompts))}"
    )
    raise LanguageError(f"this model does not know the language {language!r}; {hint}")


def _plain(language: str) -> str:
    return language.strip().replace("_", "-").lower()
