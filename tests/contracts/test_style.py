"""The checks that keep the code of one hand, part of the one test command."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["pyrefly", "check", "--python-interpreter-path", sys.executable],
    ],
)
def test_style(command):
    if command[0] == "pyrefly" and find_spec("torch") is None:
        pytest.skip("types of training need torch")
    run = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
