"""Writes the oracle's checkpoints in the layouts that others publish them in.

`write_transformers` and `write_gguf` are written from what transformers 5.23 and NeMo-Speech.cpp
(4f96762) write, not from what our readers expect.
"""

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes  # noqa: F401  (bfloat16 in numpy)
import numpy as np
from checkpoints import ORACLE
from safetensors.numpy import save_file

from wheatear.convert.checkpoint import open_checkpoint
from wheatear.pieces import Pieces


@dataclass(frozen=True)
class Source:
    """A checkpoint of the oracle, in memory."""

    config: dict[str, Any]
    vocabulary: Pieces
    tokenizer: bytes
    tensors: dict[str, np.ndarray]


def read_source(model: str) -> Source:
    with open_checkpoint(ORACLE / f"{model}.nemo") as checkpoint:
        tensors = {name: checkpoint.weights.read(name) for name in checkpoint.weights.names()}
        return Source(checkpoint.config, checkpoint.vocabulary, checkpoint.tokenizer, tensors)


def write_own(path: Path, source: Source, tensors: dict[str, np.ndarray], name: str) -> Path:
    """Our own safetensors with other values."""
    header = {
        "format": 1,
        "name": name,
        "config": source.config,
        "pieces": list(zip(source.vocabulary.pieces, source.vocabulary.scores, strict=True)),
    }
    save_file(tensors, path, metadata={"wheatear": json.dumps(header)})
    return path


# -- transformers --------------------------------------------------------------------------------

_TRANSFORMERS = {
    r"prompt_kernel\.0\.": "prompt_projector.linear_1.",
    r"prompt_kernel\.2\.": "prompt_projector.linear_2.",
    r"encoder\.pre_encode\.conv\.0\.": "encoder.subsampling.conv_in.",
    r"encoder\.pre_encode\.conv\.2\.": "encoder.subsampling.layers.0.depthwise_conv.",
    r"encoder\.pre_encode\.conv\.3\.": "encoder.subsampling.layers.0.pointwise_conv.",
    r"encoder\.pre_encode\.conv\.5\.": "encoder.subsampling.layers.1.depthwise_conv.",
    r"encoder\.pre_encode\.conv\.6\.": "encoder.subsampling.layers.1.pointwise_conv.",
    r"encoder\.pre_encode\.out\.": "encoder.subsampling.linear.",
    r"conv\.batch_norm\.": "conv.norm.",
    r"linear_([qkv])": r"\1_proj",
    r"linear_out": "o_proj",
    r"linear_pos": "relative_k_proj",
    r"pos_bias_([uv])": r"bias_\1",
    r"decoder\.prediction\.embed\.": "decoder.embedding.",
    r"decoder\.prediction\.dec_rnn\.lstm\.": "decoder.lstm.",
    r"joint\.enc\.": "encoder_projector.",
    r"joint\.pred\.": "decoder.decoder_projector.",
    r"joint\.joint_net\.2\.": "joint.head.",
}


def write_transformers(
    folder: Path, source: Source, *, dtype: Any = np.float32, shards: int = 1
) -> Path:
    folder.mkdir(parents=True)
    tensors = {}
    for name, values in source.tensors.items():
        if name.startswith("preprocessor."):
            continue
        for pattern, theirs in _TRANSFORMERS.items():
            name = re.sub(pattern, theirs, name)
        tensors[name] = np.ascontiguousarray(values.astype(dtype))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        _write_shards(folder, tensors, shards)
    for name, content in {
        "config.json": _config(source),
        "generation_config.json": {"decoder_start_token_id": len(source.vocabulary.pieces)},
        "processor_config.json": _processor(source),
        "tokenizer.json": _tokenizer(source.vocabulary),
    }.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


