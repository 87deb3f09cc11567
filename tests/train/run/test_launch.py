"""Several processes that train one network."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_runs import PLAN

from wheatear.errors import PlanError
from wheatear.train.run.launch import check_device, launch


@pytest.mark.slow
def test_two_processes_train_one_network_and_stop_on_sigterm(work: Path) -> None:
    plan = replace(PLAN, steps=6, checks=1, check_clips=1, check_latencies=(80,))
    plan.write(work / "plan.json")
    command = [sys.executable, "-m", "wheatear", "train", str(work / "plan.json")]
    command += ["--work", str(work), "--processes", "2", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the plan is done at step 6") == 1
    report = json.loads((work / "report.json").read_text())
    assert report["processes"] == 2
    assert [check["step"] for check in report["checks"]] == [6]
    replace(plan, steps=100_000).write(work / "plan.json")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert any(line.startswith("step ") for line in process.stdout)  # it trains
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "stopped by a signal at step" in out


@pytest.mark.parametrize(("command", "code"), [("--version", 0), ("frobnicate", 2)])
def test_worst_exit_code_of_the_processes_is_returned(command: str, code: int) -> None:
    assert launch([command], 2) == code


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_missing_cuda_is_an_error() -> None:
    assert check_device("auto") == check_device("cpu") == "cpu"
    with pytest.raises(PlanError, match="--device cpu"):
        check_device("cuda")
