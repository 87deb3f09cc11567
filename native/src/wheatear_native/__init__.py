"""Wheatear's networks in C++, which `wheatear` uses instead of onnxruntime if installed.

The library has a plain C interface (`cpp/api.h`), so that one build works with every Python.
"""

import ctypes as c
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__version__ = "0.1.0"
_ABI = 4
_TILE = 16  # outputs of a tile
_LARGEST = 2**31 - 1

Floats = NDArray[np.float32]
_ERROR_SIZE = 200  # bytes of an error message


class NativeError(ValueError):
    """Invalid arguments of the library."""


@dataclass(frozen=True)
class Weight:
    """A tensor in the layout of a bundle's graph, with scales in float16.

    With 32 bits it is a vector [n] or a matrix [inputs, outputs]. With 4 or 8 bits it has codes
    [outputs, blocks, 32 * bits / 8] and scales [outputs * blocks]. None is a tensor that the model
    does not have.
    """

    data: NDArray[Any] | None
    scales: NDArray[np.float16] | None = None
    inputs: int = 1

    def as_struct(self) -> "_Tensor":
        if self.data is None:
            return _Tensor(None, None, 32, 1, 0)
        if max(self.data.size, self.inputs) > _LARGEST:
            raise NativeError(f"a tensor has {self.data.size:,} values")
        arrays = (self.data,) if self.scales is None else (self.data, self.scales)
        if not all(array.flags.c_contiguous and array.flags.aligned for array in arrays):
            raise NativeError("a tensor is not contiguous and aligned")
        if not self.data.size:
            raise NativeError("a tensor is empty")
        if self.scales is None:
            if self.data.dtype != np.float32:
                raise NativeError(f"a tensor without scales is of {self.data.dtype}, not float32")
            if self.data.ndim not in (1, 2):
                raise NativeError(f"a tensor has {self.data.ndim} axes, not one or two")
            inputs, outputs = self.data.shape if self.data.ndim == 2 else (1, self.data.size)
            return _Tensor(_address(self.data), None, 32, inputs, outputs)
        if self.data.ndim != 3:
            raise NativeError(f"codes have {self.data.ndim} axes, not three")
        outputs, blocks, width = self.data.shape
        fits = self.data.dtype == np.uint8 and width in (16, 32) and blocks == -(-self.inputs // 32)
        if not fits or self.scales.dtype != np.float16 or self.scales.size != outputs * blocks:
            raise NativeError("codes and scales are not those of blocks of 32 of 4 or 8 bits")
        if not np.isfinite(self.scales).all():
            raise NativeError("a scale is not finite, or larger than 16 bits hold")
        addresses = _address(self.data), _address(self.scales)
        return _Tensor(*addresses, width // 4, self.inputs, outputs)


class _Sizes(c.Structure):
    """Whole numbers in 32 bits; ctypes would truncate larger ones."""

    def __init__(self, *sizes: int) -> None:
        for size in sizes:
            if not isinstance(size, int) or not 0 <= size <= _LARGEST:
                raise NativeError(f"{str(size)[:40]} is no size of a model")
        super().__init__(*sizes)


class EncoderShape(_Sizes):
    """Sizes of an encoder, as in `cpp/model.h`."""

    _fields_ = (
        *(("layers", c.c_int32), ("width", c.c_int32), ("heads", c.c_int32)),
        *(("kernel", c.c_int32), ("left", c.c_int32), ("longest_chunk", c.c_int32)),
        *(("bands", c.c_int32), ("channels", c.c_int32), ("feed_forward", c.c_int32)),
        *(("prompt", c.c_int32), ("joint", c.c_int32)),
    )


class DecoderShape(_Sizes):
    """Sizes of a predictor and a joint, as in `cpp/model.h`."""

    _fields_ = (
        *(("layers", c.c_int32), ("hidden", c.c_int32), ("joint", c.c_int32)),
        *(("outputs", c.c_int32), ("activation", c.c_int32)),
    )


ACTIVATIONS = ("Relu", "Tanh", "Sigmoid")
"""Activations of a joint, in the order of `cpp/model.h`."""


class _Tensor(c.Structure):
    _fields_ = (
        *(("data", c.c_void_p), ("scales", c.c_void_p)),
        *(("bits", c.c_int32), ("inputs", c.c_int32), ("outputs", c.c_int32)),
    )


class _Stream(c.Structure):
    _fields_ = (
        *(("keys_values", c.c_void_p), ("conv", c.c_void_p), ("next_conv", c.c_void_p)),
        *(("mel", c.c_void_p), ("valid1", c.c_void_p), ("valid2", c.c_void_p)),
        *(("language", c.c_void_p), ("joint_input", c.c_void_p), ("encoder_out", c.c_void_p)),
        *(("before_prompt", c.c_void_p), ("start", c.c_int64), ("left", c.c_int32)),
    )


class _Batch(c.Structure):
    _fields_ = (
        ("streams", c.POINTER(_Stream)),
        *(("count", c.c_int32), ("frames", c.c_int32), ("chunk", c.c_int32)),
    )


class _PredictorRun(c.Structure):
    _fields_ = (
        *(("embedded", c.c_void_p), ("h", c.c_void_p), ("c", c.c_void_p)),
        *(("prediction", c.c_void_p), ("next_h", c.c_void_p), ("next_c", c.c_void_p)),
        ("rows", c.c_int32),
    )


class _JointRun(c.Structure):
    _fields_ = (
        *(("joint_input", c.c_void_p), ("prediction", c.c_void_p), ("logits", c.c_void_p)),
        ("rows", c.c_int32),
    )


@dataclass(frozen=True)
class StreamBuffers:
    """Arrays of one stream for a step: contiguous float32, with the shapes of `cpp/model.h`.

    A step changes `keys_values` and fills `next_conv`, `joint_input`, `encoder_out` and
    `before_prompt`.
    """

    keys_values: Floats
    conv: Floats
    next_conv: Floats
    mel: Floats
    valid1: Floats
    valid2: Floats
    language: Floats | None
    joint_input: Floats
    encoder_out: Floats
    before_prompt: Floats
    start: int
    left: int

    def as_struct(self) -> _Stream:
        arrays = (
            *(self.keys_values, self.conv, self.next_conv, self.mel, self.valid1, self.valid2),
            *(self.language, self.joint_input, self.encoder_out, self.before_prompt),
        )
        return _Stream(*map(_address, arrays), self.start, self.left)


class Encoder:
    """An encoder with repacked weights; safe to use from many threads."""

    def __init__(
        self, shape: EncoderShape, weights: Sequence[Weight], threads: int, isa: str = ""
    ) -> None:
        """Copies `weights`, which have the order of `load` in `cpp/encoder.cpp`.

        `isa` is one of `instruction_sets()`, or empty for the fastest. Raises NativeError.
        """
        self._shape = shape
        self._handle = _opened(_library.wheatear_open, shape, weights, threads, isa)
        weakref.finalize(self, _library.wheatear_close, self._handle).atexit = False

    def step(self, streams: Sequence[StreamBuffers], frames: int, chunk: int) -> None:
        """Encodes `frames` frames of each stream, in chunks of `chunk`. Raises NativeError."""
        for stream in streams:
            self._check_shapes(stream, frames)
        structs = (_Stream * len(streams))(*(stream.as_struct() for stream in streams))
        _call(_library.wheatear_step, self._handle, _Batch(structs, len(streams), frames, chunk))

    def _check_shapes(self, stream: StreamBuffers, frames: int) -> None:
        s = self._shape
        conv = (s.layers, s.kernel - 1, s.width)
        shapes = {
            "keys_values": (s.layers, 2, s.heads, s.left, s.width // s.heads),
            "conv": conv,
            "next_conv": conv,
            "mel": (8 * frames + 7, s.bands),
            "valid1": (4 * frames + 3,),
            "valid2": (2 * frames + 1,),
            "language": (s.prompt,),
            "joint_input": (frames, s.joint),
            "encoder_out": (frames, s.width),
            "before_prompt": (frames, s.width),
        }
        if not s.prompt:
            del shapes["language"]
        for name, shape in shapes.items():
            array = getattr(stream, name)
            if array is None or array.shape != shape or array.dtype != np.float32:
                raise NativeError(f"{name} is not float32 of {shape}")
            if not array.flags.c_contiguous:
                raise NativeError(f"{name} is not contiguous")


class Decoder:
    """A predictor and a joint with repacked weights; safe to use from many threads."""

    def __init__(
        self, shape: DecoderShape, weights: Sequence[Weight], threads: int, isa: str = ""
    ) -> None:
        """Copies `weights`, which have the order of `load` in `cpp/decoder.cpp`.

        `isa` is one of `instruction_sets()`, or empty for the fastest. Raises NativeError.
        """
        self._shape = shape
        self._handle = _opened(_library.wheatear_open_decoder, shape, weights, threads, isa)
        weakref.finalize(self, _library.wheatear_close_decoder, self._handle).atexit = False

    def predict(self, embedded: Floats, h: Floats, cell: Floats) -> tuple[Floats, Floats, Floats]:
        """Computes one token for each row. Raises NativeError.

        Args:
            embedded: Embeddings of the tokens, float32 [rows, hidden].
            h: Hidden state of the LSTM, float32 [layers, rows, hidden].
            cell: Cell state of the same shape.

        Returns:
            The predictions [rows, joint], and the next h and cell.
        """
        s, rows = self._shape, len(embedded)
        embedded = _floats("the embedding", embedded, (rows, s.hidden))
        h, cell = (_floats("the state", state, (s.layers, rows, s.hidden)) for state in (h, cell))
        prediction = np.empty((rows, s.joint), np.float32)
        next_h, next_cell = np.empty_like(h), np.empty_like(cell)
        arrays = (embedded, h, cell, prediction, next_h, next_cell)
        _call(_library.wheatear_predict, self._handle, _PredictorRun(*map(_address, arrays), rows))
        return prediction, next_h, next_cell

    def logits(self, joint_input: Floats, prediction: Floats) -> Floats:
        """Returns the joint's outputs [rows, outputs] for frames and predictions [rows, joint].

        Raises NativeError.
        """
        s, rows = self._shape, len(joint_input)
        joint_input = _floats("the frames", joint_input, (rows, s.joint))
        prediction = _floats("the predictions", prediction, (rows, s.joint))
        logits = np.empty((rows, -(-s.outputs // _TILE) * _TILE), np.float32)
        arrays = (joint_input, prediction, logits)
        _call(_library.wheatear_join, self._handle, _JointRun(*map(_address, arrays), rows))
        return logits[:, : s.outputs]


def instruction_sets() -> tuple[str, ...]:
    """Returns the instruction sets that this machine supports, fastest first."""
    names = []
    while name := _library.wheatear_instruction_set(len(names)):
        names.append(name.decode())
    return tuple(names)


def linear(
    weight: Weight,
    bias: Floats | None,
    x: Floats,
    isa: str = "",
    threads: int = 1,
    repeats: int = 1,
) -> tuple[Floats, float]:
    """Computes one linear layer, x [rows, inputs] times the weight plus the bias [outputs].

    Returns [rows, outputs] and the seconds of the fastest of `repeats` repetitions. For tests and
    measurements. Raises NativeError.
    """
    tensor = weight.as_struct()
    x = np.ascontiguousarray(x, np.float32)
    if x.ndim != 2 or x.shape[1] != tensor.inputs or not len(x):
        raise NativeError(f"x is not [rows, {tensor.inputs}]")
    if bias is not None and (bias.shape != (tensor.outputs,) or bias.dtype != np.float32):
        raise NativeError(f"the bias is not float32 of {tensor.outputs}")
    out = np.empty((len(x), tensor.outputs), np.float32)
    seconds = _library.wheatear_linear(
        *(tensor, _address(bias), _address(x), len(x), isa.encode(), threads, repeats),
        _address(out),
    )
    if seconds < 0:
        raise NativeError(f"invalid arguments, or no instruction set {isa!r} on this machine")
    return out, seconds


def _opened(
    function: Any, shape: c.Structure, weights: Sequence[Weight], threads: int, isa: str
) -> Any:
    tensors = (_Tensor * len(weights))(*(weight.as_struct() for weight in weights))
    return _call(function, shape, tensors, len(weights), isa.encode(), threads)


def _call(function: Any, *arguments: Any) -> Any:
    """Calls a function of the library; raises NativeError with its message if it returns 0."""
    error = c.create_string_buffer(_ERROR_SIZE)
    if not (result := function(*arguments, error, _ERROR_SIZE)):
        raise NativeError(error.value.decode())
    return result


def _floats(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> Floats:
    """Returns a contiguous array; raises NativeError for another shape or type."""
    if array.shape != shape or array.dtype != np.float32:
        raise NativeError(f"{name} is not float32 of {shape}")
    return np.ascontiguousarray(array)


def _address(array: NDArray[Any] | None) -> int | None:
    return None if array is None else array.ctypes.data


def _open() -> c.CDLL:
    path = Path(__file__).with_name("libwheatear.so")
    library = c.CDLL(str(path))
    if (found := library.wheatear_abi()) != _ABI:
        raise ImportError(
            f"{path} has interface {found}, not {_ABI}; install wheatear-native again"
        )
    struct = c.POINTER
    library.wheatear_instruction_set.restype = c.c_char_p
    library.wheatear_open.argtypes = [
        *(
            struct(EncoderShape),
            struct(_Tensor),
            c.c_int32,
            c.c_char_p,
            c.c_int32,
            c.c_char_p,
            c.c_int32,
        )
    ]
    library.wheatear_open.restype = c.c_void_p
    library.wheatear_close.argtypes = [c.c_void_p]
    library.wheatear_open_decoder.argtypes = [
        *(struct(DecoderShape), struct(_Tensor), c.c_int32, c.c_char_p, c.c_int32),
        *(c.c_char_p, c.c_int32),
    ]
    library.wheatear_open_decoder.restype = c.c_void_p
    library.wheatear_close_decoder.argtypes = [c.c_void_p]
    library.wheatear_predict.argtypes = [c.c_void_p, struct(_PredictorRun), c.c_char_p, c.c_int32]
    library.wheatear_join.argtypes = [c.c_void_p, struct(_JointRun), c.c_char_p, c.c_int32]
    library.wheatear_step.argtypes = [c.c_void_p, struct(_Batch), c.c_char_p, c.c_int32]
    library.wheatear_linear.argtypes = [
        *(struct(_Tensor), c.c_void_p, c.c_void_p, c.c_int32, c.c_char_p, c.c_int32, c.c_int32),
        c.c_void_p,
    ]
    library.wheatear_linear.restype = c.c_double
    return library


_library = _open()
