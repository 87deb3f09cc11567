"""Matrix products in integers, as the C++ kernels compute them."""

import numpy as np

from wheatear.convert.quantize import BLOCK


def fused(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c in float32, rounded once.

    The product is exact in float64; the sum is rounded to odd there, which makes the second
    rounding, to float32, come out as if it had been the only one.
    """
    product, c = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    total = product + c
    of_c = total - product
    lost = (product - (total - of_c)) + (c - of_c)
    even = total.view(np.int64) % 2 == 0
    towards = np.nextafter(total, np.copysign(np.inf, lost))
    return np.where((lost != 0) & even, towards, total).astype(np.float32)


def quantize_input(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantizes x [rows, inputs] to codes [rows, blocks, 32] and scales [rows, blocks]."""
    blocks = -(-x.shape[1] // BLOCK)
    padded = np.zeros((len(x), blocks * BLOCK), np.float32)
    padded[:, : x.shape[1]] = x
    padded = padded.reshape(len(x), blocks, BLOCK)
    most = np.abs(padded).max(-1)
    some = most > np.float32(1e-30)
    inverse = np.divide(np.float32(127), most, out=np.zeros_like(most), where=some)
    scales = np.where(some, most / np.float32(127), np.float32(0))
    return np.rint(padded * inverse[..., None]).astype(np.int64), scales


def product(codes: np.ndarray, scales: np.ndarray, bias: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Expected output of a linear layer: blocks summed exactly in integers, added in order."""
    outputs, blocks, width = codes.shape
    if width == BLOCK:
        weights = codes.astype(np.int64) - 128
    else:
        weights = np.stack([codes & 15, codes >> 4], -1).reshape(outputs, blocks, BLOCK)
        weights = weights.astype(np.int64) - 8
    activations, activation_scales = quantize_input(x)
    scales = scales.reshape(outputs, blocks)
    out = np.broadcast_to(bias, (len(x), outputs))
    for b in range(blocks):
        sums = (activations[:, b] @ weights[:, b].T).astype(np.float32)
        out = fused(sums, scales[:, b] * activation_scales[:, b, None], out)
    return out


def packed_of(native, codes: np.ndarray, scales: np.ndarray, inputs: int):
    """Packs a quantized weight for wheatear-native."""
    return native.Weight(codes, scales.astype(np.float16).reshape(-1), inputs)
