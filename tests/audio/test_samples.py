"""Samples that a program passes in."""

import numpy as np
import pytest

from wheatear.audio.samples import as_samples
from wheatear.errors import AudioError


def test_samples_are_converted_or_rejected():
    assert as_samples(np.array([-32768, 0, 32767], np.int16)).tolist() == [-1, 0, 32767 / 32768]
    assert as_samples([]).shape == (0,)
    assert as_samples(np.array([0.5])).dtype == np.float32
    with pytest.raises(AudioError, match=r"np\.frombuffer"):
        as_samples(b"\0\0")
    with pytest.raises(AudioError, match=r"reach 12345.*divided by 32768"):
        as_samples([0.0, 12345.0])
    with pytest.raises(AudioError):
        as_samples([[1.0], [1.0, 2.0]])
