"""Plans: what is wrong is named, and what is written is read again."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from wheatear.errors import PlanError
from wheatear.train.data import prompts
from wheatear.train.data.batches import Recipe
from wheatear.train.run.config import Plan

GOOD = """
name = "x"
rate = 1e-3
steps = 10
pieces = 64
[[stage]]
until = 1.0
parts = { a = 1 }
lookaheads = [0, 13]
"""


def read(folder: Path, text: str) -> Plan:
    (folder / "plan.toml").write_text(text)
    return Plan.read(folder / "plan.toml")


def test_a_plan_comes_back(tmp_path: Path) -> None:
    plan = read(tmp_path, GOOD)
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan
    assert plan.parts() == ["a"]


@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        ("steps = 10", "", "minutes or steps"),
        ("steps = 10", "steps = 10\nminutes = 3", "minutes or steps"),
        ("rate = 1e-3", "rate = -1", "rate must be above zero"),
        ("rate = 1e-3", 'rate = "fast"', "rate 'fast', which is not float"),
        ("steps = 10", "steps = true", "steps True, which is not int"),
        ("rate = 1e-3", "rates = 1e-3", "no entry 'rates'"),
        ("rate = 1e-3", "", "rate"),
        ("pieces = 64", "", "needs pieces"),
        ("pieces = 64", "pieces = 64\nlora = 4", "starts from a checkpoint"),
        ("pieces = 64", 'start = "a.nemo"\n[network]\nlayers = 3', "checkpoint's"),
        ("pieces = 64", "pieces = 64\ncheck_latencies = [100]", "80, 160, 320, 560, 1120"),
        ("pieces = 64", 'pieces = 64\nbad_lines = "eat"', "refuse or skip"),
        ("pieces = 64", "pieces = 64\naccumulate = 0", "accumulate"),
        ("until = 1.0", "until = 0.9", "the last at 1.0"),
        ("until = 1.0", "", "no until"),
        ("parts = { a = 1 }", "parts = {}", "needs parts"),
        ("lookaheads = [0, 13]", "lookaheads = []", "needs lookaheads"),
        ("lookaheads = [0, 13]", "lookaheads = [0.5]", "not frames"),
        ("{ a = 1 }", '{ a = "all" }', "names with numbers"),
        ("lookaheads = [0, 13]", "lookahead = [0]", "no entry 'lookahead'"),
        ('name = "x"', 'name = "x', "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, was: str, now: str, says: str) -> None:
    assert was in GOOD
    with pytest.raises(PlanError, match=says):
        read(tmp_path, GOOD.replace(was, now))


def test_a_plan_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"no\.toml cannot be read: No such file"):
        Plan.read(tmp_path / "no.toml")


def test_new_locales_get_slots_that_nobody_has() -> None:
    mine = prompts.fresh(["en-US", "de-DE", "xx-XX"], 128)
    assert mine["en-US"] == mine["en"] == 0
    assert mine["auto"] == 101
    assert mine["xx-XX"] not in prompts.NVIDIA.values()
    more = prompts.with_locales(mine, ["en-US", "yy-YY", "fr-CA"], 128)
    assert more.items() >= mine.items()
    assert more["fr-CA"] == 100
    assert more["yy-YY"] not in mine.values()


def test_a_model_whose_slots_are_taken_says_so() -> None:
    with pytest.raises(PlanError, match="slots are taken"):
        prompts.with_locales({f"l{i}": i for i in range(4)}, ["en-US"], 4)


def test_the_plans_of_the_repository_read() -> None:
    for path in (Path(__file__).parents[3] / "recipes" / "wheatear_small").glob("*.toml"):
        if not path.name.startswith("corpus"):
            plan = Plan.read(path)
            assert set(plan.stages[-1].lookaheads) == {0, 1, 3, 6, 13}


def test_the_guide_names_every_entry() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "training.md").read_text()
    named = [*fields(Plan), *fields(Recipe)]
    assert not [f.name for f in named if f"`{f.name}`" not in guide and f.name != "stages"]
