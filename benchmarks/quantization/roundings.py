"""Rounding methods for weights, which `benchmarks.quantization.study` compares.

| method | scale of a block | codes | needs |
|---|---|---|---|
| nearest | its largest magnitude is the largest code | nearest, symmetric | |
| search | that of `quantize`: five tried, least squared error | as tried, symmetric | |
| fine | twenty tried, least squared error | nearest, symmetric | |
| weighted | twenty tried, error weighted by the block's RMS + the weight's magnitude | as above | |
| k-quant | as weighted | nearest, with a zero point for each block | |
| activations | twenty tried, error weighted by the input's mean square | as above | inputs |
| gptq | as activations, after the correction of earlier inputs | GPTQ's, symmetric | inputs |

The weighting of k-quant follows ggml's k-quants. Its zero points are whole codes, as onnxruntime's
MatMulNBits requires. GPTQ (Frantar et al. 2022, arXiv 2210.17323) rounds input by input. Later
inputs compensate each error according to their correlation in the calibration data.
"""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wheatear.common.arrays import Floats
from wheatear.convert.quantize import quantize
from wheatear.errors import CheckpointError

CALIBRATED = ("activations", "gptq")
METHODS = ("nearest", "search", "fine", "weighted", "k-quant", *CALIBRATED)
BITS, BLOCKS = (4, 8), (32, 64, 128)
"""Bits and block sizes that MatMulNBits supports with 8-bit activations."""

# Position of a block's extreme relative to the last code; beyond 1 it is clipped.
_TRIED = np.arange(6.5, 11.5, 0.25, dtype=np.float32) / 8
_DAMPING = 0.01  # of the mean square of the inputs, as in GPTQ's paper
_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Rounding:
    """A method, the bits of a code and the weights of a block, in text `search-4-32`."""

    method: str
    bits: int
    block: int

    def __str__(self) -> str:
        return f"{self.method}-{self.bits}-{self.block}"

    @property
    def size(self) -> float:
        """Bytes of a weight: its code, and its share of a float32 scale and a zero point."""
        zero = self.bits / 8 if self.method == "k-quant" else 0
        return self.bits / 8 + (4 + zero) / self.block


def parse_rounding(text: str) -> Rounding:
    """Parses METHOD-BITS-BLOCK; raises CheckpointError that lists the choices."""
    match = re.fullmatch(r"([a-z-]+)-(\d+)-(\d+)", text)
    if match:
        found = Rounding(match[1], int(match[2]), int(match[3]))
        if found.method in METHODS and found.bits in BITS and found.block in BLOCKS:
            return found
    raise CheckpointError(
        f"{text!r} is no rounding; write METHOD-BITS-BLOCK with {', '.join(METHODS)}; "
        f"{' or '.join(map(str, BITS))}; {', '.join(map(str, BLOCKS))}"
    )


def round_weight(weight: Floats, rounding: Rounding, gram: Floats | None = None) -> Floats:
    """Rounds a weight [outputs, inputs] and returns its values after rounding.

    Args:
        weight: float32 [outputs, inputs].
        rounding: Method, bits and block.
        gram: Sums of products of inputs [inputs, inputs], for methods that need inputs.

    Raises:
        CheckpointError: The method needs inputs and there is no `gram`.
    """
    bits, block = rounding.bits, rounding.block
    if rounding.method == "search":
        return dequantize(*quantize(weight, bits, block), bits, weight.shape[1])
    if rounding.method in _WITHOUT_INPUTS:
        return _in_blocks(weight, block, partial(_WITHOUT_INPUTS[rounding.method], bits=bits))
    if gram is None:
        raise CheckpointError(f"{rounding} is for layers, with recordings to calibrate by")
    if rounding.method == "gptq":
        return _gptq(weight, bits, block, gram)
    squares = _blocks(np.diagonal(_damped(gram))[None].astype(np.float32), block)
    return _in_blocks(weight, block, lambda rows: _fine(rows, bits, squares))


def dequantize(codes: NDArray[np.uint8], scales: Floats, bits: int, inputs: int) -> Floats:
    """Returns the weight [outputs, inputs] for codes and scales of `quantize`."""
    if bits == 4:
        both = np.stack([codes & 15, codes >> 4], axis=-1)
        codes = both.reshape(*codes.shape[:2], -1).astype(np.uint8)
    values = (codes.astype(np.float32) - (1 << bits - 1)) * scales[..., None]
    return values.reshape(len(codes), -1)[:, :inputs]


def _blocks(weight: Floats, block: int) -> Floats:
    """Reshapes a weight to [outputs, blocks, block], padded with zeros."""
    padded = np.pad(weight, ((0, 0), (0, -weight.shape[1] % block)))
    return padded.reshape(len(weight), -1, block)


def _in_blocks(weight: Floats, block: int, method: Callable[[Floats], Floats]) -> Floats:
    """Applies a method for rows [n, blocks, block] to a whole weight."""
    grouped = _blocks(weight, block)
    starts = range(0, len(grouped), _ROWS_AT_ONCE)
    with ThreadPoolExecutor() as pool:
        rows = list(pool.map(lambda start: method(grouped[start : start + _ROWS_AT_ONCE]), starts))
    return np.concatenate(rows).reshape(len(weight), -1)[:, : weight.shape[1]]


