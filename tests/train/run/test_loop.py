"""Runs learn, go on where they were stopped or killed, and export what a converter can read."""

from __future__ import annotations

import json
import math
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
from safetensors import safe_open
from safetensors.torch import load_file

import wheatear
from wheatear.convert.pipeline import convert
from wheatear.errors import PlanError
from wheatear.train.data.batches import Recipe
from wheatear.train.network.transducer import Network, NetworkConfig
from wheatear.train.run.checkpoint import config_from_nemo, fold_input_scale
from wheatear.train.run.config import Plan, Stage
from wheatear.train.run.loop import Loop, batches_of, train, with_paths
from wheatear.train.run.progress import Display
from wheatear.train.run.trainer import Trainer
from wheatear.train.run.training_data import gather

SIZES = {
    "d_model": 32, "layers": 1, "heads": 2, "subsampling_channels": 8, "predictor_hidden": 16,
    "joint_hidden": 16, "mel_shift": 8.0, "mel_scale": 0.25, "dropout": 0.1,
}  # fmt: skip
STAGE = Stage(1.0, Recipe(parts={"a": 1}, batch_seconds=20, augment=0.3, silence=0.1), (0, 13))
ORACLE = Path(__file__).parents[2] / "oracle"
PLAN = Plan(
    "tiny", seed=1, pieces=70, steps=12, rate=2e-3, warmup=5, hold=0.5, ctc=0.3, forget=0.1,
    frame_until=0.5, checks=0, licence="CC0-1.0", notice="Nobody spoke.", network=SIZES,
    stages=(STAGE,),
)  # fmt: skip
QUIET = Display(quiet=True)


@pytest.fixture
def work(made_up_corpus: Path) -> Path:
    return made_up_corpus.parent


def trainer_of(plan: Plan, work: Path) -> Trainer:
    return Trainer(plan, gather(plan, work, pytest.fail), work)


def run(trainer: Trainer, steps: int) -> list[float]:
    """So many steps without the loop around them."""
    trainer.network.train()
    batches = batches_of(trainer)
    some = trainer.plan.accumulate
    return [trainer.update([next(batches) for _ in range(some)])["rnnt"] for _ in range(steps)]


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.network.named_parameters()}


def test_it_learns(work: Path) -> None:
    losses = run(trainer_of(PLAN, work), 12)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_resumes_bit_by_bit(work: Path, accumulate: int) -> None:
    plan = replace(PLAN, accumulate=accumulate, transducer_share=0.5)
    trainer = trainer_of(plan, work)
    run(trainer, 5)
    trainer.save()
    ahead = run(trainer, 3)
    again = trainer_of(plan, work)
    assert again.load()
    assert again.step == 5
    assert run(again, 3) == ahead
    for name, value in weights_of(trainer).items():
        assert torch.equal(value, again.network.get_parameter(name)), name
        assert torch.equal(trainer.average[name], again.average[name])


def test_accumulated_batches_weigh_as_one(work: Path) -> None:
    """Two batches in a step move the weights as their tokens together do, not as two means."""
    plan = replace(PLAN, network=SIZES | {"dropout": 0.0}, forget=0.0, frame_until=0.0)
    plan = replace(plan, stages=(replace(STAGE, lookaheads=(3,)),))
    trainer = trainer_of(plan, work)
    batches = batches_of(trainer)
    first, second = next(batches), next(batches)
    gradients = []
    for some in ([first], [second], [first, second]):
        fresh = trainer_of(plan, work)
        fresh.network.train()
        fresh._step = lambda norm: None  # type: ignore[method-assign, assignment]
        clip, torch.nn.utils.clip_grad_norm_ = torch.nn.utils.clip_grad_norm_, _no_clip
        try:
            fresh.update(some)
        finally:
            torch.nn.utils.clip_grad_norm_ = clip
        gradients.append(fresh.network.joint.output.weight.grad)
    sizes = [float(b.target_lengths.sum()) + len(b.targets) for b in (first, second)]
    a, b, both = gradients
    torch.testing.assert_close(both, (a * sizes[0] + b * sizes[1]) / sum(sizes))


def _no_clip(parameters: list[torch.Tensor], _limit: float) -> torch.Tensor:
    return torch.zeros(())


def test_any_number_of_workers_makes_the_same_batches(work: Path) -> None:
    trainer = trainer_of(PLAN, work)
    trainer.batches = 3
    one, two = batches_of(trainer, 1), batches_of(trainer, 2)
    for _ in range(12):  # more than an epoch
        assert torch.equal(next(one).mel, next(two).mel)


@pytest.mark.slow
def test_a_killed_run_equals_one_that_was_not(work: Path, tmp_path: Path) -> None:
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
from wheatear.train.loop import Loop
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


@pytest.mark.slow
def test_several_processes_train_one_network(work: Path) -> None:
    """Two processes through the command; both end, one report, and a request to stop is obeyed."""
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
    assert any(line.startswith("step ") for line in process.stdout)  # it is at work
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "asked to stop at step" in out


