"""The loop learns, resumes where it stopped, and exports what a converter can read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from wheatear.train.checkpoint import config_from_nemo, fold_input_scale
from wheatear.train.data import Recipe
from wheatear.train.loop import Trainer
from wheatear.train.network import Network, NetworkConfig
from wheatear.train.plan import Plan, Stage

SIZES = {
    "d_model": 32, "layers": 1, "heads": 2, "subsampling_channels": 8, "predictor_hidden": 16,
    "joint_hidden": 16, "mel_shift": 8.0, "mel_scale": 0.25, "dropout": 0.1,
}  # fmt: skip
STAGE = Stage(1.0, Recipe(parts={"a": 1}, batch_seconds=20, augment=0.3, silence=0.1), (0, 13))
PLAN = Plan(
    "tiny", seed=1, pieces=70, minutes=5, rate=2e-3, warmup=5, hold=0.5, ctc=0.3, forget=0.1,
    frame_until=0.5, licence="CC0-1.0", notice="Nobody spoke.", network=SIZES, stages=(STAGE,),
)  # fmt: skip


@pytest.fixture
def work(made_up_corpus: Path) -> Path:
    return made_up_corpus.parent


def train(trainer: Trainer, steps: int) -> list[float]:
    trainer.network.train()
    batches = trainer._batches()
    return [trainer.update(next(batches))["rnnt"] for _ in range(steps)]


def test_it_learns_and_resumes_exactly(work: Path) -> None:
    trainer = Trainer(PLAN, work, "cpu")
    losses = train(trainer, 12)
    assert losses[-1] < losses[0]
    trainer.save()
    ahead = train(trainer, 3)
    again = Trainer(PLAN, work, "cpu")
    again.load()
    assert again.step == 12
    assert train(again, 3) == pytest.approx(ahead, rel=1e-4)


def test_the_exported_file_holds_names_config_pieces_and_terms(work: Path) -> None:
    trainer = Trainer(PLAN, work, "cpu")
    train(trainer, 2)
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
    with torch.no_grad():
        ours, frames = trainer.average.eval().encode(mel, lengths, prompts, 1)
        theirs, _ = exported.encode(mel, lengths, prompts, 1)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert frames.tolist() == [13, 8]


def test_folding_leaves_the_trained_weights_alone() -> None:
    network = Network(NetworkConfig(vocab_size=10, **SIZES))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    fold_input_scale(network.state_dict(), network.config)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_learning_rate_rises_holds_and_falls() -> None:
    assert PLAN.learning_rate(0, 0.0) == pytest.approx(PLAN.rate / 5)
    assert PLAN.learning_rate(100, 0.4) == PLAN.rate
    assert PLAN.learning_rate(100, 0.75) == pytest.approx(PLAN.rate / 2)
    assert PLAN.learning_rate(100, 1.0) == pytest.approx(PLAN.rate / 100)


def test_the_first_plan_reads() -> None:
    plan = Plan.read(Path(__file__).parents[2] / "training" / "first.toml")
    assert plan.stages[-1].until == 1.0
    assert set(plan.stages[-1].lookaheads) == {0, 1, 3, 6, 13}


def test_a_request_to_stop_is_never_lost(work: Path) -> None:
    """It may arrive at any moment, also while the processes share their gradients."""
    trainer = Trainer(PLAN, work, "cpu")
    trainer._share(0.0, 0.0)
    assert not trainer.stopping
    trainer.stop()
    trainer._share(0.0, 0.0)
    assert trainer.stopping
    steps = trainer.step
    trainer.run(save_every=1e9)
    assert trainer.step == steps
    assert (work / "state.pt").exists()
