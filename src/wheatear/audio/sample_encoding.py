"""Encodings of samples as bytes: integers, floats and the two laws of G.711."""

import numpy as np
from numpy.typing import NDArray

from wheatear.audio.samples import Samples


def _mulaw() -> Samples:
    """Returns the values of the 256 codes of mu-law, as 16-bit expanders scale them."""
    code = ~np.arange(256) & 0xFF  # bits are sent inverted
    exponent, mantissa = code >> 4 & 7, code & 15
    size = ((mantissa << 3) + 132 << exponent) - 132
    return (np.where(code & 0x80, -size, size) / 32768).astype(np.float32)


def _alaw() -> Samples:
    """Returns the values of the 256 codes of A-law; every other bit is sent inverted."""
    code = np.arange(256) ^ 0x55
    exponent, mantissa = code >> 4 & 7, code & 15
    size = (mantissa << 4) + np.where(exponent, 264, 8) << np.maximum(exponent - 1, 0)
    return (np.where(code & 0x80, size, -size) / 32768).astype(np.float32)


_DTYPES = {
    "s16": np.dtype("<i2"),
    "s16be": np.dtype(">i2"),
    "f32": np.dtype("<f4"),
    "mulaw": np.dtype(np.uint8),
    "alaw": np.dtype(np.uint8),
    "u8": np.dtype(np.uint8),
    "s24": np.dtype("V3"),
    "s32": np.dtype("<i4"),
    "f64": np.dtype("<f8"),
}
_G711 = {"mulaw": _mulaw(), "alaw": _alaw()}
_SCALES = {"s16": 32768, "s16be": 32768, "s32": 1 << 31}


def size_of(encoding: str) -> int:
    """Bytes of one value."""
    return _DTYPES[encoding].itemsize


def decode_samples(data: bytes, encoding: str) -> Samples:
    """Decodes whole values to floats in -1 .. 1 [n]."""
    if encoding == "s24":
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0].astype(np.float32) / np.float32(1 << 31)
    values: NDArray[np.generic] = np.frombuffer(data, _DTYPES[encoding])
    if encoding in _G711:
        return _G711[encoding][values]
    samples = values.astype(np.float32)
    if encoding == "u8":
        return (samples - np.float32(128)) / np.float32(128)
    scale = _SCALES.get(encoding)
    return samples if scale is None else samples / np.float32(scale)
