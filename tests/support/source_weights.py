"""Writes the oracle's checkpoints in the layouts of transformers, GGUF and Wheatear.

`write_transformers` follows the files of transformers 5.23, and `write_gguf` those that
NeMo-Speech.cpp (4f96762) writes and reads. Neither follows the readers of this package.
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
from checkpoints import ORACLE, answers, language_of, speech
from safetensors.numpy import save_file

import wheatear
from benchmarks.rivals import gguf_export as gguf_pack
from benchmarks.rivals.gguf_export import gguf_keys, gguf_kind, gguf_name
from wheatear.convert import convert
from wheatear.convert.architecture import Architecture, read_architecture
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.model.pieces import Pieces


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


def architecture(path: Path) -> Architecture:
    with open_checkpoint(path) as checkpoint:
        return read_architecture(checkpoint)


def loaded(checkpoint: Path, out: Path) -> wheatear.Recognizer:
    """Converts a checkpoint to float32 and loads it."""
    convert(checkpoint, out, "fp32")
    return wheatear.load(out, threads=1)


def tokens(recognizer: wheatear.Recognizer, model: str, latency_ms: int) -> list[int]:
    """Tokens for the speech and the language of an oracle checkpoint."""
    language = language_of(recognizer, int(answers(model)["prompt_index"]))
    transcript = recognizer.transcribe(speech(model), language=language, latency_ms=latency_ms)
    return [token.id for token in transcript.tokens]


def own_checkpoint(path: Path, model: str = "tiny-multi", **changes: Any) -> Path:
    """Writes a checkpoint of the oracle as Wheatear's safetensors, with changes of its header."""
    source = read_source(model)
    texts = {"licence": "CC0", "notice": "None."}
    return write_own(path, source, source.tensors, "mine", **texts, **changes)


def write_own(
    path: Path, source: Source, tensors: dict[str, np.ndarray], name: str, **changes: Any
) -> Path:
    """Writes Wheatear's safetensors with other values."""
    header = {
        "format": 1,
        "name": name,
        "config": source.config,
        "pieces": list(zip(source.vocabulary.pieces, source.vocabulary.scores, strict=True)),
    } | changes
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
    """Content of tokenizer.json, in which `<pad>` has the id of the model's blank."""
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


def rounded(source: Source) -> dict[str, np.ndarray]:
    """Returns the tensors with the values of a q8_0 file."""
    new = {}
    for name, values in source.tensors.items():
        squeezed = values[..., 0] if ".pointwise_conv" in name else values
        kind = gguf_kind(gguf_name(name), squeezed)
        stored = gguf.quants.quantize(np.ascontiguousarray(squeezed), kind)
        new[name] = gguf.quants.dequantize(stored, kind).reshape(values.shape)
    return new


def write_gguf(path: Path, source: Source, layout: str = "block_q8_0", model: bool = True) -> Path:
    keys = gguf_keys(source.config, source.vocabulary.pieces, layout)
    if model:
        keys["asr.tokenizer.spm_model"] = base64.b64encode(source.tokenizer).decode("ascii")
    tensors = {n: t for n, t in source.tensors.items() if not n.startswith("preprocessor.")}
    tensors["encoder.pos_enc.pe"] = np.zeros((9, 64), np.float32)
    tensors["preprocessor.fb"] = source.tensors["preprocessor.featurizer.fb"][0]
    gguf_pack.write_gguf(path, keys, tensors)
    return path
