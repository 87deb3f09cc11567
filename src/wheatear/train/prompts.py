"""The language prompt: which slot of the one-hot stands for which locale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wheatear.errors import PlanError

AUTO = "auto"
# NVIDIA's slots (model card of Nemotron 3.5 ASR) of the locales that the shipped model speaks.
NVIDIA = {
    "en-US": 0, "es-US": 3, "de-DE": 9, "ru-RU": 11, "pt-BR": 12, "it-IT": 15, "fr-CA": 100,
    AUTO: 101,
}  # fmt: skip


def fresh(locales: Sequence[str], slots: int) -> dict[str, int]:
    """The dictionary of a new model: NVIDIA's slots where known, the locale and its language."""
    prompts = with_locales({AUTO: NVIDIA[AUTO]}, locales, slots)
    for locale in locales:
        prompts.setdefault(locale.partition("-")[0], prompts[locale])
    return prompts


def with_locales(prompts: Mapping[str, int], locales: Sequence[str], slots: int) -> dict[str, int]:
    """The dictionary with a slot for each locale: its own, NVIDIA's, or the last free one.

    Raises PlanError when all slots are taken.
    """
    found = dict(prompts)
    for locale in locales:
        if locale in found:
            continue
        taken = {*found.values(), *NVIDIA.values()}
        free = [slot for slot in range(slots) if slot not in taken]
        own = NVIDIA.get(locale)
        if own is not None and own not in found.values() and own < slots:
            found[locale] = own
        elif free:
            found[locale] = free[-1]
        else:
            raise PlanError(f"the model's {slots} language slots are taken: none for {locale}")
    return found
