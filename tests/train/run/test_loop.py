"""The training loop: batches, validations, kills, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_runs import ORACLE, PLAN, make_trainer

from wheatear.train.run import loop
from wheatear.train.run.loop import Loop, train, training_batches
from wheatear.train.run.progress import ProgressDisplay
from wheatear.train.run.trainer import Trainer
from wheatear.train.run.training_data import load_training_data

QUIET = ProgressDisplay(quiet=True)


def test_batches_do_not_depend_on_the_number_of_workers(work: Path) -> None:
    trainer = make_trainer(PLAN, work)
    trainer.batches = 3
    one, two = training_batches(trainer, 1), training_batches(trainer, 2)
    for _ in range(12):  # more than an epoch
        assert torch.equal(next(one).mel, next(two).mel)


@pytest.mark.slow
def test_killed_run_ends_with_the_weights_of_an_unbroken_run(work: Path, tmp_path: Path) -> None:
    """Through the command, with SIGKILL, which leaves it no time for anything."""
    steps = 40
    plan = replace(PLAN, steps=steps, checks=2, check_clips=2, check_latencies=(80,))
    plan.write(work / "plan.json")
    command = [sys.executable, "-c", _SAVE_OFTEN, "train", str(work / "plan.json")]
    command += ["--device", "cpu", "--threads", "1", "--work"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        (folder / "corpus").symlink_to(work / "corpus")
    subprocess.run([*command, str(whole)], check=True, capture_output=True)
    kills = 0
    for _ in range(20):
        process = subprocess.Popen([*command, str(killed)], stderr=subprocess.DEVNULL)
        before = _steps(killed)
        while process.poll() is None and _steps(killed) < before + 8:
            time.sleep(0.02)
        if process.poll() is not None:
            assert process.returncode == 0
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills >= 2
    a, b = (load_file(folder / "tiny.safetensors") for folder in (whole, killed))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    reports = [json.loads((f / "report.json").read_text()) for f in (whole, killed)]
    assert reports[0]["checks"] == reports[1]["checks"]
    assert reports[1]["ended"] == "the plan is done"


_SAVE_OFTEN = """
import sys
from wheatear.train.run import loop
from wheatear.train.run.loop import Loop
run = Loop.run
Loop.run = lambda self: run(self, save_every=0)
from wheatear.cli import main
main(sys.argv[1:])
"""


def _steps(folder: Path) -> int:
    try:
        return json.loads((folder / "report.json").read_text())["steps"]
    except FileNotFoundError:
        return 0


def test_patience_counts_from_the_end_of_the_warm_up(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"locale": "en-US", "latency_ms": 80, "clips": 1, "words": 9, "wer": 50.0, "cer": 20.0}
    monkeypatch.setattr(loop, "validate", lambda *_: [row])
    rates: list[float] = []
    update = Trainer.update

    def watched(trainer: Trainer, *given: Any) -> dict[str, float]:
        return rates.append((made := update(trainer, *given))["rate"]) or made

    monkeypatch.setattr(Trainer, "update", watched)
    plan = replace(
        PLAN, steps=20, warmup=50, checks=10, patience=2, start=str(ORACLE / "tiny-multi.nemo"),
        pieces=0, network={}, check_latencies=(80,),
    )  # fmt: skip
    trainer = Trainer(plan, load_training_data(plan, work, lambda _: None), work)
    Loop(trainer, QUIET).run()
    # The validations after two and four steps are of the warm-up, or its end.
    assert [(c["step"], c["warming"]) for c in trainer.history.checks] == [
        (0, True), (2, True), (4, False), (6, False),
    ]  # fmt: skip
    assert max(rates) == plan.rate
    assert trainer.history.ended == "no better in 2 validations"
    assert trainer.history.no_improvement()


@pytest.mark.slow
def test_validation_chooses_the_weights_and_patience_ends_the_run(work: Path) -> None:
    plan = replace(PLAN, steps=30, checks=6, check_clips=3, patience=2, check_latencies=(80, 1120))
    trainer = make_trainer(replace(plan, rate=1e-9), work)  # too small to improve anything
    Loop(trainer, QUIET).run()
    assert trainer.step == 15
    report = json.loads((work / "report.json").read_text())
    assert report["ended"] == "no better in 2 validations"
    assert [check["step"] for check in report["checks"]] == [5, 10, 15]
    rows = report["checks"][0]["rows"]
    assert {(row["locale"], row["latency_ms"]) for row in rows} == {
        (locale, ms) for locale in ("en-US", "es-US", "fr-CA") for ms in (80, 1120)
    }
    assert all(row["wer"] >= 0 and row["cer"] >= 0 and row["words"] > 0 for row in rows)
    assert report["best_step"] == 5
    assert (work / "report.png").read_bytes()[:4] == b"\x89PNG"
    kept = {u.text for u in trainer.data.validation}
    assert kept.isdisjoint(u.text for part in trainer.data.parts.values() for u in part)


def test_signal_handlers_are_restored_after_a_run(work: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    train(replace(PLAN, steps=2), work, "cpu", 1, 1)
    assert signal.getsignal(signal.SIGTERM) == before
    assert "RANK" not in os.environ
