"""Writes GGUF files in q8_0 as the converter of NeMo-Speech.cpp (4f96762) does.

Needs the package gguf. Packs of random models are kept in the models folder.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from wheatear.audio.mel import MelSettings, slaney_bank
from wheatear.bench.random_model import fingerprint
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.model.store import models_folder

_MAKER = "maker.txt"
_BLANK_BIAS = 50.0  # added to the bias of the blank
_POSITIONS = 5000
_LINEAR = re.compile(
    r"encoder\.layers\.\d+\.self_attn\.linear_(q|k|v|pos|out)\.weight"
    r"|encoder\.layers\.\d+\.feed_forward[12]\.linear[12]\.weight"
    r"|encoder\.layers\.\d+\.conv\.pointwise_conv[12]\.weight"
    r"|encoder\.pre_encode\.out\.weight"
    r"|decoder\.prediction\.dec_rnn\.lstm\.(ih|hh)_l\d+\.weight"
    r"|joint\.(enc|pred|joint_net\.2)\.weight"
)
_HALF = re.compile(
    r"encoder\.layers\.\d+\.conv\.depthwise_conv\.weight|encoder\.pre_encode\.conv\.\d+\.weight"
    r"|decoder\.prediction\.embed\.weight"
)
Q8_0, F16, F32 = (gguf.GGMLQuantizationType[kind] for kind in ("Q8_0", "F16", "F32"))

Tensors = Mapping[str, NDArray[Any]]


def gguf_pack(name: str) -> Path:
    """The folder of a random model's file, model.gguf."""
    return models_folder() / f"random-{name}-gguf"


def is_current(pack: Path) -> bool:
    """True if this version of the code wrote the pack."""
    maker = pack / _MAKER
    return maker.is_file() and maker.read_text() == _fingerprint()


def write_pack(pack: Path, checkpoint: Path) -> None:
    """Writes a pack from a checkpoint of `wheatear.bench.random_model`.

    The blank gets a large bias, so that no token is emitted: the token rate of NeMo-Speech.cpp
    cannot be set from outside.
    """
    pack.mkdir(parents=True, exist_ok=True)
    with open_checkpoint(checkpoint) as opened:
        weights = opened.weights
        tensors = {name: np.array(weights.read(name)) for name in weights.names()}
        tensors["joint.joint_net.2.bias"][-1] += _BLANK_BIAS
        config = _completed(opened.config, tensors)
        bank = slaney_bank(MelSettings(n_mels=config["preprocessor"]["features"]))
        tensors["preprocessor.fb"] = np.ascontiguousarray(bank.T)
        tensors["encoder.pos_enc.pe"] = _positions(config["encoder"]["d_model"])
        keys = gguf_keys(config, opened.vocabulary.pieces)
    write_gguf(pack / "model.gguf", keys, tensors)
    (pack / _MAKER).write_text(_fingerprint())


