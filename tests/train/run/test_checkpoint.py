"""Exported checkpoints: contents, folding of the input scale."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from training_runs import PLAN, SIZES, make_trainer, run_steps

import wheatear
from wheatear.convert.pipeline import convert
from wheatear.train.network.transducer import Network, NetworkConfig
from wheatear.train.run.checkpoint import config_from_nemo, fold_input_scale


def test_exported_file_has_configuration_pieces_and_license(work: Path) -> None:
    trainer = make_trainer(PLAN, work)
    run_steps(trainer, 2)
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
    # The exported network maps the raw log-mel to the output of the averaged weights.
    exported = Network(config).eval()
    exported.load_state_dict(weights)
    mel, lengths = torch.randn(2, 90, 128) * 4 - 8, torch.tensor([90, 57])
    prompts = torch.tensor([0, 101])
    with torch.no_grad(), trainer.averaged_weights():
        ours, frames = trainer.network.eval().encode(mel, lengths, prompts, 1)
        theirs, _ = exported.encode(mel, lengths, prompts, 1)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert frames.tolist() == [13, 8]
    convert(work / "tiny.safetensors", work / "bundle", "fp32")
    recognizer = wheatear.load(work / "bundle")
    assert {"en-US", "es-US", "fr-CA", "auto"} <= set(recognizer.languages)


def test_folding_the_input_scale_does_not_change_the_trained_weights() -> None:
    network = Network(NetworkConfig(vocab_size=10, **SIZES))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    fold_input_scale(network.state_dict(), network.config)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
