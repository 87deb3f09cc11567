"""Reads a checkpoint in the layout of Hugging Face transformers: a folder with

    config.json              nemotron_asr_streaming (English) or nemotron3_5_asr (multilingual)
    model.safetensors        or several files and their index, model.safetensors.index.json
    processor_config.json    front end, lookaheads and, if multilingual, the prompt dictionary
    tokenizer.json           the pieces by id, and others that the model does not use

All of it is translated to NeMo's names and keys, including the names of tensors. Names and settings
are those of transformers 5.13 to 5.23.
"""

import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.convert.checkpoints.nemo_config import nemo_config
from wheatear.convert.checkpoints.weights import (
    Checkpoint,
    CheckpointWeights,
    StoredTensor,
    read_safetensors,
)
from wheatear.errors import MALFORMED, CheckpointError
from wheatear.model.manifest import LICENSE_FILE
from wheatear.model.pieces import MAX_PIECES, Pieces, pieces_from_sentencepiece, pieces_from_texts
from wheatear.model.size_limits import (
    MAX_JSON_BYTES,
    MAX_SYMBOLS,
    MAX_TEXT_BYTES,
    MAX_TOKENIZER_BYTES,
)

_ARCHITECTURES = ("nemotron_asr_streaming", "nemotron3_5_asr")
_CONFIG, _WEIGHTS, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
# transformers 5 writes one file for the processor; older versions wrote only the front end.
_PROCESSOR = ("processor_config.json", "preprocessor_config.json")

# transformers' name -> NeMo's, the first that matches.
_NAMES = tuple(
    (re.compile(theirs), ours)
    for theirs, ours in {
        r"encoder\.subsampling\.conv_in\.": "encoder.pre_encode.conv.0.",
        r"encoder\.subsampling\.layers\.0\.depthwise_conv\.": "encoder.pre_encode.conv.2.",
        r"encoder\.subsampling\.layers\.0\.pointwise_conv\.": "encoder.pre_encode.conv.3.",
        r"encoder\.subsampling\.layers\.1\.depthwise_conv\.": "encoder.pre_encode.conv.5.",
        r"encoder\.subsampling\.layers\.1\.pointwise_conv\.": "encoder.pre_encode.conv.6.",
        r"encoder\.subsampling\.linear\.": "encoder.pre_encode.out.",
        r"(encoder\.layers\.\d+\.conv)\.norm\.": r"\1.batch_norm.",
        r"(encoder\.layers\.\d+\.self_attn)\.([qkv])_proj\.": r"\1.linear_\2.",
        r"(encoder\.layers\.\d+\.self_attn)\.o_proj\.": r"\1.linear_out.",
        r"(encoder\.layers\.\d+\.self_attn)\.relative_k_proj\.": r"\1.linear_pos.",
        r"(encoder\.layers\.\d+\.self_attn)\.bias_([uv])$": r"\1.pos_bias_\2",
        r"decoder\.embedding\.": "decoder.prediction.embed.",
        r"decoder\.lstm\.": "decoder.prediction.dec_rnn.lstm.",
        r"decoder\.decoder_projector\.": "joint.pred.",
        r"encoder_projector\.": "joint.enc.",
        r"joint\.head\.": "joint.joint_net.2.",
        r"prompt_projector\.linear_1\.": "prompt_kernel.0.",
        r"prompt_projector\.linear_2\.": "prompt_kernel.2.",
    }.items()
)


def is_transformers(folder: Path) -> bool:
    """True if a folder looks like a checkpoint of transformers."""
    return (folder / _CONFIG).is_file()