def write_gguf(path: Path, keys: Mapping[str, Any], tensors: Tensors) -> None:
    """Writes a file.

    Args:
        path: File to write.
        keys: Metadata. For a q8_layout other than "block_q8_0", all bytes of an encoder tensor come
            before all of its scales.
        tensors: Tensors by NeMo's names.
    """
    writer = gguf.GGUFWriter(str(path), "asr")
    for key, value in keys.items():
        match value:
            case bool():
                writer.add_bool(key, value)
            case int():
                writer.add_uint32(key, value)
            case float():
                writer.add_float32(key, value)
            case str():
                writer.add_string(key, value)
            case list():
                writer.add_array(key, value)
    planar = keys["asr.encoder.q8_layout"] != "block_q8_0"
    for name, values in gguf_tensors(tensors).items():
        kind = gguf_kind(name, values)
        stored = gguf.quants.quantize(np.ascontiguousarray(values), kind)
        if kind is Q8_0 and planar and name.startswith("encoder."):
            split = stored.reshape(-1, 34)
            parts = (split[:, 2:].ravel(), split[:, :2].ravel())
            stored = np.concatenate(parts).reshape(stored.shape)
        writer.add_tensor(name, stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_tensors(tensors: Tensors) -> dict[str, NDArray[Any]]:
    """Tensors with the names and shapes of NVIDIA's converter."""
    return {
        gguf_name(name): values[..., 0] if ".pointwise_conv" in name else values
        for name, values in tensors.items()
    }


def gguf_name(name: str) -> str:
    """The name in a GGUF file of a tensor with a name of NeMo."""
    return re.sub(r"\.(weight|bias)_([ih]h)_l(\d+)$", r".\2_l\3.\1", name)


def gguf_kind(name: str, values: NDArray[Any]) -> gguf.GGMLQuantizationType:
    """The type of a tensor in a q8_0 file; q8_0 needs rows of a multiple of 32."""
    if _LINEAR.fullmatch(name):
        return Q8_0 if values.shape[-1] % 32 == 0 else F16
    return F16 if _HALF.fullmatch(name) else F32


def gguf_keys(
    config: Mapping[str, Any], pieces: Sequence[str], layout: str = "block_q8_0"
) -> dict[str, Any]:
    """Metadata of a model."""
    encoder, front = config["encoder"], config["preprocessor"]
    prednet, joint = config["decoder"]["prednet"], config["joint"]["jointnet"]
    left, right = encoder["att_context_size"][0]
    prompts = config["model_defaults"].get("prompt_dictionary", {})
    width = encoder["d_model"]
    keys = {
        "general.name": "the model",
        "general.file_type": 7,
        "asr.head_type": "rnnt",
        "asr.encoder.d_model": width,
        "asr.encoder.n_layers": encoder["n_layers"],
        "asr.encoder.n_heads": encoder["n_heads"],
        "asr.encoder.d_ff": width * encoder["ff_expansion_factor"],
        "asr.encoder.conv_kernel_size": encoder["conv_kernel_size"],
        "asr.encoder.subsampling_factor": 8,
        "asr.encoder.subsampling_conv_channels": encoder["subsampling_conv_channels"],
        "asr.encoder.feat_in": encoder["feat_in"],
        "asr.encoder.xscaling": encoder["xscaling"],
        "asr.encoder.use_bias": encoder["use_bias"],
        "asr.encoder.q8_layout": layout,
        "asr.encoder.qkv_q8_layout": layout,
        "asr.encoder.pos_emb_max_len": _POSITIONS,
        "asr.encoder.cache_supported": True,
        "asr.encoder.train_left_ctx": left,
        "asr.encoder.train_right_ctx": right,
        "asr.encoder.conv_norm": encoder["conv_norm_type"],
        "asr.encoder.conv_context": str(encoder["conv_context_size"]),
        "asr.encoder.att_context_style": encoder["att_context_style"],
        "asr.preprocessor.sample_rate": 16000,
        "asr.preprocessor.window_size": 0.025,
        "asr.preprocessor.window_stride": 0.01,
        "asr.preprocessor.n_fft": 512,
        "asr.preprocessor.features": front["features"],
        "asr.preprocessor.normalize": front["normalize"],
        "asr.preprocessor.preemph": 0.97,
        "asr.preprocessor.dither": 1e-5,
        "asr.preprocessor.stft_center_window": True,
        "asr.preprocessor.hann_periodic": False,
        "asr.preprocessor.mask_invalid_frames": True,
        "asr.rnnt.vocab_size": len(pieces) + 1,
        "asr.rnnt.blank_id": len(pieces),
        "asr.rnnt.pred_embed_dim": prednet["pred_hidden"],
        "asr.rnnt.pred_hidden": prednet["pred_hidden"],
        "asr.rnnt.pred_num_layers": prednet["pred_rnn_layers"],
        "asr.rnnt.joint_dim": joint["joint_hidden"],
        "asr.rnnt.max_symbols_per_step": 10,
        "asr.rnnt.num_prompts": config["model_defaults"].get("num_prompts", 0),
        "asr.tokenizer.type": "sentencepiece_bpe",
        "asr.tokenizer.vocab": list(pieces),
    }
    if prompts:
        keys["asr.rnnt.prompt_dictionary"] = [f"{key}:{i}" for key, i in prompts.items()]
    return keys


def _completed(config: Mapping[str, Any], tensors: Tensors) -> dict[str, Any]:
    """The configuration, completed from the shapes of the tensors."""
    encoder, defaults = dict(config["encoder"]), dict(config["model_defaults"])
    encoder["use_bias"] = False
    encoder["subsampling_conv_channels"] = len(tensors["encoder.pre_encode.conv.0.weight"])
    if (kernel := tensors.get("prompt_kernel.0.weight")) is not None:
        defaults["num_prompts"] = kernel.shape[1] - encoder["d_model"]
    return {**config, "encoder": encoder, "model_defaults": defaults}


def _positions(width: int) -> NDArray[np.float32]:
    """Sines and cosines of distances, the largest first: [2 * 5000 - 1, width]."""
    distance = np.arange(_POSITIONS - 1, -_POSITIONS, -1, dtype=np.float32)[:, None]
    angles = distance * np.exp(np.arange(0, width, 2) * (-np.log(10000.0) / width))
    table = np.empty((len(distance), width), np.float32)
    table[:, 0::2], table[:, 1::2] = np.sin(angles), np.cos(angles)
    return table


def _fingerprint() -> str:
    return fingerprint("bench/random_model.py", "../../benchmarks/rivals/gguf_export.py")
