"""Mel frames do not depend, in a single bit, on how the samples were cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheatear.audio.mel import MelSettings, MelSpectrogram, slaney_bank

SPECTROGRAM = MelSpectrogram(MelSettings())
NOISE = np.random.default_rng(1).standard_normal(9000).astype(np.float32) / 10


def mel_of(blocks):
    state = SPECTROGRAM.start()
    frames = [SPECTROGRAM.push(state, block) for block in blocks]
    return np.concatenate([*frames, SPECTROGRAM.finish(state)])


@given(
    samples=st.integers(0, len(NOISE)),
    cuts=st.lists(st.integers(0, len(NOISE)), max_size=12),
)
def test_any_cut_gives_the_same_bits(samples, cuts):
    signal = NOISE[:samples]
    whole = mel_of([signal])
    assert whole.shape == (samples // 160, 128)
    np.testing.assert_array_equal(mel_of(np.split(signal, sorted(cuts))), whole)


def test_single_samples_give_the_same_bits():
    signal = NOISE[:1500]
    np.testing.assert_array_equal(mel_of(signal[:, None]), mel_of([signal]))


def test_frames_are_returned_once_an_encoder_frame_needs_them():
    state = SPECTROGRAM.start()
    assert len(SPECTROGRAM.push(state, NOISE[:199])) == 0
    assert len(SPECTROGRAM.push(state, NOISE[199:200])) == 1  # frame 0 reaches to sample 199
    assert len(SPECTROGRAM.push(state, NOISE[200:1479])) == 0
    assert len(SPECTROGRAM.push(state, NOISE[1479:1480])) == 8


def test_silence_is_log_zero_and_loudness_adds_up():
    assert mel_of([np.zeros(1600, np.float32)]) == pytest.approx(np.log(2.0**-24))
    quiet, loud = (mel_of([scale * NOISE]) for scale in (1, 2))
    assert np.median(loud - quiet) == pytest.approx(np.log(4), abs=1e-4)


def test_tone_is_loudest_in_its_band():
    tone = np.sin(2 * np.pi * 1000 * np.arange(3200) / 16000).astype(np.float32)
    band = mel_of([tone])[10].argmax()
    edges = slaney_bank(MelSettings())[:, band].nonzero()[0] * 16000 / 512
    assert edges.min() <= 1000 <= edges.max()