def _write_shards(folder: Path, tensors: dict[str, np.ndarray], shards: int) -> None:
    where = {}
    for n in range(shards):
        file = f"model-{n + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(tensors.items())[n::shards])
        save_file(part, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _config(source: Source) -> dict[str, Any]:
    encoder, prednet = source.config["encoder"], source.config["decoder"]["prednet"]
    blank = len(source.vocabulary.pieces)
    left, default = encoder["att_context_size"][0]
    config = {
        "blank_token_id": blank,
        "decoder_hidden_size": prednet["pred_hidden"],
        "encoder_config": {
            "attention_bias": encoder["use_bias"],
            "conv_kernel_size": encoder["conv_kernel_size"],
            "convolution_bias": encoder["use_bias"],
            "default_num_lookahead_tokens": default,
            "hidden_act": "silu",
            "hidden_size": encoder["d_model"],
            "intermediate_size": encoder["d_model"] * encoder["ff_expansion_factor"],
            "max_position_embeddings": 5000,
            "model_type": "nemotron_asr_streaming_encoder",
            "num_attention_heads": encoder["n_heads"],
            "num_hidden_layers": encoder["n_layers"],
            "num_mel_bins": encoder["feat_in"],
            "scale_input": encoder["xscaling"],
            "sliding_window": left + 1,
            "subsampling_conv_channels": encoder["subsampling_conv_channels"],
            "subsampling_conv_kernel_size": 3,
            "subsampling_conv_stride": 2,
            "subsampling_factor": 8,
        },
        "hidden_act": source.config["joint"]["jointnet"]["activation"],
        "is_encoder_decoder": True,
        "max_symbols_per_step": 10,
        "model_type": "nemotron_asr_streaming",
        "num_decoder_layers": prednet["pred_rnn_layers"],
        "pad_token_id": 0,
        "transformers_version": "5.23.0",
        "vocab_size": blank + 1,
    }
    if "prompt_kernel.0.weight" in source.tensors:
        config |= {
            "default_prompt_id": 101,
            "model_type": "nemotron3_5_asr",
            "num_prompts": source.config["model_defaults"]["num_prompts"],
            "prompt_intermediate_size": len(source.tensors["prompt_kernel.0.weight"]),
        }
    return config


def _processor(source: Source) -> dict[str, Any]:
    contexts = source.config["encoder"]["att_context_size"]
    processor = {
        "blank_token": "<blank>",
        "default_num_lookahead_tokens": contexts[0][1],
        "feature_extractor": {
            "feature_extractor_type": "NemotronAsrStreamingFeatureExtractor",
            "feature_size": source.config["preprocessor"]["features"],
            "hop_length": 160,
            "mel_filters_dtype": "float32",
            "n_fft": 512,
            "preemphasis": 0.97,
            "sampling_rate": 16000,
            "win_length": 400,
        },
        "processor_class": "NemotronAsrStreamingProcessor",
        "supported_num_lookahead_tokens": [right for _left, right in contexts],
    }
    if "prompt_kernel.0.weight" in source.tensors:
        processor |= {
            "num_prompts": source.config["model_defaults"]["num_prompts"],
            "processor_class": "Nemotron3_5AsrProcessor",
            "prompt_dictionary": source.config["model_defaults"]["prompt_dictionary"],
        }
    return processor


def _tokenizer(vocabulary: Pieces) -> dict[str, Any]:
    """`<pad>` takes the id that the model's blank has."""
    pieces = vocabulary.pieces
    special = ["<unk>", *(p for p in pieces if re.fullmatch(r"<[a-z]{2,3}-[A-Z]{2}>", p))]
    added = [(pieces.index(p), p) for p in special]
    added += [(len(pieces), "<pad>"), (len(pieces) + 1, "<blank>")]
    return {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": p, "special": True} for i, p in added],
        "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"},
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "byte_fallback": True,
            "vocab": {piece: i for i, piece in enumerate(pieces)},
            "merges": [],
        },
    }


# -- GGUF ----------------------------------------------------------------------------------------

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


def gguf_kind(name: str, values: np.ndarray) -> gguf.GGMLQuantizationType:
    """How NVIDIA's converter stores a tensor in a q8_0 file; it has no rows of odd lengths."""
    if _LINEAR.fullmatch(name):
        return Q8_0 if values.shape[-1] % 32 == 0 else F16
    return F16 if _HALF.fullmatch(name) else F32


