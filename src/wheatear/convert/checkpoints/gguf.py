"""Reads NVIDIA's GGUF checkpoints in the form of NeMo-Speech.cpp (`asr.head_type` is `rnnt`).

The container (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) has a header of typed keys
and values, a table of tensors, and their bytes. Every length is checked against the size of the
file. Tensors are stored in float32, float16, bfloat16 or q8_0. The last has blocks of 32 values
along the rows, each a float16 scale and 32 signed bytes. With the `q8_layout` `tensor_planar_v1`
all bytes of the tensor come first and then all scales.

Tensors have NeMo's names, except for the LSTM (`ih_l0.weight`). Pointwise convolutions lack the
last axis. Mel filters and positions are stored as constants.
"""

import base64
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Never

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from wheatear.convert.checkpoints.nemo_config import nemo_config
from wheatear.convert.checkpoints.weights import Checkpoint, CheckpointWeights, StoredTensor
from wheatear.errors import MALFORMED, CheckpointError
from wheatear.model.pieces import Pieces, pieces_from_sentencepiece, pieces_from_texts
from wheatear.model.size_limits import MAX_SYMBOLS

_VERSIONS = (2, 3)
_MOST_KEYS, _MOST_TENSORS, _MOST_ITEMS, _LONGEST_TEXT = 1 << 14, 1 << 16, 1 << 20, 16 << 20
_MOST_IN_ALL, _MOST_TEXT_IN_ALL = 1 << 21, 64 << 20  # items of all arrays, bytes of all texts
_MOST_AXES = 4
_ALIGNMENT = 32  # default of general.alignment

# Types of values: ids 0 .. 12, of which 8 is a string and 9 an array.
_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
_FLOAT, _TEXT, _ARRAY = 6, 8, 9

# Types of tensors that are read, and their elements and bytes in a block.
_DTYPES = {0: "<f4", 1: "<f2", 30: ml_dtypes.bfloat16}
_BLOCKS = {0: (1, 4), 1: (1, 2), 30: (1, 2), 8: (32, 34)}

_LSTM = re.compile(r"(decoder\.prediction\.dec_rnn\.lstm)\.([ih]h)_l(\d+)\.(weight|bias)")
_POINTWISE = re.compile(r"encoder\.layers\.\d+\.conv\.pointwise_conv[12]\.weight")
_QKV = re.compile(r"encoder\.layers\.\d+\.self_attn\.linear_[qkv]\.weight")
_PLANAR = "tensor_planar_v1"


def open_gguf(path: Path) -> Checkpoint:
    """Opens a file; raises CheckpointError for a damaged one or another kind of model."""
    with path.open("rb") as file:
        reader = _Header(file, path)
        values, tensors = reader.values, reader.tensors
    architecture, head = values.get("general.architecture"), values.get("asr.head_type")
    if (architecture, head) != ("asr", "rnnt"):
        raise CheckpointError(
            f"{path} is a GGUF file of the architecture {architecture!r} with the head {head!r}; "
            f"'asr' with 'rnnt' can be converted"
        )
    try:
        config = _config(values)
    except MALFORMED as error:
        raise CheckpointError(
            f"{path} lacks a key that describes the model, or has a wrong one "
            f"({type(error).__name__}: {error})"
        ) from error
    vocabulary, model = _vocabulary(values, path)
    stored = {}
    for tensor in tensors.values():
        name, shape = _nemo_name(tensor)
        if name is not None:
            load = _loader(path, tensor, shape, planar=_is_planar(tensor.name, values))
            stored[name] = StoredTensor(shape, load)
    name = values.get("general.name")
    return Checkpoint(
        name if isinstance(name, str) and name else path.stem,
        config, vocabulary, CheckpointWeights(stored), {}, model,
    )  # fmt: skip


# -- the container -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    """In the order of numpy; the file has the axes in reverse."""
    kind: int
    start: int
    """Offset of the values in bytes."""

    @property
    def nbytes(self) -> int:
        elements, size = _BLOCKS[self.kind]
        return prod(self.shape) // elements * size


