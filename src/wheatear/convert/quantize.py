"""Weights to 8 or 4 bits, in the layout of onnxruntime's MatMulNBits, and the recipes we ship.

Blocks of 32 weights of one output share a scale, which 16 bits can hold; values are symmetric
around zero. Activations are quantised by the operator to 8 bits, a scale for each row and block
(accuracy level 4): what a stream computes must not depend on its neighbours in a batch, so a scale
for the whole tensor is out of the question. With blocks of 32 a row's result has the same bits
among any number of rows (with 128 it has not).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wheatear.errors import CheckpointError

BLOCK = 32
_TOO_LARGE = 1e5  # for a scale of 16 bits, with room; those of models are below 100
_ROWS_AT_ONCE = 64  # of 1024 .. 4096 weights: the working set stays in a core's cache


@dataclass(frozen=True)
class QuantizationRecipe:
    """Bits of each kind of product; 32 is left in float.

    The prompt kernel stays in float in every recipe: a language changes its activations by less
    than a percent, and coarser weights make the model deaf to it.
    """

    layers: int = 32
    """Feed-forward, attention and pointwise convolutions of the encoder layers but the last."""
    last: int = 32
    """Those of the last layer, whose errors no later layer evens out (docs/quantization.md)."""
    ends: int = 32
    """Output of the subsampling, encoder projection, predictor and output of the joint."""


RECIPES = {
    "fp32": QuantizationRecipe(),
    "int8": QuantizationRecipe(layers=8, last=8, ends=8),
    "int4": QuantizationRecipe(layers=4, last=8, ends=8),
}


def quantize(
    weight: NDArray[np.float32], bits: int, block: int = BLOCK
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A weight [outputs, inputs] as packed codes and scales.

    Returns codes uint8 [outputs, blocks, block * bits / 8] and scales float32 [outputs, blocks],
    each of them a number that float16 has too, as wheatear-native reads them; a weight is
    (code - 2^(bits-1)) * scale. Inputs are padded with zeros to whole blocks. Raises
    CheckpointError for weights that are not finite, or so large that no scale is.
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

    The weight of largest magnitude takes the code -8, so that all sixteen codes are in use; a few
    scales around that one are tried, each replaced by the best one for the codes it leads to
    (least squares), and the block keeps the winner.
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
    """The nearest that float16 has."""
    return scale.astype(np.float16).astype(np.float32)


def _inverse(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / x, and 0 where that is more than a float32 holds."""
    return np.divide(1, x, out=np.zeros_like(x), where=np.abs(x) >= np.finfo(np.float32).tiny)
