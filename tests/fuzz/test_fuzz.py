"""The fuzz harnesses work: a few inputs of each target are made, and read or refused."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "run.py"


@pytest.mark.parametrize(
    "each", [pytest.param(8, id="few"), pytest.param(200, id="many", marks=pytest.mark.slow)]
)
def test_each_target_reads_or_refuses(each):
    run = subprocess.run(
        [sys.executable, str(PROGRAM), "--each", str(each)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr[-6000:]
    assert run.stdout.count(f"{each} inputs") == run.stdout.count(":\n") >= 12


def test_a_find_fails_and_is_kept(tmp_path):
    """A reader that raises what it should not: the harness must not take it for a refusal."""
    program = f"""
import sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
sys.argv = ["run.py", "--target", "sound", "--only", "3", "--keep", {str(tmp_path)!r}]
import targets
def read(path, rng):
    raise KeyError(path.name)
targets.TARGETS["sound"] = targets.Target(targets.TARGETS["sound"].make, read)
import run
sys.exit(run.main())
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "KeyError: 'x." in run.stderr
    assert list((tmp_path / "input").iterdir())