class _Header:
    """Keys, values and the table of tensors; reading raises CheckpointError."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path = file, path
        self._size = path.stat().st_size
        self._position = self._items = self._text_bytes = 0
        magic, version = self._take(4), self._number("<I")
        if magic != b"GGUF" or version not in _VERSIONS:
            self._refuse(
                f"it is of version {version}, {' and '.join(map(str, _VERSIONS))} are read"
            )
        count = self._count("tensors", _MOST_TENSORS)
        self.values: dict[str, Any] = {}
        for _ in range(self._count("keys", _MOST_KEYS)):
            key = self._text()
            if key in self.values:
                self._refuse(f"it has the key {key!r} twice")
            self.values[key] = self._value(self._number("<I"))
        self.tensors = self._table(count)

    def _table(self, count: int) -> dict[str, _Tensor]:
        listed = [self._tensor() for _ in range(count)]
        alignment = self.values.get("general.alignment", _ALIGNMENT)
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
            self._refuse(f"its alignment is {alignment!r}")
        data = -(-self._position // alignment) * alignment
        tensors: dict[str, _Tensor] = {}
        end = data
        for tensor in sorted(listed, key=lambda t: t.start):
            start = data + tensor.start
            if start < end or start % alignment:
                self._refuse(f"the values of {tensor.name} lie within those of another tensor")
            end = start + tensor.nbytes
            if end > self._size:
                self._refuse(f"the values of {tensor.name} reach past its end")
            if tensor.name in tensors:
                self._refuse(f"it has the tensor {tensor.name} twice")
            tensors[tensor.name] = _Tensor(tensor.name, tensor.shape, tensor.kind, start)
        return tensors

    def _tensor(self) -> _Tensor:
        name, axes = self._text(), self._number("<I")
        if not 1 <= axes <= _MOST_AXES:
            self._refuse(f"its tensor {name!r} has {axes} axes")
        shape = tuple(self._number("<Q") for _ in range(axes))[::-1]
        kind, start = self._number("<I"), self._number("<Q")
        if kind not in _BLOCKS:
            raise CheckpointError(
                f"{self._path}: the tensor {name} is stored in ggml's type {kind}; float32, "
                f"float16, bfloat16 and q8_0 are read: convert the q8_0 file or the .nemo instead"
            )
        if 0 in shape or shape[-1] % _BLOCKS[kind][0]:
            self._refuse(f"its tensor {name!r} of the shape {list(shape)} is of no whole blocks")
        return _Tensor(name, shape, kind, start)

    def _value(self, kind: int) -> Any:
        if kind == _ARRAY:
            kind, count = self._number("<I"), self._count("items", _MOST_ITEMS)
            if kind == _ARRAY:
                self._refuse("it has arrays within arrays")
            self._items += count
            if self._items > _MOST_IN_ALL:
                self._refuse(f"it has more than {_MOST_IN_ALL:,} items in its arrays")
            return [self._value(kind) for _ in range(count)]
        if kind == _TEXT:
            return self._text()
        if kind not in _SCALARS:
            self._refuse(f"it has a value of the unknown type {kind}")
        value = self._number(_SCALARS[kind])
        # Through its shortest text: 0.97 in float32 is 0.9700000286102295.
        return float(str(np.float32(value))) if kind == _FLOAT else value

    def _text(self) -> str:
        length = self._count("bytes in a text", _LONGEST_TEXT)
        self._text_bytes += length
        if self._text_bytes > _MOST_TEXT_IN_ALL:
            self._refuse(f"it has more than {_MOST_TEXT_IN_ALL:,} bytes of text")
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError:
            self._refuse("it has text that is not UTF-8")

    def _count(self, what: str, most: int) -> int:
        count = self._number("<Q")
        if count > most:
            self._refuse(f"it claims to have {count:,} {what}")
        return count

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _take(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            self._refuse("it is cut short")
        self._position += count
        return data

    def _refuse(self, why: str) -> Never:
        raise CheckpointError(f"{self._path} is not a readable GGUF file: {why}")


def _loader(
    path: Path, tensor: _Tensor, shape: tuple[int, ...], planar: bool
) -> Callable[[], NDArray[np.float32]]:
    """Returns a function that reads a tensor's values from the file."""

    def load() -> NDArray[np.float32]:
        with path.open("rb") as file:
            file.seek(tensor.start)
            raw = file.read(tensor.nbytes)
        if len(raw) < tensor.nbytes:
            raise CheckpointError(f"{path} became shorter while it was read")
        return _decode(raw, tensor.kind, planar).reshape(shape)

    return load


def _decode(raw: bytes, kind: int, planar: bool) -> NDArray[np.float32]:
    if kind in _DTYPES:
        return np.frombuffer(raw, _DTYPES[kind]).astype(np.float32)
    blocks = len(raw) // 34
    if planar:
        codes = np.frombuffer(raw, np.int8, 32 * blocks).reshape(blocks, 32)
        scales = np.frombuffer(raw, "<f2", blocks, 32 * blocks)
    else:
        packed = np.frombuffer(raw, [("scale", "<f2"), ("codes", "i1", 32)])
        codes, scales = packed["codes"], packed["scale"]
    return codes * scales.astype(np.float32)[:, None]


