"""Mixing of channels, and channels that cancel."""

import io

import numpy as np
import pytest
import soundfile
import soxr
from audio_files import SPEECH, read, read_both_ways, read_reporting, tone
from hypothesis import given, settings
from hypothesis import strategies as st
from piped_audio import Dribble

from wheatear.audio.pcm import PcmDecoder, RawFormat


def opposite(rate=16000, share=1.0):
    sound = SPEECH if rate == 16000 else soxr.resample(SPEECH, 16000, rate)
    return np.stack([sound, -share * sound], axis=1)


@pytest.mark.parametrize("share", [1.0, 0.9])
def test_opposite_channels_give_one_of_them(share):
    out = io.BytesIO()
    soundfile.write(out, opposite(share=share), 16000, format="WAV")
    samples, reports = read_both_ways(out.getvalue())
    np.testing.assert_allclose(samples[8000:], SPEECH[8000:], atol=1e-4)
    assert len(reports) == 1
    assert "cancel each other" in reports[0]


def test_other_channels_are_averaged():
    rng = np.random.default_rng(0)
    for right in (
        SPEECH,
        0 * SPEECH,
        -0.3 * SPEECH,
        SPEECH[::-1],
        rng.uniform(-0.1, 0.1, len(SPEECH)),
    ):
        out = io.BytesIO()
        pair = np.stack([SPEECH, right], axis=1).astype(np.float32)
        soundfile.write(out, pair, 16000, format="WAV", subtype="FLOAT")
        samples, reports = read_both_ways(out.getvalue())
        np.testing.assert_array_equal(samples, pair.mean(axis=1, dtype=np.float32))
        assert reports == []


@settings(max_examples=6, deadline=None)
@given(
    sizes=st.lists(st.integers(50, 9000), min_size=1, max_size=4),
    rate=st.sampled_from([16000, 48000]),
)
def test_any_cut_gives_the_same_mix(sizes, rate):
    """In files and live, the choice depends only on the samples."""
    half = len(SPEECH) // 2
    pair = np.concatenate([np.stack([SPEECH[:half]] * 2, axis=1), opposite()[half:]])
    data = (pair * 32767).astype("<i2").tobytes()
    raw = RawFormat(rate, 2)
    pieces, _ = read_reporting(Dribble(data, sizes), raw=raw)
    np.testing.assert_array_equal(pieces, read_reporting(io.BytesIO(data), raw=raw)[0])
    whole, cut, at = PcmDecoder(rate, "s16", 2), PcmDecoder(rate, "s16", 2), 0
    parts = []
    while at < len(data):
        size = sizes[len(parts) % len(sizes)]
        parts.append(cut.push(data[at : at + size]))
        at += size
    expected = np.concatenate([whole.push(data), whole.finish()])
    np.testing.assert_array_equal(np.concatenate([*parts, cut.finish()]), expected)
    assert np.abs(expected[-16000:]).max() > 0.05


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "stereo.wav"
    right = tone(16000, seconds=2.0)[::2]  # an octave higher
    soundfile.write(path, np.stack([tone(16000), right], axis=1), 16000)
    np.testing.assert_allclose(read(path), (tone(16000) + right) / 2, atol=1e-4)
