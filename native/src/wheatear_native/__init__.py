"""Wheatear's networks in C++: what `wheatear` uses in place of onnxruntime where it is installed.

The library has a plain C interface (`cpp/api.h`), so one build serves every Python.
"""

import ctypes as c
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__version__ = "0.1.0"
_ABI = 3
_TILE = 16  # outputs that are computed together
_LARGEST = 2**31 - 1

Floats = NDArray[np.float32]
_ROOM = 200  # bytes of a message


class NativeError(ValueError):
    """The library cannot do what was asked."""


@dataclass(frozen=True)
class Weight:
    """A tensor as a bundle's graph has it, but for the scales' 16 bits.

    Of 32 bits a vector [n] or a matrix [inputs, outputs]; of 4 or 8 bits codes [outputs, blocks,
    32 * bits / 8] with their scales [outputs * blocks]. None stands for a tensor that a model
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
            raise NativeError("a tensor does not lie in memory row by row")
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
    """Whole numbers in 32 bits; ctypes would cut off what does not fit."""

    def __init__(self, *sizes: int) -> None:
        for size in sizes:
            if not isinstance(size, int) or not 0 <= size <= _LARGEST:
                raise NativeError(f"{str(size)[:40]} is no size of a model")
        super().__init__(*sizes)


class Shape(_Sizes):
    """The sizes of an encoder, as in `cpp/model.h`."""

    _fields_ = (
        *(("layers", c.c_int32), ("width", c.c_int32), ("heads", c.c_int32)),
        *(("kernel", c.c_int32), ("left", c.c_int32), ("longest_chunk", c.c_int32)),
        *(("bands", c.c_int32), ("channels", c.c_int32), ("feed_forward", c.c_int32)),
        *(("prompt", c.c_int32), ("joint", c.c_int32)),
    )


class DecoderShape(_Sizes):
    """The sizes of a predictor and a joint, as in `cpp/model.h`."""

    _fields_ = (
        *(("layers", c.c_int32), ("hidden", c.c_int32), ("joint", c.c_int32)),
        *(("outputs", c.c_int32), ("activation", c.c_int32)),
    )


ACTIVATIONS = ("Relu", "Tanh", "Sigmoid")
"""What a joint may have, in the order of `cpp/model.h`."""


class _Tensor(c.Structure):
    _fields_ = (
        *(("data", c.c_void_p), ("scales", c.c_void_p)),
        *(("bits", c.c_int32), ("inputs", c.c_int32), ("outputs", c.c_int32)),
    )


class _Stream(c.Structure):
    _fields_ = (
        *(("keys_values", c.c_void_p), ("conv", c.c_void_p), ("next_conv", c.c_void_p)),
        *(("mel", c.c_void_p), ("live1", c.c_void_p), ("live2", c.c_void_p)),
        *(("language", c.c_void_p), ("projected", c.c_void_p), ("encoded", c.c_void_p)),
        *(("hidden", c.c_void_p), ("start", c.c_int64), ("left", c.c_int32)),
    )


class _Batch(c.Structure):
    _fields_ = (
        ("streams", c.POINTER(_Stream)),
        *(("count", c.c_int32), ("frames", c.c_int32), ("chunk", c.c_int32)),
    )


class _Prediction(c.Structure):
    _fields_ = (
        *(("embedded", c.c_void_p), ("h", c.c_void_p), ("c", c.c_void_p)),
        *(("prediction", c.c_void_p), ("next_h", c.c_void_p), ("next_c", c.c_void_p)),
        ("rows", c.c_int32),
    )


class _Question(c.Structure):
    _fields_ = (
        *(("projected", c.c_void_p), ("prediction", c.c_void_p), ("logits", c.c_void_p)),
        ("rows", c.c_int32),
    )


@dataclass(frozen=True)
class Part:
    """One stream's part of a step; arrays are float32 and row by row, see `cpp/model.h`.

    `keys_values` is changed in place, `next_conv`, `projected`, `encoded` and `hidden` are filled.
    """

    keys_values: Floats
    conv: Floats
    next_conv: Floats
    mel: Floats
    live1: Floats
    live2: Floats
    language: Floats | None
    projected: Floats
    encoded: Floats
    hidden: Floats
    start: int
    left: int

    def as_struct(self) -> _Stream:
        arrays = (
            *(self.keys_values, self.conv, self.next_conv, self.mel, self.live1, self.live2),
            *(self.language, self.projected, self.encoded, self.hidden),
        )
        return _Stream(*map(_address, arrays), self.start, self.left)


class Encoder:
    """An encoder whose weights were repacked; safe to use from many threads."""

    def __init__(
        self, shape: Shape, weights: Sequence[Weight], threads: int, path: str = ""
    ) -> None:
        """`weights` in the order of `load` in `cpp/encoder.cpp`; they are copied.

        `path` is one of `paths()`, or empty for the fastest. Raises NativeError.
        """
        self._shape = shape
        self._handle = _opened(_library.wheatear_open, shape, weights, threads, path)

    def __del__(self) -> None:
        if handle := getattr(self, "_handle", None):
            _library.wheatear_close(handle)

    def step(self, parts: Sequence[Part], frames: int, chunk: int) -> None:
        """Encodes `frames` frames of each stream, in chunks of `chunk`. Raises NativeError."""
        for part in parts:
            self._check(part, frames)
        streams = (_Stream * len(parts))(*(part.as_struct() for part in parts))
        _call(_library.wheatear_step, self._handle, _Batch(streams, len(parts), frames, chunk))

    def _check(self, part: Part, frames: int) -> None:
        s = self._shape
        conv = (s.layers, s.kernel - 1, s.width)
        shapes = {
            "keys_values": (s.layers, 2, s.heads, s.left, s.width // s.heads),
            "conv": conv,
            "next_conv": conv,
            "mel": (8 * frames + 7, s.bands),
            "live1": (4 * frames + 3,),
            "live2": (2 * frames + 1,),
            "language": (s.prompt,),
            "projected": (frames, s.joint),
            "encoded": (frames, s.width),
            "hidden": (frames, s.width),
        }
        if not s.prompt:
            del shapes["language"]
        for name, shape in shapes.items():
            array = getattr(part, name)
            if array is None or array.shape != shape or array.dtype != np.float32:
                raise NativeError(f"{name} is not float32 of {shape}")
            if not array.flags.c_contiguous:
                raise NativeError(f"{name} does not lie in memory row by row")


class Decoder:
    """A predictor and a joint whose weights were repacked; safe to use from many threads."""

    def __init__(
        self, shape: DecoderShape, weights: Sequence[Weight], threads: int, path: str = ""
    ) -> None:
        """`weights` in the order of `load` in `cpp/decoder.cpp`; they are copied.

        `path` is one of `paths()`, or empty for the fastest. Raises NativeError.
        """
        self._shape = shape
        self._handle = _opened(_library.wheatear_open_decoder, shape, weights, threads, path)

    def __del__(self) -> None:
        if handle := getattr(self, "_handle", None):
            _library.wheatear_close_decoder(handle)

    def predict(self, embedded: Floats, h: Floats, cell: Floats) -> tuple[Floats, Floats, Floats]:
        """The prediction [rows, joint] and the LSTM's h and cell after one more token each.

        embedded: [rows, hidden]; h and cell: [layers, rows, hidden]. Raises NativeError.
        """
        s, rows = self._shape, len(embedded)
        embedded = _floats("the embedding", embedded, (rows, s.hidden))
        h, cell = (_floats("the state", state, (s.layers, rows, s.hidden)) for state in (h, cell))
        prediction = np.empty((rows, s.joint), np.float32)
        next_h, next_cell = np.empty_like(h), np.empty_like(cell)
        arrays = (embedded, h, cell, prediction, next_h, next_cell)
        _call(_library.wheatear_predict, self._handle, _Prediction(*map(_address, arrays), rows))
        return prediction, next_h, next_cell

    def logits(self, projected: Floats, prediction: Floats) -> Floats:
        """The joint's outputs [rows, outputs] for frames and predictions [rows, joint].

        Raises NativeError.
        """
        s, rows = self._shape, len(projected)
        projected = _floats("the frames", projected, (rows, s.joint))
        prediction = _floats("the predictions", prediction, (rows, s.joint))
        logits = np.empty((rows, -(-s.outputs // _TILE) * _TILE), np.float32)
        arrays = (projected, prediction, logits)
        _call(_library.wheatear_join, self._handle, _Question(*map(_address, arrays), rows))
        return logits[:, : s.outputs]


def paths() -> tuple[str, ...]:
    """The instruction sets that this machine can run the encoder with, the fastest first."""
    names = []
    while name := _library.wheatear_path(len(names)):
        names.append(name.decode())
    return tuple(names)


def product(
    weight: Weight,
    bias: Floats | None,
    x: Floats,
    path: str = "",
    threads: int = 1,
    repeats: int = 1,
) -> tuple[Floats, float]:
    """A linear layer by itself: x [rows, inputs] times the weight, plus the bias [outputs].

    Returns [rows, outputs] and the seconds that the fastest of `repeats` took. For tests and
    measurements. Raises NativeError.
    """
    tensor = weight.as_struct()
    x = np.ascontiguousarray(x, np.float32)
    if x.ndim != 2 or x.shape[1] != tensor.inputs or not len(x):
        raise NativeError(f"x is not [rows, {tensor.inputs}]")
    if bias is not None and (bias.shape != (tensor.outputs,) or bias.dtype != np.float32):
        raise NativeError(f"the bias is not float32 of {tensor.outputs}")
    out = np.empty((len(x), tensor.outputs), np.float32)
    seconds = _library.wheatear_product(
        *(tensor, _address(bias), _address(x), len(x), path.encode(), threads, repeats),
        _address(out),
    )
    if seconds < 0:
        raise NativeError(f"no such product, or no path {path!r} on this machine")
    return out, seconds


def _opened(
    function: Any, shape: c.Structure, weights: Sequence[Weight], threads: int, path: str
) -> Any:
    tensors = (_Tensor * len(weights))(*(weight.as_struct() for weight in weights))
    return _call(function, shape, tensors, len(weights), path.encode(), threads)


def _call(function: Any, *arguments: Any) -> Any:
    """What a function returns that puts the reason into a message where that is nothing."""
    error = c.create_string_buffer(_ROOM)
    if not (result := function(*arguments, error, _ROOM)):
        raise NativeError(error.value.decode())
    return result


def _floats(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> Floats:
    """The array row by row."""
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
    library.wheatear_path.restype = c.c_char_p
    library.wheatear_open.argtypes = [
        *(struct(Shape), struct(_Tensor), c.c_int32, c.c_char_p, c.c_int32, c.c_char_p, c.c_int32)
    ]
    library.wheatear_open.restype = c.c_void_p
    library.wheatear_close.argtypes = [c.c_void_p]
    library.wheatear_open_decoder.argtypes = [
        *(struct(DecoderShape), struct(_Tensor), c.c_int32, c.c_char_p, c.c_int32),
        *(c.c_char_p, c.c_int32),
    ]
    library.wheatear_open_decoder.restype = c.c_void_p
    library.wheatear_close_decoder.argtypes = [c.c_void_p]
    library.wheatear_predict.argtypes = [c.c_void_p, struct(_Prediction), c.c_char_p, c.c_int32]
    library.wheatear_join.argtypes = [c.c_void_p, struct(_Question), c.c_char_p, c.c_int32]
    library.wheatear_step.argtypes = [c.c_void_p, struct(_Batch), c.c_char_p, c.c_int32]
    library.wheatear_product.argtypes = [
        *(struct(_Tensor), c.c_void_p, c.c_void_p, c.c_int32, c.c_char_p, c.c_int32, c.c_int32),
        c.c_void_p,
    ]
    library.wheatear_product.restype = c.c_double
    return library


_library = _open()