# -- the content ---------------------------------------------------------------------------------


def _nemo_name(tensor: _Tensor) -> tuple[str | None, tuple[int, ...]]:
    """Returns a tensor's name and shape in NeMo; None for the name if NeMo has no such tensor."""
    name, shape = tensor.name, tensor.shape
    if name == "encoder.pos_enc.pe":
        return None, shape
    if name == "preprocessor.fb":
        return "preprocessor.featurizer.fb", (1, *shape)
    if match := _LSTM.fullmatch(name):
        lstm, part, layer, kind = match.groups()
        return f"{lstm}.{kind}_{part}_l{layer}", shape
    if _POINTWISE.fullmatch(name) and len(shape) == 2:
        return name, (*shape, 1)
    return name, shape


def _is_planar(name: str, values: Mapping[str, Any]) -> bool:
    key = "qkv_q8_layout" if _QKV.fullmatch(name) else "q8_layout"
    return name.startswith("encoder.") and values.get(f"asr.encoder.{key}") == _PLANAR


def _config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration with NeMo's keys."""

    def get(key: str) -> Any:
        return values[f"asr.{key}"]

    def optional(key: str, default: Any) -> Any:
        return values.get(f"asr.{key}", default)

    fixed = {"stft_center_window": True, "hann_periodic": False, "mask_invalid_frames": True}
    for key, needed in fixed.items():
        if (found := optional(f"preprocessor.{key}", needed)) != needed:
            raise ValueError(f"asr.preprocessor.{key} is {found}")
    kernel, context = get("encoder.conv_kernel_size"), get("encoder.conv_context")
    blank = get("rnnt.blank_id")
    if get("rnnt.vocab_size") != blank + 1:
        raise ValueError("the blank is not the last token")
    front_end = ("sample_rate", "normalize", "features", "n_fft", "window_size", "window_stride")
    prompts = _prompts(optional("rnnt.prompt_dictionary", []))
    return nemo_config(
        target="NeMo-Speech.cpp GGUF",
        preprocessor={key: get(f"preprocessor.{key}") for key in (*front_end, "preemph")},
        encoder={
            "feat_in": get("encoder.feat_in"),
            "n_layers": get("encoder.n_layers"),
            "n_heads": get("encoder.n_heads"),
            "use_bias": optional("encoder.use_bias", True),
            "subsampling_factor": get("encoder.subsampling_factor"),
            "subsampling_conv_channels": get("encoder.subsampling_conv_channels"),
            "att_context_style": get("encoder.att_context_style"),
            "xscaling": get("encoder.xscaling"),
            "conv_kernel_size": kernel,
            "conv_norm_type": get("encoder.conv_norm"),
            "conv_context_size": "causal" if context == f"[{kernel - 1}, 0]" else context,
        },
        width=get("encoder.d_model"),
        feed_forward=get("encoder.d_ff"),
        # Only the default is stored; the published lookaheads follow from its left context.
        contexts=[[get("encoder.train_left_ctx"), get("encoder.train_right_ctx")]],
        blank=blank,
        prednet={
            "pred_hidden": get("rnnt.pred_hidden"),
            "pred_rnn_layers": get("rnnt.pred_num_layers"),
        },
        jointnet={"joint_hidden": get("rnnt.joint_dim"), "activation": "relu"},
        max_symbols=optional("rnnt.max_symbols_per_step", MAX_SYMBOLS),
        prompts=prompts,
        num_prompts=get("rnnt.num_prompts") if prompts else 0,
    )


def _prompts(entries: list[str]) -> dict[str, int]:
    """Parses entries such as `en-US:0`; `False` is the `no` of a YAML 1.1 reader."""
    pairs = [entry.rpartition(":") for entry in entries]
    prompts = {key: int(value) for key, _colon, value in pairs}
    if "False" in prompts:
        prompts.setdefault("no", prompts.pop("False"))
    return prompts


def _vocabulary(values: Mapping[str, Any], path: Path) -> tuple[Pieces, bytes | None]:
    encoded, listed = (values.get(f"asr.tokenizer.{key}") for key in ("spm_model", "vocab"))
    try:
        if encoded:
            model = base64.b64decode(encoded, validate=True)
            return pieces_from_sentencepiece(model), model
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: its tokenizer is damaged: {error}") from error
    if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
        raise CheckpointError(f"{path} has no vocabulary (asr.tokenizer.vocab)")
    return pieces_from_texts(listed), None
