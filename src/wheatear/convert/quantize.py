"""Quantizes weights to 8 or 4 bits in the layout of onnxruntime's MatMulNBits; shipped recipes.

Blocks of 32 weights of one output share a scale that float16 can hold. Values are symmetric around
zero. The operator quantizes activations to 8 bits with a scale for each row and block (accuracy
level 4). One scale for the whole tensor would make a stream depend on the rest of its batch. With
blocks of 32 a row has the same result in any batch; with 128 it does not.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wheatear.errors import CheckpointError

BLOCK = 32
_TOO_LARGE = 1e5  # for a float16 scale, with a margin; weights of models are below 100
_ROWS_AT_ONCE = 64  # of 1024 .. 4096 weights: the working set stays in a core's cache


@dataclass(frozen=True)
class QuantizationRecipe:
    """Bits of the weights of each kind of product; 32 means float32.

    Every recipe keeps the prompt kernel in float32. A language changes its activations by less
    than a percent, so that coarser weights make the model ignore the prompt.
    """

    layers: int = 32
    """Bits of the encoder layers except the last: feed-forward, attention, convolution."""
    last: int = 32
    """Bits of the last layer, whose errors no later layer reduces (docs/quantization.md)."""
    ends: int = 32
    """Bits of the subsampling's output, encoder projection, predictor and joint output."""


RECIPES = {
    "fp32": QuantizationRecipe(),
    "int8": QuantizationRecipe(layers=8, last=8, ends=8),
    "int4": QuantizationRecipe(layers=4, last=8, ends=8),
}


def quantize(
    weight: NDArray[np.float32], bits: int, block: int = BLOCK
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Packs a weight as codes and scales.

    Args:
        weight: float32 [outputs, inputs].
        bits: 8 or 4.
        block: Inputs that share a scale; the last block is padded with zeros.

    Returns:
        Codes uint8 [outputs, blocks, block * bits / 8] and scales float32 [outputs, blocks]. A
        weight is (code - 2^(bits-1)) * scale. Scales are exact in float16, as wheatear-native
        stores them.

    Raises:
        CheckpointError: A weight is not finite, or too large for a scale.
    """
    outputs, inputs = weight.shape
    if not np.all(np.abs(weight) < _TOO_LARGE):
        raise CheckpointError(f"a weight is {_TOO_LARGE:g} or more, or not finite: no scale fits")
    blocks = -(-inputs // block)
    padded = weight
    if blocks * block != inputs:
        padded = np.zeros((outputs, blocks * block), np.float32)
        padded[:, :inputs] = weight
    grouped = padded.reshape(outputs, blocks, block)
    codes = np.empty((outputs, blocks, block * bits // 8), np.uint8)
    scales = np.empty((outputs, blocks), np.float32)
    quantize_rows = _quantize_4 if bits == 4 else _quantize_8

    def work(start: int) -> None:
        rows = slice(start, start + _ROWS_AT_ONCE)
        codes[rows], scales[rows] = quantize_rows(grouped[rows])

    with ThreadPoolExecutor() as pool:
        list(pool.map(work, range(0, outputs, _ROWS_AT_ONCE)))
    return codes, scales


def _quantize_8(
    weight: NDArray[np.float32],
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    scale = _half(np.abs(weight).max(-1) / 127)
    codes = np.rint(weight * _inverse(scale)[..., None])
    return (np.clip(codes, -128, 127) + 128).astype(np.uint8), scale


def _quantize_4(
    weight: NDArray[np.float32],
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Searches each block's scale for the least squared error.

    The scale that gives the largest weight the code -8 uses all sixteen codes. A few scales around
    it are tried. Each is replaced by the least-squares scale of the codes that it leads to, and
    the best one is kept.
    """
    extreme = np.take_along_axis(weight, np.abs(weight).argmax(-1)[..., None], -1)[..., 0]
    best_error = np.full(extreme.shape, np.inf, np.float32)
    best_scale = np.zeros_like(extreme)
    best_codes = np.zeros_like(weight)
    for reach in (8.6, 8.0, 7.5, 7.0, 6.5):
        codes = np.rint(weight * _inverse(extreme / -reach)[..., None])
        np.clip(codes, -8, 7, out=codes)
        scale = _half(
            np.einsum("rbi,rbi->rb", weight, codes)
            * _inverse(np.einsum("rbi,rbi->rb", codes, codes))
        )
        residual = weight - codes * scale[..., None]
        error = np.einsum("rbi,rbi->rb", residual, residual)
        better = error < best_error
        best_error = np.where(better, error, best_error)
        best_scale = np.where(better, scale, best_scale)
        best_codes = np.where(better[..., None], codes, best_codes)
    unsigned = (best_codes + 8).astype(np.uint8)
    packed = unsigned[..., 0::2] | (unsigned[..., 1::2] << 4)
    return packed.astype(np.uint8, copy=False), best_scale


def _half(scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounds to the nearest float16."""
    return scale.astype(np.float16).astype(np.float32)


def _inverse(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns 1 / x, or 0 where that overflows float32."""
    return np.divide(1, x, out=np.zeros_like(x), where=np.abs(x) >= np.finfo(np.float32).tiny)
