"""Steps of a trainer: learning, resuming, stopping, failing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_runs import PLAN, SIZES, STAGE, make_trainer, run_steps, weights_of

from wheatear.errors import PlanError
from wheatear.train.run import trainer as trainer_module
from wheatear.train.run.loop import Loop, training_batches
from wheatear.train.run.progress import ProgressDisplay


def test_loss_falls_over_twelve_steps(work: Path) -> None:
    losses = run_steps(make_trainer(PLAN, work), 12)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_resumed_run_gives_the_same_bits(work: Path, accumulate: int) -> None:
    plan = replace(PLAN, accumulate=accumulate, transducer_share=0.5)
    trainer = make_trainer(plan, work)
    run_steps(trainer, 5)
    trainer.save()
    ahead = run_steps(trainer, 3)
    again = make_trainer(plan, work)
    assert again.load()
    assert again.step == 5
    assert run_steps(again, 3) == ahead
    for name, value in weights_of(trainer).items():
        assert torch.equal(value, again.network.get_parameter(name)), name
        assert torch.equal(trainer.average[name], again.average[name])


def test_accumulated_batches_are_weighted_by_their_tokens(work: Path) -> None:
    plan = replace(PLAN, network=SIZES | {"dropout": 0.0}, token_dropout=0.0, frame_until=0.0)
    plan = replace(plan, stages=(replace(STAGE, lookaheads=(3,)),))
    trainer = make_trainer(plan, work)
    batches = training_batches(trainer)
    first, second = next(batches), next(batches)
    gradients = []
    for batches in ([first], [second], [first, second]):
        new = make_trainer(plan, work)
        new.network.train()
        new.compute_gradients(batches)
        gradients.append(new.network.joint.output.weight.grad)
    sizes = [float(b.target_lengths.sum()) + len(b.targets) for b in (first, second)]
    a, b, both = gradients
    torch.testing.assert_close(both, (a * sizes[0] + b * sizes[1]) / sum(sizes))


def test_diverged_run_raises(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "MAX_BAD_STEPS", 5)
    trainer = make_trainer(replace(PLAN, steps=500), work)
    with torch.no_grad():
        trainer.network.encoder.pre_encode.out.weight.fill_(float("nan"))
    with pytest.raises(PlanError, match=r"not been finite .* lower rate"):
        run_steps(trainer, 6)


def test_state_of_another_network_is_refused(work: Path) -> None:
    make_trainer(PLAN, work).save()
    other = make_trainer(replace(PLAN, network=SIZES | {"layers": 2}), work)
    with pytest.raises(PlanError, match=r"state\.pt is of another run"):
        other.load()
    (work / "state.pt").write_bytes(b"rubbish")
    with pytest.raises(PlanError, match="damaged"):
        other.load()


def test_request_to_stop_is_kept_until_the_next_step(work: Path) -> None:
    trainer = make_trainer(PLAN, work)
    trainer.synchronize(0.0, 0.0)
    assert not trainer.stopping
    trainer.stop_requested = True
    trainer.synchronize(0.0, 0.0)
    assert trainer.stopping
    Loop(trainer, ProgressDisplay(quiet=True)).run()
    assert trainer.step == 0
    assert (work / "state.pt").exists()
    assert json.loads((work / "report.json").read_text())["ended"] == "stopped by a signal"
