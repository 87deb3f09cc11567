"""Sentences that may be trained on, and their normal form.

Two of five hash buckets of all sentences are reserved for evaluation.  A sentence is trained on in
one spelling, with numbers in words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from recipes.wheatear_small import templates

EVALUATION_BUCKETS = (0, 1)  # of five
# The recordings are es-419 (Mexico); the model's tag for the Spanish of the Americas is es-US.
LOCALE_OF = {
    "en-US": "en-US", "es-419": "es-US", "fr-CA": "fr-CA", "it-IT": "it-IT", "pt-BR": "pt-BR",
    "de-DE": "de-DE", "ru-RU": "ru-RU", "nl-NL": "nl-NL",
}  # fmt: skip


def may_train_on(text: str) -> bool:
    """True if the hash bucket of a sentence is not reserved for evaluation."""
    digest = hashlib.sha256(text.strip().lower().encode()).hexdigest()
    return int(digest, 16) % 5 not in EVALUATION_BUCKETS


def bare_words(text: str) -> str:
    """Returns the words without case and punctuation, to compare prompts."""
    text = text.lower().replace("’", "'").replace("ё", "е")
    return " ".join(re.sub(r"[^\w' ]", " ", text).split())


def spoken_form(text: str, locale: str) -> str | None:
    """Returns a prompt with numbers in words and without markup; None if that is ambiguous."""
    text = text.replace("’", "'").replace("…", "...").replace("E' ", "È ")
    text = re.sub(r'[“”"]', "", text).replace("...", " ").replace(";", ",")
    text = text.replace("ё", "е").replace("Ё", "Е")  # the spelling of most Russian prompts
    text = re.sub(r"\b\d{1,2}\b", lambda m: templates.spell_number(int(m.group()), locale), text)
    if re.search(r"[\d#*/@<>\[\]()|_\\%&+=]|\w-\w+-\w+:|www| \?", text):
        return None
    if locale in templates.LOCALES:
        text = _corrected(text, templates.load_language(locale).spelling)
    text = re.sub(r"\s+([,.?!:])", r"\1", re.sub(r"\s+", " ", text)).strip(" ,:")
    if not re.search(r"\w", text):
        return None
    text = templates.capitalize(text)
    return text if text[-1] in ".?!" else text + "."


def _corrected(text: str, spelling: dict[str, str]) -> str:
    """Applies the corrected spellings of a locale."""
    for phrase in (old.replace("_", " ") for old in spelling if "_" in old):
        new = spelling[phrase.replace(" ", "_")].replace("_", " ")
        text = re.sub(
            rf"\b{phrase}\b", lambda m, new=new: _match_case(m.group(), new), text, flags=re.I
        )
    return re.sub(r"\w+", lambda m: _match_case(m.group(), spelling.get(m.group().lower())), text)


def _match_case(old: str, new: str | None) -> str:
    if new is None:
        return old
    return templates.capitalize(new) if old[0].isupper() else new


def evaluation_sentences(lines: Iterable[Mapping[str, str]]) -> frozenset[str]:
    """Returns the words of evaluation recordings, as given and in normal form."""
    return frozenset(
        bare_words(form)
        for line in lines
        for locale in [LOCALE_OF.get(line["lang"], "en-US")]
        for form in (line["text"], spoken_form(line["text"], locale) or line["text"])
    )


def training_text(text: str, locale: str, excluded: frozenset[str] = frozenset()) -> str | None:
    """Returns the normal form of a sentence, or None if it is reserved for evaluation.

    Neither the sentence nor its normal form may be reserved.  The normal form is tried with and
    without its full stop, since prompts occur in both forms.
    """
    form = spoken_form(text, locale)
    if (
        form is None
        or not may_train_on(text)
        or bare_words(text) in excluded
        or bare_words(form) in excluded
    ):
        return None
    return next((f for f in (form, form.rstrip(".")) if may_train_on(f)), None)


def is_reserved(text: str, locale: str) -> bool:
    """True if a sentence of a manifest, or its normal form, is reserved for evaluation.

    One of the normal forms with and without full stop must be free, as in `training_text`.
    """
    form = spoken_form(text, locale) or text
    return not may_train_on(text) or not (may_train_on(form) or may_train_on(form.rstrip(".")))
