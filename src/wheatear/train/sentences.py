"""What may be trained on, and how a prompt is written.

Evaluation owns two of five hash buckets of all sentences; a sentence is trained on in one
spelling, with its numbers in words.
"""

from __future__ import annotations

import hashlib
import re

from wheatear.train import texts

EVALUATION_BUCKETS = (0, 1)  # of five


def allowed(text: str) -> bool:
    """Whether the sentence may be trained on: evaluation owns two of five hash buckets."""
    digest = hashlib.sha256(text.strip().lower().encode()).hexdigest()
    return int(digest, 16) % 5 not in EVALUATION_BUCKETS


def words(text: str) -> str:
    """The bare words, for telling whether two prompts say the same thing."""
    return " ".join(re.sub(r"[^\w' ]", " ", text.lower().replace("’", "'")).split())


def spoken(text: str, locale: str) -> str | None:
    """The prompt as it is spoken: numbers in words, no mark-up; None if that is not certain."""
    text = text.replace("’", "'").replace("…", "...").replace("E' ", "È ")
    text = re.sub(r'[“”"]', "", text).replace("...", " ").replace(";", ",")
    text = re.sub(r"\b\d{1,2}\b", lambda m: texts.spell(int(m.group()), locale), text)
    if re.search(r"[\d#*/@<>\[\]()|_\\%&+=]|\w-\w+-\w+:|www| \?", text):
        return None
    spelling = texts.language(locale).spelling
    text = re.sub(r"\w+", lambda m: _match_case(m.group(), spelling.get(m.group().lower())), text)
    text = re.sub(r"\s+([,.?!:])", r"\1", re.sub(r"\s+", " ", text)).strip(" ,:")
    if not re.search(r"\w", text):
        return None
    text = texts.capitalise(text)
    return text if text[-1] in ".?!" else text + "."


def _match_case(old: str, new: str | None) -> str:
    if new is None:
        return old
    return texts.capitalise(new) if old[0].isupper() else new


def training_text(text: str, locale: str, excluded: frozenset[str] = frozenset()) -> str | None:
    """The form of the sentence to train on, or None where evaluation owns it.

    The sentence itself must be free, and what is written to the manifest as well; with and
    without its full stop are tried, since prompts are found in either form.
    """
    form = spoken(text, locale)
    if form is None or not allowed(text) or words(text) in excluded or words(form) in excluded:
        return None
    return next((f for f in (form, form.rstrip(".")) if allowed(f)), None)