def open_transformers(folder: Path, stack: ExitStack) -> Checkpoint:
    """Opens a folder; raises CheckpointError for a missing or wrong file or setting."""
    config = _read_json(folder, _CONFIG)
    kind = config.get("model_type")
    if kind not in _ARCHITECTURES:
        raise CheckpointError(
            f"{folder / _CONFIG} is of a model of type {kind!r}; {' and '.join(_ARCHITECTURES)} "
            f"can be converted"
        )
    name = next((name for name in _PROCESSOR if (folder / name).is_file()), _PROCESSOR[0])
    processor = _read_json(folder, name)
    try:
        translated = _translate(config, processor)
    except MALFORMED as error:
        raise CheckpointError(
            f"{folder}: {_CONFIG} or {name} lacks a setting of the model, or has a wrong one "
            f"({type(error).__name__}: {error})"
        ) from error
    vocabulary, model = _vocabulary(folder, translated["decoder"]["vocab_size"])
    weights = CheckpointWeights(
        {_nemo_name(key): tensor for key, tensor in _tensors(folder, stack).items()}
    )
    translated["joint"]["jointnet"]["joint_hidden"] = weights.axis("joint.enc.weight", 0)
    texts = {
        file.name: _read_bytes(file, MAX_TEXT_BYTES).decode("utf-8", "replace")
        for file in sorted(folder.iterdir())
        if file.is_file() and LICENSE_FILE.fullmatch(file.name)
    }
    return Checkpoint(folder.resolve().name, translated, vocabulary, weights, texts, model)


def _nemo_name(name: str) -> str:
    for pattern, ours in _NAMES:
        if pattern.match(name):
            return pattern.sub(ours, name, count=1)
    return name


