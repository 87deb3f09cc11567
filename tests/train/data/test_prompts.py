"""Slots of the language prompt."""

from __future__ import annotations

import pytest

from wheatear.errors import PlanError
from wheatear.train.data import prompts


def test_new_locales_get_free_slots() -> None:
    mine = prompts.new_prompts(["en-US", "de-DE", "xx-XX"], 128)
    assert mine["en-US"] == mine["en"] == 0
    assert mine["auto"] == 101
    assert mine["xx-XX"] not in prompts.NVIDIA.values()
    more = prompts.add_locales(mine, ["en-US", "yy-YY", "fr-CA"], 128)
    assert more.items() >= mine.items()
    assert more["fr-CA"] == 100
    assert more["yy-YY"] not in mine.values()


def test_locale_without_free_slot_raises() -> None:
    with pytest.raises(PlanError, match="slots are taken"):
        prompts.add_locales({f"l{i}": i for i in range(4)}, ["en-US"], 4)