def test_the_exported_file_holds_names_config_pieces_and_terms(work: Path) -> None:
    trainer = trainer_of(PLAN, work)
    run(trainer, 2)
    trainer.save()
    with safe_open(work / "tiny.safetensors", "pt") as file:
        about = json.loads(file.metadata()["wheatear"])
    weights = load_file(work / "tiny.safetensors")
    assert about["format"] == 1
    assert about["licence"] == "CC0-1.0"
    assert about["config"]["encoder"]["att_context_size"][0] == [56, 3]
    assert [p for p, _ in about["pieces"]][1] == "<en-US>"
    assert len(about["pieces"]) == about["config"]["decoder"]["vocab_size"] == 70
    config = config_from_nemo(about["config"])
    assert config == replace(
        trainer.network.config, mel_shift=0.0, mel_scale=1.0, dropout=config.dropout
    )
    # The exported network eats raw log-mel and says what the trained average says.
    exported = Network(config).eval()
    exported.load_state_dict(weights)
    mel, lengths = torch.randn(2, 90, 128) * 4 - 8, torch.tensor([90, 57])
    prompts = torch.tensor([0, 101])
    with torch.no_grad(), trainer.averaged():
        ours, frames = trainer.network.eval().encode(mel, lengths, prompts, 1)
        theirs, _ = exported.encode(mel, lengths, prompts, 1)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert frames.tolist() == [13, 8]
    recognizer = wheatear.load(_converted(work / "tiny.safetensors", work / "bundle"))
    assert {"en-US", "es-US", "fr-CA", "auto"} <= set(recognizer.languages)


def _converted(checkpoint: Path, out: Path) -> Path:
    convert(checkpoint, out, "fp32")
    return out


def test_folding_leaves_the_trained_weights_alone() -> None:
    network = Network(NetworkConfig(vocab_size=10, **SIZES))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    fold_input_scale(network.state_dict(), network.config)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_patience_begins_after_the_warm_up(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"locale": "en-US", "latency_ms": 80, "clips": 1, "words": 9, "wer": 50.0, "cer": 20.0}
    monkeypatch.setattr("wheatear.train.run.loop.validate", lambda *_: [row])
    rates: list[float] = []
    update = Trainer.update

    def watched(trainer: Trainer, *given: Any) -> dict[str, float]:
        return rates.append((made := update(trainer, *given))["rate"]) or made

    monkeypatch.setattr(Trainer, "update", watched)
    plan = replace(
        PLAN, steps=20, warmup=50, checks=10, patience=2, start=str(ORACLE / "tiny-multi.nemo"),
        pieces=0, network={}, check_latencies=(80,),
    )  # fmt: skip
    trainer = Trainer(plan, gather(plan, work, lambda _: None), work)
    Loop(trainer, QUIET).run()
    # The validations after two and four steps are of the warm-up, or its end.
    assert [(c["step"], c["warming"]) for c in trainer.history.checks] == [
        (0, True), (2, True), (4, False), (6, False),
    ]  # fmt: skip
    assert max(rates) == plan.rate
    assert trainer.history.ended == "no better in 2 validations"
    assert trainer.history.gained_nothing()


@pytest.mark.slow
def test_validation_chooses_the_weights_and_ends_the_run(work: Path) -> None:
    plan = replace(PLAN, steps=30, checks=6, check_clips=3, patience=2, check_latencies=(80, 1120))
    trainer = trainer_of(replace(plan, rate=1e-9), work)  # learns nothing: no better, ever
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
    kept = {u.text for u in trainer.material.validation}
    assert kept.isdisjoint(u.text for part in trainer.material.parts.values() for u in part)


def test_a_diverged_run_says_so(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wheatear.train.run.trainer._LOST", 5)
    trainer = trainer_of(replace(PLAN, steps=500), work)
    with torch.no_grad():
        trainer.network.encoder.pre_encode.out.weight.fill_(float("nan"))
    with pytest.raises(PlanError, match=r"not been finite .* lower rate"):
        run(trainer, 6)


def test_another_networks_state_is_refused(work: Path) -> None:
    trainer_of(PLAN, work).save()
    other = trainer_of(replace(PLAN, network=SIZES | {"layers": 2}), work)
    with pytest.raises(PlanError, match=r"state\.pt is of another run"):
        other.load()
    (work / "state.pt").write_bytes(b"rubbish")
    with pytest.raises(PlanError, match="damaged"):
        other.load()


def test_a_request_to_stop_is_never_lost(work: Path) -> None:
    """It may arrive at any moment, also while the processes share their gradients."""
    trainer = trainer_of(PLAN, work)
    trainer._share(0.0, 0.0)
    assert not trainer.stopping
    trainer.asked = True
    trainer._share(0.0, 0.0)
    assert trainer.stopping
    Loop(trainer, QUIET).run()
    assert trainer.step == 0
    assert (work / "state.pt").exists()
    assert json.loads((work / "report.json").read_text())["ended"] == "asked to stop"


def test_a_run_in_this_process_leaves_its_signals_as_they_were(work: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    train(replace(PLAN, steps=2), work, "cpu", 1, 1)
    assert signal.getsignal(signal.SIGTERM) == before
    assert "RANK" not in os.environ


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


def test_paths_in_a_plan_are_beside_it(tmp_path: Path) -> None:
    plan = replace(PLAN, manifests={"a": "sub/a.jsonl"}, validation=("v.jsonl", "/abs/v.jsonl"))
    plan.write(tmp_path / "plan.json")
    found = with_paths(Plan.read(tmp_path / "plan.json"), tmp_path)
    assert found.manifests == {"a": str(tmp_path / "sub/a.jsonl")}
    assert found.validation == (str(tmp_path / "v.jsonl"), "/abs/v.jsonl")
