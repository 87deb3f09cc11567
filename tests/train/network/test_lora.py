"""Frozen layers and low-rank adapters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_runs import FINETUNING_PLAN, export_checkpoint_of, make_trainer, run_steps

from wheatear.errors import PlanError
from wheatear.train.network import lora
from wheatear.train.network.transducer import Network
from wheatear.train.run.pretrained import read_pretrained


def test_frozen_layers_do_not_change(work: Path) -> None:
    start = export_checkpoint_of(work, layers=3)
    trainer = make_trainer(replace(FINETUNING_PLAN, start=str(start), freeze=2), work)
    before = {name: p.detach().clone() for name, p in trainer.network.named_parameters()}
    run_steps(trainer, 3)
    for name, parameter in trainer.network.named_parameters():
        frozen = name.startswith(("encoder.pre_encode", "encoder.layers.0.", "encoder.layers.1."))
        if frozen or not name.startswith("decoder"):  # rows of unused pieces do not change either
            assert torch.equal(parameter, before[name]) == frozen, name
    with pytest.raises(PlanError, match="freeze is 4, but the encoder has 3 layers"):
        make_trainer(replace(FINETUNING_PLAN, start=str(start), freeze=4), work)


def test_only_adapters_are_trained_in_the_encoder_and_merged(work: Path) -> None:
    start = export_checkpoint_of(work, layers=2)
    plan = replace(FINETUNING_PLAN, start=str(start), lora=4, freeze=1)
    trainer = make_trainer(plan, work)
    network = trainer.network
    trained = sum(p.numel() for p in trainer.trained.values())
    assert not any(n.startswith("encoder.layers.0.") for n in trainer.trained)
    assert {n.rpartition(".")[2] for n in trainer.trained if n.startswith("encoder.")} == {
        "up", "down",
    }  # fmt: skip
    assert trained < sum(p.numel() for p in network.parameters()) / 2
    first = read_pretrained(start).weights
    run_steps(trainer, 4)
    trainer.average = {name: p.detach().clone() for name, p in trainer.trained.items()}
    weights = lora.merged_state_dict(network)
    assert weights.keys() == first.keys()
    plain = Network(network.config).eval()
    plain.load_state_dict(weights)
    mel, lengths = torch.randn(1, 200, 128) * 4 - 8, torch.tensor([200])
    with torch.no_grad():
        ours, _ = network.eval().encode(mel, lengths, torch.tensor([0]), 3)
        theirs, _ = plain.encode(mel, lengths, torch.tensor([0]), 3)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    changed = weights["encoder.layers.1.self_attn.linear_q.weight"]
    difference = changed - first["encoder.layers.1.self_attn.linear_q.weight"]
    assert 0 < torch.linalg.matrix_rank(difference, atol=1e-6) <= 4
    # A resumed run exports the weights that it computes with.
    trainer.save()
    again = make_trainer(plan, work)
    assert again.load()
    exported = read_pretrained(again.export())
    torch.testing.assert_close(
        exported.weights["encoder.layers.1.self_attn.linear_q.weight"], changed
    )
    for rank in (0, -1, 33):
        with pytest.raises(PlanError, match=f"lora is {rank}"):
            lora.add_adapters(Network(network.config), rank)