def _nearest(rows: Floats, bits: int) -> Floats:
    return _to_codes(rows, np.abs(rows).max(-1) / np.float32((1 << bits - 1) - 1), bits)


def _to_codes(rows: Floats, scale: Floats, bits: int) -> Floats:
    """Returns the nearest values [..., n] of symmetric codes with a scale [...]."""
    top = 1 << bits - 1
    codes = np.clip(np.rint(_divide(rows, scale[..., None])), -top, top - 1)
    return codes * scale[..., None]


def _fine(rows: Floats, bits: int, importance: Floats | None = None) -> Floats:
    importance = np.ones_like(rows) if importance is None else importance
    return _to_codes(rows, _scale(rows, bits, importance), bits)


def _weighted(rows: Floats, bits: int) -> Floats:
    return _fine(rows, bits, _importance(rows))


def _scale(rows: Floats, bits: int, importance: Floats) -> Floats:
    """Returns the scale [...] of least weighted error for rows [..., n].

    Each scale that is tried is replaced by the weighted least-squares scale of its codes.
    """
    top = 1 << bits - 1
    extreme = np.take_along_axis(rows, np.abs(rows).argmax(-1)[..., None], -1)
    best = np.zeros(rows.shape[:-1], np.float32)
    best_gain = np.zeros(rows.shape[:-1], np.float32)
    weighted = rows * importance
    for reach in _TRIED * np.float32(top):
        codes = np.clip(np.rint(_divide(rows, extreme / -reach)), -top, top - 1)
        along, square = (weighted * codes).sum(-1), (importance * codes * codes).sum(-1)
        scale = _divide(along, square)
        gain = scale * along  # reduction of the error compared with all zeros
        best = np.where(gain > best_gain, scale, best)
        best_gain = np.maximum(gain, best_gain)
    return best


def _importance(rows: Floats) -> Floats:
    return np.sqrt((rows * rows).mean(-1, keepdims=True)) + np.abs(rows)


def _asymmetric(rows: Floats, bits: int) -> Floats:
    """Searches a scale for codes 0 .. 2^bits - 1 with a zero point that is itself a code."""
    importance, top = _importance(rows), (1 << bits) - 1
    least, most = np.minimum(rows.min(-1), 0)[..., None], np.maximum(rows.max(-1), 0)[..., None]
    best, best_zero, best_gain = (np.zeros_like(least) for _ in range(3))
    weighted = rows * importance

    def codes(scale: Floats, zero: Floats) -> Floats:
        return np.clip(np.rint(_divide(rows, scale)) + zero, 0, top) - zero

    for share in _TRIED:
        tried = (most - least) / (top * share)
        zero = np.clip(np.rint(_divide(-least, tried)), 0, top)
        found = codes(tried, zero)
        along = (weighted * found).sum(-1, keepdims=True)
        scale = _divide(along, (importance * found * found).sum(-1, keepdims=True))
        gain = scale * along
        better = gain > best_gain
        best, best_zero = np.where(better, scale, best), np.where(better, zero, best_zero)
        best_gain = np.maximum(gain, best_gain)
    return codes(best, best_zero) * best


_WITHOUT_INPUTS = {
    "nearest": _nearest,
    "fine": _fine,
    "weighted": _weighted,
    "k-quant": _asymmetric,
}


def _gptq(weight: Floats, bits: int, block: int, gram: Floats) -> Floats:
    """GPTQ, or rounding to nearest for outputs where that has less error on the calibration."""
    damped = _damped(gram)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T.astype(np.float32)
    squares = np.diagonal(damped).astype(np.float32)
    left, result = weight.copy(), np.empty_like(weight)
    inputs = weight.shape[1]
    for start in range(0, inputs, block):
        stop = min(start + block, inputs)
        part, errors = left[:, start:stop], np.empty_like(left[:, start:stop])
        scale = _scale(part, bits, squares[start:stop])
        for i, at in enumerate(range(start, stop)):
            result[:, at] = _to_codes(part[:, i : i + 1], scale, bits)[:, 0]
            errors[:, i] = (part[:, i] - result[:, at]) / upper[at, at]
            part[:, i + 1 :] -= errors[:, i : i + 1] * upper[at, at + 1 : stop]
        left[:, stop:] -= errors @ upper[start:stop, stop:]
    nearest = round_weight(weight, Rounding("nearest", bits, block))
    better = output_error(weight, result, gram) <= output_error(weight, nearest, gram)
    return np.where(better[:, None], result, nearest)


def output_error(weight: Floats, rounded: Floats, gram: Floats) -> Floats:
    """Returns the squared error of each output [outputs], summed over the inputs of `gram`."""
    difference = weight - rounded
    return ((difference @ gram) * difference).sum(-1)


def _damped(gram: Floats) -> NDArray[np.float64]:
    """Adds a small multiple of the identity, which makes the matrix invertible."""
    little = _DAMPING * float(np.diagonal(gram).mean(dtype=np.float64)) or 1.0
    return gram + little * np.eye(len(gram))


def _divide(x: Floats, y: Floats) -> Floats:
    """Returns x / y, or 0 where y is too small to divide by."""
    shape = np.broadcast_shapes(x.shape, y.shape)
    return np.divide(
        x, y, out=np.zeros(shape, np.float32), where=np.abs(y) >= np.finfo(np.float32).tiny
    )
