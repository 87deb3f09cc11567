"""The command train: options and missing packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from wheatear.cli import extras, train
from wheatear.errors import MissingExtraError, PlanError

PLAN = """
name = "tiny"
rate = 1e-3
steps = 1
pieces = 64
[[stage]]
until = 1.0
parts = { a = 1 }
"""


@pytest.mark.parametrize("option", ["processes", "threads", "workers"])
def test_counts_below_one_are_refused(tmp_path: Path, option: str) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    with pytest.raises(PlanError, match=f"--{option} is 0; give 1 or more"):
        train.train(tmp_path / "plan.toml", work=tmp_path, **{option: 0})


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    with pytest.raises(PlanError, match=r"cannot write to .*plan\.toml"):
        train.train(tmp_path / "plan.toml", work=tmp_path / "plan.toml" / "work")


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_safetensors(name: str) -> object:
        return None if name == "safetensors" else find_spec(name)

    monkeypatch.setattr(extras, "find_spec", without_safetensors)
    with pytest.raises(MissingExtraError, match=r"training needs safetensors: .*wheatear\[train\]"):
        train.require_train_extra("training")
