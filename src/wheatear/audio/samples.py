"""Samples that a program passes in, checked and converted to float32."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wheatear.errors import AudioError

Samples = NDArray[np.float32]
"""Audio in -1 .. 1: [n] for one channel, [n, channels] for several."""
Block = tuple[Samples, int]
"""Samples [n, channels] and their rate in Hz."""
SamplesLike = NDArray[np.floating] | NDArray[np.int16] | Sequence[float]
"""Arguments of `as_samples`."""

LOUDEST = 100
"""Bound of float audio; unscaled integers exceed it."""


def as_samples(samples: SamplesLike) -> Samples:
    """Checks samples and converts them to float32.

    Args:
        samples: 16 kHz mono audio [n], as int16 or as floats in -1 .. 1.

    Returns:
        The samples as float32 [n]; the array itself if it is float32.

    Raises:
        AudioError: for any other shape or dtype, and for values that are not finite.
    """
    if isinstance(samples, bytes | bytearray | memoryview):
        raise AudioError("samples are bytes; for 16-bit PCM use np.frombuffer(data, np.int16)")
    try:
        array = np.asarray(samples)
    except ValueError as error:
        raise AudioError(f"samples do not make an array: {error}") from error
    if array.ndim != 1:
        raise AudioError(
            f"samples must be a one-dimensional array of 16 kHz mono audio, not of the shape "
            f"{list(array.shape)}"
        )
    if array.dtype == np.int16:
        return array.astype(np.float32) / np.float32(32768)
    if array.size == 0:
        return np.zeros(0, np.float32)
    if not np.issubdtype(array.dtype, np.floating):
        raise AudioError(f"samples must be float32 or int16, not {array.dtype}")
    array = array.astype(np.float32, copy=False)
    if not (largest := np.abs(array).max()) < LOUDEST:
        if np.isfinite(largest):
            raise AudioError(
                f"samples reach {largest:g}: floats lie in -1 .. 1; hand over 16-bit integers as "
                f"int16, or divided by 32768"
            )
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise AudioError(f"sample {at} is {array[at]}: samples must be finite numbers in -1 .. 1")
    return array
