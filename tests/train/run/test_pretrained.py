"""Pretrained checkpoints: reading, training on, exporting again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import FINETUNING_PLAN, ORACLE, export_checkpoint_of, make_trainer, run_steps

import wheatear
from wheatear.convert.pipeline import convert
from wheatear.errors import CheckpointError
from wheatear.train.data.mel import LogMel
from wheatear.train.network.transducer import Network, NetworkConfig
from wheatear.train.run.pretrained import find_checkpoint, read_pretrained


@pytest.mark.parametrize("model", ["tiny-multi", "tiny-en", "prompt16", "bytes", "nested"])
def test_added_pieces_do_not_change_the_output_for_old_ones(work: Path, model: str) -> None:
    trainer = make_trainer(replace(FINETUNING_PLAN, start=str(ORACLE / f"{model}.nemo")), work)
    start = trainer.data.pretrained
    assert start is not None
    plain = Network(start.config).eval()
    plain.load_state_dict(start.weights)
    trainer.network.eval()
    mel, lengths = LogMel(start.config.mels)(torch.randn(1, 32000) / 10, torch.tensor([32000]))
    prompt = torch.tensor([0])
    with torch.no_grad():
        ours, _ = trainer.network.encode(mel, lengths, prompt, 1)
        theirs, _ = plain.encode(mel, lengths, prompt, 1)
        torch.testing.assert_close(ours, theirs)
        old = start.config.vocab_size
        logits = []
        for network in (trainer.network, plain):
            blank = torch.full((1, 1), network.config.vocab_size)
            predicted, _ = network.decoder(torch.cat((blank, torch.tensor([[3, 7]])), 1))
            projected = network.joint.enc(ours[:, :1]), network.joint.pred(predicted)
            logits.append(network.joint(*projected))
    new, before = logits
    torch.testing.assert_close(new[..., :old], before[..., :old])
    torch.testing.assert_close(new[..., -1], before[..., -1])


def test_nemo_checkpoint_is_trained_exported_and_converted(work: Path) -> None:
    """.nemo -> finetune -> safetensors -> convert -> transcribe, and train again from there."""
    trainer = make_trainer(FINETUNING_PLAN, work)
    before = trainer.data.pretrained
    assert before is not None
    run_steps(trainer, 3)
    path = trainer.export()
    convert(path, work / "bundle", "fp32")
    recognizer = wheatear.load(work / "bundle")
    assert set(before.prompts) <= set(recognizer.languages)
    assert trainer.data.summary()["locales"] == ["en-US", "es-US", "fr-FR"]
    recognizer.transcribe(np.zeros(16000, np.float32), language="fr-CA", latency_ms=80)
    # Old pieces keep their ids, so old text is split as before.
    after = read_pretrained(path)
    old = before.tokenizer.pieces()
    assert after.tokenizer.pieces()[: len(old)] == old
    assert after.prompts.items() >= before.prompts.items()
    assert not torch.equal(after.weights["joint.enc.weight"], before.weights["joint.enc.weight"])
    again = make_trainer(replace(FINETUNING_PLAN, start=str(path), name="again"), work)
    assert again.data.tokenizer.size == after.config.vocab_size
    for name, value in again.network.state_dict().items():
        torch.testing.assert_close(value, trainer.average[name])


def test_shift_and_scale_of_the_input_are_restored_from_an_export(work: Path) -> None:
    start = read_pretrained(export_checkpoint_of(work, layers=1))
    assert (start.config.mel_shift, start.config.mel_scale) == (8.0, 0.25)
    trainer = make_trainer(replace(FINETUNING_PLAN, start=str(work / "base.safetensors")), work)
    back = read_pretrained(trainer.export())
    for name, value in start.weights.items():
        torch.testing.assert_close(back.weights[name], value, atol=1e-6, rtol=1e-5)


def test_unusable_checkpoints_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint nothing-here"):
        find_checkpoint("nothing-here")
    with pytest.raises(CheckpointError, match=r"cannot be trained here: .*conv_norm_type"):
        read_pretrained(ORACLE / "batchnorm.nemo")
    bundle = tmp_path / "bundle"
    convert(ORACLE / "tiny-en.nemo", bundle, "int8")
    with pytest.raises(CheckpointError, match=r"holds no checkpoint\.safetensors"):
        find_checkpoint(str(bundle))
    assert NetworkConfig(10).prompts == 128


def test_shipped_model_can_be_fine_tuned(work: Path) -> None:
    path = find_checkpoint("wheatear-small")
    trainer = make_trainer(replace(FINETUNING_PLAN, start=str(path)), work)
    start = trainer.data.pretrained
    assert start is not None
    assert "CC-BY-SA-4.0" in start.license
    assert "Maxim Topal" in start.notice
    assert start.prompts["ru-RU"] == 11
    assert (start.config.mel_shift, start.config.mel_scale) == (8.0, 0.25)
    run_steps(trainer, 1)
    assert read_pretrained(trainer.export()).license == start.license