def gguf_name(name: str) -> str:
    return re.sub(r"\.(weight|bias)_([ih]h)_l(\d+)$", r".\2_l\3.\1", name)


def gguf_tensors(source: Source) -> dict[str, np.ndarray]:
    """By name and in the shape that NVIDIA's converter gives them."""
    return {
        gguf_name(name): values[..., 0] if ".pointwise_conv" in name else values
        for name, values in source.tensors.items()
        if not name.startswith("preprocessor.")
    }


def rounded(source: Source) -> dict[str, np.ndarray]:
    """The tensors as they come out of a q8_0 file."""
    new = {}
    for name, values in source.tensors.items():
        squeezed = values[..., 0] if ".pointwise_conv" in name else values
        kind = gguf_kind(gguf_name(name), squeezed)
        stored = gguf.quants.quantize(np.ascontiguousarray(squeezed), kind)
        new[name] = gguf.quants.dequantize(stored, kind).reshape(values.shape)
    return new


def write_gguf(path: Path, source: Source, layout: str = "block_q8_0", model: bool = True) -> Path:
    writer = gguf.GGUFWriter(str(path), "asr")
    for key, value in _gguf_keys(source, layout).items():
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
    if model:
        encoded = base64.b64encode(source.tokenizer).decode("ascii")
        writer.add_string("asr.tokenizer.spm_model", encoded)
    writer.add_tensor("encoder.pos_enc.pe", np.zeros((9, 64), np.float32))
    writer.add_tensor("preprocessor.fb", source.tensors["preprocessor.featurizer.fb"][0])
    for name, values in gguf_tensors(source).items():
        kind = gguf_kind(name, values)
        stored = gguf.quants.quantize(np.ascontiguousarray(values), kind)
        if kind is Q8_0 and layout != "block_q8_0" and name.startswith("encoder."):
            stored = _planar(stored)
        writer.add_tensor(name, stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _planar(blocks: np.ndarray) -> np.ndarray:
    """All bytes of a tensor, then all scales."""
    split = blocks.reshape(-1, 34)
    return np.concatenate([split[:, 2:].ravel(), split[:, :2].ravel()]).reshape(blocks.shape)


def _gguf_keys(source: Source, layout: str) -> dict[str, Any]:
    encoder, front = source.config["encoder"], source.config["preprocessor"]
    prednet, pieces = source.config["decoder"]["prednet"], source.vocabulary.pieces
    left, right = encoder["att_context_size"][0]
    prompts = source.config["model_defaults"].get("prompt_dictionary", {})
    keys = {
        "general.name": "the model",
        "general.file_type": 7,
        "asr.head_type": "rnnt",
        "asr.encoder.d_model": encoder["d_model"],
        "asr.encoder.n_layers": encoder["n_layers"],
        "asr.encoder.n_heads": encoder["n_heads"],
        "asr.encoder.d_ff": encoder["d_model"] * encoder["ff_expansion_factor"],
        "asr.encoder.conv_kernel_size": encoder["conv_kernel_size"],
        "asr.encoder.subsampling_factor": 8,
        "asr.encoder.subsampling_conv_channels": encoder["subsampling_conv_channels"],
        "asr.encoder.feat_in": encoder["feat_in"],
        "asr.encoder.xscaling": encoder["xscaling"],
        "asr.encoder.use_bias": encoder["use_bias"],
        "asr.encoder.q8_layout": layout,
        "asr.encoder.qkv_q8_layout": layout,
        "asr.encoder.pos_emb_max_len": 5000,
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
        "asr.rnnt.joint_dim": source.config["joint"]["jointnet"]["joint_hidden"],
        "asr.rnnt.max_symbols_per_step": 10,
        "asr.rnnt.num_prompts": source.config["model_defaults"].get("num_prompts", 0),
        "asr.tokenizer.type": "sentencepiece_bpe",
        "asr.tokenizer.vocab": pieces,
    }
    if prompts:
        keys["asr.rnnt.prompt_dictionary"] = [f"{key}:{i}" for key, i in prompts.items()]
    return keys
