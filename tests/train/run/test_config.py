"""Training plans: reading, writing, checks, learning rate."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
from training_runs import PLAN

from wheatear.errors import PlanError
from wheatear.train.data.batches import BatchConfig
from wheatear.train.run.config import TrainConfig

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


def read(folder: Path, text: str) -> TrainConfig:
    (folder / "plan.toml").write_text(text)
    return TrainConfig.read(folder / "plan.toml")


def test_written_plan_is_read_again(tmp_path: Path) -> None:
    plan = read(tmp_path, GOOD)
    plan.write(tmp_path / "plan.json")
    assert TrainConfig.read(tmp_path / "plan.json") == plan
    assert plan.parts() == ["a"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
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
        ("pieces = 64", 'start = "a.nemo"\n[network]\nlayers = 3', "from the checkpoint"),
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
def test_wrong_entry_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(PlanError, match=message):
        read(tmp_path, GOOD.replace(old, new))


def test_missing_plan_raises(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"no\.toml cannot be read: No such file"):
        TrainConfig.read(tmp_path / "no.toml")


def test_plans_of_the_repository_are_valid() -> None:
    for path in (Path(__file__).parents[3] / "recipes" / "wheatear_small").glob("*.toml"):
        if not path.name.startswith("corpus"):
            plan = TrainConfig.read(path)
            assert set(plan.stages[-1].lookaheads) == {0, 1, 3, 6, 13}


def test_guide_names_all_entries() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "training.md").read_text()
    named = [*fields(TrainConfig), *fields(BatchConfig)]
    assert not [f.name for f in named if f"`{f.name}`" not in guide and f.name != "stages"]


def test_learning_rate_rises_holds_and_falls() -> None:
    assert PLAN.learning_rate(0, 0.0) == pytest.approx(PLAN.rate / 5)
    assert PLAN.learning_rate(100, 0.4) == PLAN.rate
    assert PLAN.learning_rate(100, 0.75) == pytest.approx(PLAN.rate / 2)
    assert PLAN.learning_rate(100, 1.0) == pytest.approx(PLAN.rate / 100)


@pytest.mark.parametrize("warmup", [1, 5, 50, 5000])
@pytest.mark.parametrize("steps", [1, 2, 10, 100, 2000])
def test_a_warm_up_takes_a_fifth_of_a_run_at_most(warmup: int, steps: int) -> None:
    """However short the run is; a long one warms up for the steps of its plan."""
    plan = replace(PLAN, warmup=warmup, steps=steps, hold=0.9)
    rates = [plan.learning_rate(step, step / steps) for step in range(steps)]
    reached = next((step for step, rate in enumerate(rates) if rate == plan.rate), steps)
    assert reached <= max(1, math.ceil(0.2 * steps))
    assert reached >= min(warmup - 1, round(0.2 * steps)) or steps == 1
    assert rates[: reached + 1] == sorted(rates[: reached + 1])
    assert min(rates) > 0


def test_paths_of_a_plan_are_relative_to_its_folder(tmp_path: Path) -> None:
    plan = replace(PLAN, manifests={"a": "sub/a.jsonl"}, validation=("v.jsonl", "/abs/v.jsonl"))
    plan.write(tmp_path / "plan.json")
    found = TrainConfig.read(tmp_path / "plan.json").resolved(tmp_path)
    assert found.manifests == {"a": str(tmp_path / "sub/a.jsonl")}
    assert found.validation == (str(tmp_path / "v.jsonl"), "/abs/v.jsonl")