def _translate(config: Mapping[str, Any], processor: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings by NeMo's keys, and settings that are constants in transformers."""
    encoder = config["encoder_config"]
    front = processor.get("feature_extractor", processor)
    if encoder.get("hidden_act", "silu") != "silu":
        raise ValueError(f"hidden_act is {encoder['hidden_act']!r}")
    taps, stride = (encoder.get(f"subsampling_conv_{key}") for key in ("kernel_size", "stride"))
    if taps not in (None, 3) or stride not in (None, 2):
        raise ValueError(f"the subsampling convolves {taps} taps with stride {stride}, not 3 and 2")
    if front.get("mel_filters_dtype", "float32") != "float32":
        raise ValueError(f"mel_filters_dtype is {front['mel_filters_dtype']!r}")
    blank = config["blank_token_id"]
    if type(blank) is not int or not 0 < blank < MAX_PIECES or config["vocab_size"] != blank + 1:
        raise ValueError(f"the blank {blank!r} is not the last of the tokens")
    rate = front.get("sampling_rate", SAMPLE_RATE)
    return nemo_config(
        target=f"transformers {config['model_type']}",
        preprocessor={
            "sample_rate": rate,
            "normalize": "NA",
            "features": front.get("feature_size", encoder["num_mel_bins"]),
            "n_fft": front.get("n_fft", 512),
            "window_size": front.get("win_length", 400) / rate,
            "window_stride": front.get("hop_length", 160) / rate,
            "preemph": front.get("preemphasis", 0.97),
        },
        encoder={
            "feat_in": encoder["num_mel_bins"],
            "n_layers": encoder["num_hidden_layers"],
            "n_heads": encoder["num_attention_heads"],
            "use_bias": encoder.get("attention_bias", True),
            "subsampling_factor": encoder.get("subsampling_factor", 8),
            "subsampling_conv_channels": encoder.get("subsampling_conv_channels", 256),
            "att_context_style": "chunked_limited",
            "xscaling": encoder.get("scale_input", True),
            "conv_kernel_size": encoder["conv_kernel_size"],
            "conv_norm_type": "layer_norm",
            "conv_context_size": "causal",
        },
        width=encoder["hidden_size"],
        feed_forward=encoder["intermediate_size"],
        contexts=_contexts(encoder, processor),
        blank=blank,
        prednet={
            "pred_hidden": config["decoder_hidden_size"],
            "pred_rnn_layers": config["num_decoder_layers"],
        },
        jointnet={"activation": config.get("hidden_act", "relu")},
        max_symbols=config.get("max_symbols_per_step", MAX_SYMBOLS),
        prompts=processor.get("prompt_dictionary"),
        num_prompts=config.get("num_prompts", 128),
    )


def _contexts(encoder: Mapping[str, Any], processor: Mapping[str, Any]) -> list[list[int]]:
    """Attention contexts [left, right] in frames, the default first."""
    left = encoder["sliding_window"] - 1
    default = processor.get("default_num_lookahead_tokens")
    if default is None:
        default = encoder["default_num_lookahead_tokens"]
    others = processor.get("supported_num_lookahead_tokens") or []
    return [[left, default], *([left, r] for r in others if r != default)]


def _vocabulary(folder: Path, blank: int) -> tuple[Pieces, bytes | None]:
    """Reads the first `blank` tokens, and the SentencePiece model if the folder has one."""
    model = folder / "tokenizer.model"
    if model.is_file():
        raw = _read_bytes(model, MAX_TOKENIZER_BYTES)
        try:
            return pieces_from_sentencepiece(raw), raw
        except ValueError as error:
            raise CheckpointError(f"{model} is not a SentencePiece model: {error}") from error
    data = _read_json(folder, "tokenizer.json")
    texts: list[Any] = [None] * blank
    scores = [-float(i) for i in range(blank)]  # SentencePiece's scores of BPE merges
    try:
        table = data["model"]["vocab"]
        if isinstance(table, list):
            by_id = [(i, str(text)) for i, (text, _score) in enumerate(table)]
            scores = [float(score) for _text, score in table[:blank]]
        else:
            by_id = [(i, str(text)) for text, i in table.items()]
        added = [(entry["id"], str(entry["content"])) for entry in data.get("added_tokens") or []]
        for i, text in [*added, *by_id]:
            if type(i) is int and 0 <= i < blank:
                texts[i] = text
    except MALFORMED as error:
        raise CheckpointError(f"{folder / 'tokenizer.json'} is damaged: {error!r}") from error
    if None in texts:
        raise CheckpointError(
            f"{folder / 'tokenizer.json'} has no token {texts.index(None)}, and the model's blank "
            f"is {blank}"
        )
    return pieces_from_texts(texts, scores), None


def _tensors(folder: Path, stack: ExitStack) -> dict[str, StoredTensor]:
    if not (folder / _INDEX).is_file():
        if not (folder / _WEIGHTS).is_file():
            raise CheckpointError(f"{folder} is incomplete: it has no {_WEIGHTS}")
        return read_safetensors(folder / _WEIGHTS, stack)[1]
    index = _read_json(folder, _INDEX).get("weight_map")
    if not isinstance(index, dict) or not index:
        raise CheckpointError(f"{folder / _INDEX} is damaged: it has no weight_map")
    tensors: dict[str, StoredTensor] = {}
    for file in sorted({str(file) for file in index.values()}):
        if Path(file).name != file or not file.endswith(".safetensors"):
            raise CheckpointError(f"{folder / _INDEX} is damaged: it names the file {file!r}")
        if not (folder / file).is_file():
            raise CheckpointError(f"{folder} is incomplete: {file} is missing")
        tensors |= read_safetensors(folder / file, stack)[1]
    if missing := index.keys() - tensors.keys():
        raise CheckpointError(f"{folder} is incomplete: no file has the tensor {min(missing)}")
    return tensors


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        raise CheckpointError(
            f"{folder} is not a checkpoint in transformers' layout: it has no {name}"
        )
    try:
        data = json.loads(_read_bytes(path, MAX_JSON_BYTES))
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is damaged: it is not a JSON object")
    return data


def _read_bytes(path: Path, most: int) -> bytes:
    if (size := path.stat().st_size) > most:
        raise CheckpointError(f"{path} has {size:,} bytes; it is refused")
    return path.read_bytes()
