"""Outputs of the network compared with NeMo's, for the checkpoints of the oracle."""

from __future__ import annotations

import tarfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from wheatear.train.data.mel import LogMel
from wheatear.train.network.greedy import greedy_search
from wheatear.train.network.transducer import Network, NetworkConfig, chunk_mask
from wheatear.train.run.checkpoint import config_from_nemo

ORACLE = Path(__file__).parents[2] / "oracle"
# Lookahead 3 does not divide a left context of 70 frames: not a mode of the English model.
CASES = [("tiny-en", r) for r in (0, 1, 6, 13)] + [("tiny-multi", r) for r in (0, 1, 3, 6, 13)]


@cache
def load(model: str) -> Network:
    with tarfile.open(ORACLE / f"{model}.nemo") as archive:
        members = {Path(m.name).name: m for m in archive.getmembers()}
        config = yaml.safe_load(archive.extractfile(members["model_config.yaml"]))
        weights = torch.load(archive.extractfile(members["model_weights.ckpt"]), weights_only=True)
    network = Network(config_from_nemo(config))
    # Same names and shapes, nothing missing, nothing left: only the mel tables are not ours.
    network.load_state_dict(
        {name: value for name, value in weights.items() if not name.startswith("preprocessor")}
    )
    return network.eval()


def answers(model: str) -> dict[str, np.ndarray]:
    with np.load(ORACLE / f"{model}.npz") as data:
        return dict(data)


def speech() -> dict[str, np.ndarray]:
    with np.load(ORACLE / "speech.npz") as data:
        return dict(data)


@pytest.mark.parametrize(("model", "lookahead"), CASES)
def test_encoder_and_tokens_equal_nemo(model: str, lookahead: int) -> None:
    network, truth = load(model), answers(model)
    assert network.config.left_context == int(truth["left"])
    mel = torch.from_numpy(speech()["mel"])[None]
    prompt = torch.tensor([max(0, int(truth["prompt_index"]))])
    with torch.no_grad():
        encoded, frames = network.encode(mel, torch.tensor([mel.shape[1]]), prompt, lookahead)
    after_prompt = "encp" if network.config.prompts else "enc"
    expected = truth[f"{after_prompt}_R{lookahead}"]
    np.testing.assert_allclose(encoded[0, : int(frames)].T.numpy(), expected, atol=1e-4)
    assert greedy_search(network, encoded, frames) == [truth[f"tokens_R{lookahead}"].tolist()]


def test_mel_equals_nemo() -> None:
    truth = speech()
    samples = torch.from_numpy(truth["wav"] / np.float32(32768))[None]
    mel, length = LogMel()(samples, torch.tensor([samples.shape[1]]))
    assert int(length) == len(truth["mel"])
    np.testing.assert_allclose(mel[0, : int(length)].numpy(), truth["mel"], atol=2e-3)


def test_output_does_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    network = Network(
        NetworkConfig(vocab_size=20, d_model=32, layers=2, predictor_hidden=16)
    ).eval()
    mel, lengths = torch.randn(2, 300, 128), torch.tensor([300, 171])
    prompts = torch.tensor([0, 101])
    both, frames = network.encode(mel, lengths, prompts, 3)
    single, _ = network.encode(mel[1:, :171], lengths[1:], prompts[1:], 3)
    torch.testing.assert_close(both[1, : frames[1]], single[0], atol=1e-5, rtol=1e-5)


def test_mask_is_whole_chunks() -> None:
    mask = chunk_mask(12, 3, 4, torch.device("cpu"))
    assert mask[5].nonzero().squeeze().tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert mask[8].nonzero().squeeze().tolist() == list(range(4, 12))
