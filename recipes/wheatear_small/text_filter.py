"""What may be trained on, and how a prompt is written.

Evaluation owns two of five hash buckets of all sentences; a sentence is trained on in one
spelling, with its numbers in words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from recipes.wheatear_small import templates as texts

EVALUATION_BUCKETS = (0, 1)  # of five
# The recordings are es-419 (Mexico); the model's tag for the Spanish of the Americas is es-US.
LOCALE_OF = {
    "en-US": "en-US", "es-419": "es-US", "fr-CA": "fr-CA", "it-IT": "it-IT", "pt-BR": "pt-BR",
    "de-DE": "de-DE", "ru-RU": "ru-RU", "nl-NL": "nl-NL",
}  # fmt: skip


def allowed(text: str) -> bool:
    """Whether the sentence may be trained on: evaluation owns two of five hash buckets."""
    digest = hashlib.sha256(text.strip().lower().encode()).hexdigest()
    return int(digest, 16) % 5 not in EVALUATION_BUCKETS


def words(text: str) -> str:
    """The bare words, for telling whether two prompts say the same thing."""
    text = text.lower().replace("’", "'").replace("ё", "е")
    return " ".join(re.sub(r"[^\w' ]", " ", text).split())


def spoken(text: str, locale: str) -> str | None:
    """The prompt as it is spoken: numbers in words, no mark-up; None if that is not certain."""
    text = text.replace("’", "'").replace("…", "...").replace("E' ", "È ")
    text = re.sub(r'[“”"]', "", text).replace("...", " ").replace(";", ",")
    text = text.replace("ё", "е").replace("Ё", "Е")  # one Russian spelling, that of most prompts
    text = re.sub(r"\b\d{1,2}\b", lambda m: texts.spell(int(m.group()), locale), text)
    if re.search(r"[\d#*/@<>\[\]()|_\\%&+=]|\w-\w+-\w+:|www| \?", text):
        return None
    if locale in texts.LOCALES:
        text = _corrected(text, texts.language(locale).spelling)
    text = re.sub(r"\s+([,.?!:])", r"\1", re.sub(r"\s+", " ", text)).strip(" ,:")
    if not re.search(r"\w", text):
        return None
    text = texts.capitalise(text)
    return text if text[-1] in ".?!" else text + "."


def _corrected(text: str, spelling: dict[str, str]) -> str:
    """The text without the slips that the locale's list knows."""
    for phrase in (old.replace("_", " ") for old in spelling if "_" in old):
        new = spelling[phrase.replace(" ", "_")].replace("_", " ")
        text = re.sub(
            rf"\b{phrase}\b", lambda m, new=new: _match_case(m.group(), new), text, flags=re.I
        )
    return re.sub(r"\w+", lambda m: _match_case(m.group(), spelling.get(m.group().lower())), text)


def _match_case(old: str, new: str | None) -> str:
    if new is None:
        return old
    return texts.capitalise(new) if old[0].isupper() else new


def held_words(lines: Iterable[Mapping[str, str]]) -> frozenset[str]:
    """The words of evaluation recordings (lines of their manifest), as given and as spoken."""
    return frozenset(
        form
        for line in lines
        for locale in [LOCALE_OF.get(line["lang"], "en-US")]
        for form in (words(line["text"]), words(spoken(line["text"], locale) or line["text"]))
    )


def training_text(text: str, locale: str, excluded: frozenset[str] = frozenset()) -> str | None:
    """The form of the sentence to train on, or None where evaluation owns it.

    The sentence itself must be free, and what is written to the manifest as well; with and
    without its full stop are tried, since prompts are found in either form.
    """
    form = spoken(text, locale)
    if form is None or not allowed(text) or words(text) in excluded or words(form) in excluded:
        return None
    return next((f for f in (form, form.rstrip(".")) if allowed(f)), None)


def reserved(text: str, locale: str) -> bool:
    """Whether evaluation owns a sentence of a manifest, as written or in its normal form.

    Of the normal form with and without full stop one must be free, as in `training_text`.
    """
    form = spoken(text, locale) or text
    return not allowed(text) or not (allowed(form) or allowed(form.rstrip(".")))
