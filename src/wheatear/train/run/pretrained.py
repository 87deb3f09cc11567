"""Pretrained checkpoints for fine-tuning: weights, tokenizer and prompts.

A checkpoint is a .nemo file, a safetensors file made by `wheatear train`, or a bundle that contains
checkpoint.safetensors, as the shipped model does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.errors import CheckpointError, ModelNotFoundError
from wheatear.model.store import find_bundle
from wheatear.train.data.tokenizer import Tokenizer
from wheatear.train.network.transducer import Network, NetworkConfig
from wheatear.train.run.checkpoint import config_from_nemo

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Pretrained:
    """Contents of a checkpoint."""

    nemo_config: dict[str, Any]
    """Configuration in NeMo's layout."""
    config: NetworkConfig
    tokenizer: Tokenizer
    prompts: dict[str, int]
    weights: dict[str, Tensor]
    license: str
    notice: str

    def copy_to(self, network: Network) -> None:
        """Copies the weights into a network that may have additional pieces.

        The rows of a new piece are the mean of the old rows, with a lower bias; the blank stays
        the last row.
        """
        own = network.state_dict()
        extended = network.config.vocab_size - self.config.vocab_size
        for name, value in self.weights.items():
            if own[name].shape == value.shape:
                own[name].copy_(value)
            else:
                pieces, blank = value[:-1], value[-1:]
                new = pieces.mean(0, keepdim=True).expand(extended, *pieces.shape[1:])
                if value.ndim == 1:
                    new = new - 1.0
                elif name.endswith("embed.weight"):
                    new = new + 0.01 * torch.randn(new.shape)
                own[name].copy_(torch.cat((pieces, new, blank)))


def find_checkpoint(name: str) -> Path:
    """Returns the checkpoint file of a path or a model's name.

    Raises CheckpointError if there is none.
    """
    path = Path(name)
    if path.is_file():
        return path
    try:
        bundle = find_bundle(name)
    except ModelNotFoundError as error:
        raise CheckpointError(
            f"there is no checkpoint {name}: give a .nemo or .safetensors file, "
            "or the name of a model that comes with its checkpoint"
        ) from error
    if not (bundle / CHECKPOINT).is_file():
        raise CheckpointError(
            f"the bundle {bundle} holds no {CHECKPOINT}, and its weights are quantized: "
            "fine-tune the checkpoint that it was converted from"
        )
    return bundle / CHECKPOINT


def read_pretrained(path: Path) -> Pretrained:
    """Reads a checkpoint.

    Raises CheckpointError if it is damaged or its architecture cannot be trained.
    """
    with open_checkpoint(path) as checkpoint:
        nemo_config = checkpoint.config
        try:
            config = config_from_nemo(nemo_config)
        except (KeyError, TypeError, IndexError) as error:
            raise CheckpointError(
                f"{path}: its configuration has no usable entry {error}; it cannot be trained"
            ) from error
        _check_architecture(path, nemo_config)
        names = [n for n in checkpoint.weights.names() if not n.startswith("preprocessor.")]
        read = checkpoint.weights.read
        weights = {name: torch.from_numpy(np.array(read(name), np.float32)) for name in names}
        tokenizer = (
            Tokenizer(checkpoint.tokenizer)
            if checkpoint.tokenizer
            else Tokenizer.from_pieces(
                list(zip(checkpoint.vocabulary.pieces, checkpoint.vocabulary.scores, strict=True))
            )
        )
        texts = checkpoint.texts
    for kind in ("weight", "bias"):  # NeMo leaves a dropout of zero out of the sequence
        if f"joint.joint_net.1.{kind}" in weights:
            weights[f"joint.joint_net.2.{kind}"] = weights.pop(f"joint.joint_net.1.{kind}")
    if shift := nemo_config.get("mel_shift"):
        config = replace(config, mel_shift=shift, mel_scale=nemo_config["mel_scale"])
        _unfold(weights, config)
    if "prompt_kernel.0.weight" in weights:
        config = replace(config, prompt_hidden=len(weights["prompt_kernel.0.weight"]))
    with torch.device("meta"):
        expected = {k: v.shape for k, v in Network(config).state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    if wrong := sorted(
        n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)
    ):
        raise CheckpointError(
            f"{path} is of an architecture that is not trained here: {wrong[0]} is "
            f"{_shape(found.get(wrong[0]))} instead of {_shape(expected.get(wrong[0]))}"
            f" ({len(wrong)} tensors differ)"
        )
    defaults = nemo_config.get("model_defaults") or {}
    prompts = dict(defaults.get("prompt_dictionary") or {})
    license_text = next((t for n, t in texts.items() if n.startswith("LIC")), "")
    notice = next((t for n, t in texts.items() if n.startswith("NOTICE")), "")
    return Pretrained(nemo_config, config, tokenizer, prompts, weights, license_text, notice)


def _shape(shape: torch.Size | None) -> str:
    return "absent" if shape is None else str(list(shape))


def _check_architecture(path: Path, nemo_config: dict[str, Any]) -> None:
    """Raises CheckpointError for options that can be converted but not trained."""
    encoder = nemo_config["encoder"]
    fixed = {
        "conv_norm_type": "layer_norm", "use_bias": False, "xscaling": False,
        "att_context_style": "chunked_limited", "self_attention_model": "rel_pos",
        "untie_biases": True, "causal_downsampling": True,
    }  # fmt: skip
    for key, value in fixed.items():
        if encoder.get(key, value) != value:
            raise CheckpointError(
                f"{path} cannot be trained here: its encoder has {key} {encoder[key]!r}, "
                f"only {value!r} is known"
            )


def _unfold(weights: dict[str, Tensor], config: NetworkConfig) -> None:
    """Restores shift and scale of the input, which checkpoint.fold_input_scale folded away."""
    name = "encoder.pre_encode.conv.0"
    folded = weights[f"{name}.weight"]
    weights[f"{name}.bias"] = weights[f"{name}.bias"] - config.mel_shift * folded.sum((1, 2, 3))
    weights[f"{name}.weight"] = folded / config.mel_scale
