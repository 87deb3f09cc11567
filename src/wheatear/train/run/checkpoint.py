"""Checkpoints: conversion of NeMo's configuration, and the exported safetensors file."""

from __future__ import annotations

import base64
import copy
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from wheatear.model.latency import PUBLISHED_LOOKAHEADS
from wheatear.model.size_limits import MAX_SYMBOLS
from wheatear.train.data.tokenizer import Tokenizer
from wheatear.train.network.transducer import NetworkConfig

_DEFAULT_LOOKAHEAD = 3  # frames


def config_from_nemo(config: Mapping[str, Any]) -> NetworkConfig:
    """Reads sizes from the contents of a model_config.yaml."""
    encoder, predictor = config["encoder"], config["decoder"]
    context = encoder["att_context_size"]  # one pair, or a list of them
    return NetworkConfig(
        vocab_size=predictor["vocab_size"],
        d_model=encoder["d_model"],
        layers=encoder["n_layers"],
        heads=encoder["n_heads"],
        mels=encoder["feat_in"],
        subsampling_channels=encoder["subsampling_conv_channels"],
        ff_expansion=encoder["ff_expansion_factor"],
        conv_kernel=encoder["conv_kernel_size"],
        left_context=context[0][0] if isinstance(context[0], list) else context[0],
        predictor_hidden=predictor["prednet"]["pred_hidden"],
        predictor_layers=predictor["prednet"]["pred_rnn_layers"],
        joint_hidden=config["joint"]["jointnet"]["joint_hidden"],
        prompts=(config.get("model_defaults") or {}).get("num_prompts", 0),
    )


def config_to_nemo(config: NetworkConfig, prompts: Mapping[str, int]) -> dict[str, Any]:
    """Makes the entries of NeMo's model_config.yaml that `wheatear convert` needs."""
    lookaheads = sorted(PUBLISHED_LOOKAHEADS, key=lambda r: (r != _DEFAULT_LOOKAHEAD, r))
    return {
        "sample_rate": 16_000,
        "preprocessor": {
            "sample_rate": 16_000, "normalize": "NA", "window_size": 0.025,
            "window_stride": 0.01, "window": "hann", "features": config.mels, "n_fft": 512,
            "log": True, "dither": 1e-5, "pad_to": 0,
        },
        "encoder": {
            "feat_in": config.mels, "n_layers": config.layers, "d_model": config.d_model,
            "use_bias": False, "subsampling": "dw_striding", "subsampling_factor": 8,
            "subsampling_conv_channels": config.subsampling_channels,
            "causal_downsampling": True, "ff_expansion_factor": config.ff_expansion,
            "self_attention_model": "rel_pos", "n_heads": config.heads,
            "att_context_size": [[config.left_context, r] for r in lookaheads],
            "att_context_style": "chunked_limited", "xscaling": False, "untie_biases": True,
            "conv_kernel_size": config.conv_kernel, "conv_norm_type": "layer_norm",
            "conv_context_size": "causal",
        },
        "decoder": {
            "prednet": {
                "pred_hidden": config.predictor_hidden,
                "pred_rnn_layers": config.predictor_layers,
            },
            "vocab_size": config.vocab_size, "blank_as_pad": True,
        },
        "joint": {
            "jointnet": {
                "joint_hidden": config.joint_hidden, "activation": "relu",
                "encoder_hidden": config.d_model, "pred_hidden": config.predictor_hidden,
            },
        },
        "decoding": {"greedy": {"max_symbols": MAX_SYMBOLS}},
        "model_defaults": {
            "enc_hidden": config.d_model, "pred_hidden": config.predictor_hidden,
            "joint_hidden": config.joint_hidden,
            "num_prompts": config.prompts, "prompt_dictionary": dict(prompts),
        },
    }  # fmt: skip


def fold_input_scale(weights: Mapping[str, Tensor], config: NetworkConfig) -> dict[str, Tensor]:
    """Folds shift and scale of the input into the first convolution.

    Exact, also at the borders: the zeros around the mel are added before shift and scale.
    """
    folded = {name: value.detach().clone() for name, value in weights.items()}
    weight = folded["encoder.pre_encode.conv.0.weight"]
    weight *= config.mel_scale
    folded["encoder.pre_encode.conv.0.bias"] += config.mel_shift * weight.sum((1, 2, 3))
    return folded


@dataclass(frozen=True)
class CheckpointInfo:
    """Texts and configuration of an exported checkpoint."""

    name: str
    nemo_config: Mapping[str, Any]
    """Configuration in NeMo's layout."""
    license: str
    notice: str


def updated_nemo_config(
    nemo_config: Mapping[str, Any], config: NetworkConfig, prompts: Mapping[str, int]
) -> dict[str, Any]:
    """Updates a pretrained checkpoint's configuration to its new pieces and prompts."""
    new = copy.deepcopy(dict(nemo_config))
    new["decoder"]["vocab_size"] = config.vocab_size
    for section in (new["joint"], new.get("aux_ctc", {}).get("decoder", {})):
        for key in ("num_classes", "vocabulary"):
            section.pop(key, None)  # copies of the old vocabulary
    new.pop("labels", None)
    if prompts:
        new["model_defaults"]["prompt_dictionary"] = dict(prompts)
    new.pop("mel_shift", None)
    new.pop("mel_scale", None)
    return new


def export_checkpoint(
    weights: Mapping[str, Tensor],
    config: NetworkConfig,
    tokenizer: Tokenizer,
    info: CheckpointInfo,
    path: Path,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Writes the file that `wheatear convert` reads, in one atomic step.

    Args:
        weights: State dict without adapters.
        config: Sizes of the network.
        tokenizer: Tokenizer of the network.
        info: Texts and configuration to store.
        path: File to write.
        dtype: Type of the stored tensors.
    """
    # Input scale of the training, for fine-tuning this checkpoint.
    scale = {"mel_shift": config.mel_shift, "mel_scale": config.mel_scale}
    about = {
        "format": 1,
        "name": info.name,
        "config": {**info.nemo_config, **(scale if config.mel_shift else {})},
        "pieces": tokenizer.pieces(),
        "tokenizer": base64.b64encode(tokenizer.model).decode(),
        "licence": info.license,
        "notice": info.notice,
    }
    stored = {
        name: value.to(dtype).contiguous().cpu()
        for name, value in fold_input_scale(weights, config).items()
    }
    partial = path.with_suffix(".partial")
    save_file(stored, partial, metadata={"wheatear": json.dumps(about, ensure_ascii=False)})
    partial.chmod(0o644)  # safetensors makes a file that only its owner can read
    os.replace(partial, path)
