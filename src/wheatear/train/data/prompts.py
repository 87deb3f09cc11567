"""Slots of locales in the one-hot language prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wheatear.errors import PlanError

AUTO = "auto"
# NVIDIA's slots (model card of Nemotron 3.5 ASR) of its forty locales.
NVIDIA = {
    "en-US": 0, "en-GB": 1, "es-ES": 2, "es-US": 3, "zh-CN": 4, "hi-IN": 6, "ar-AR": 7,
    "fr-FR": 8, "de-DE": 9, "ja-JP": 10, "ru-RU": 11, "pt-BR": 12, "pt-PT": 13, "ko-KR": 14,
    "it-IT": 15, "nl-NL": 16, "pl-PL": 17, "tr-TR": 18, "uk-UA": 19, "ro-RO": 20, "el-GR": 21,
    "cs-CZ": 22, "hu-HU": 23, "sv-SE": 24, "da-DK": 25, "fi-FI": 26, "sk-SK": 28, "hr-HR": 29,
    "bg-BG": 30, "lt-LT": 31, "th-TH": 32, "vi-VN": 33, "et-EE": 60, "lv-LV": 61, "sl-SI": 62,
    "he-IL": 64, "fr-CA": 100, AUTO: 101, "mt-MT": 102, "nb-NO": 103, "nn-NO": 104,
}  # fmt: skip


def new_prompts(locales: Sequence[str], slots: int) -> dict[str, int]:
    """Makes the dictionary of a new model: a slot for each locale, shared by its language."""
    prompts = add_locales({AUTO: NVIDIA[AUTO]}, locales, slots)
    for locale in locales:
        prompts.setdefault(locale.partition("-")[0], prompts[locale])
    return prompts


def add_locales(prompts: Mapping[str, int], locales: Sequence[str], slots: int) -> dict[str, int]:
    """Adds a slot for each locale: NVIDIA's, or the last free one.

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
