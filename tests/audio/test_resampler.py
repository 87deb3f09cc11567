"""Resampling to 16 kHz, live and of files."""

from math import ceil

import numpy as np
import pytest
import soundfile
import soxr
from audio_files import read, tone

from wheatear.audio.pcm import PcmDecoder
from wheatear.audio.reader import sample_speech
from wheatear.audio.resampler import LiveResampler
from wheatear.errors import AudioError


def resampled(signal, rate):
    pcm = PcmDecoder(rate, "f32")
    return np.concatenate([pcm.push(signal.astype("<f4").tobytes()), pcm.finish()])


def sine(hertz, rate, seconds=1.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [24000, 44100, 48000, 32000, 22050, 47999])
def test_pass_band_is_flat(rate):
    """Ripple below 0.1 dB and no shift in time, up to 6.8 kHz."""
    for hertz in (0, 50, 300, 1000, 3400, 5000, 6000, 6800):
        signal = sine(hertz, rate) if hertz else np.full(rate, 0.5)
        expected = sine(hertz, 16000) if hertz else np.full(16000, 0.5)
        middle = slice(500, -500)
        error = np.abs(resampled(signal, rate)[middle] - expected[middle]).max()
        assert error < 0.5 * (10 ** (0.1 / 20) - 1)


@pytest.mark.parametrize(
    ("rate", "hertz"),
    [
        *((48000, hertz) for hertz in (8400, 9200, 10_000, 16_000, 23_000)),
        *((44100, hertz) for hertz in (8400, 10_000, 22_000)),
        *((24000, 10_000), (47999, 10_000)),
    ],
)
def test_frequencies_above_8_khz_are_attenuated(rate, hertz):
    assert np.abs(resampled(sine(hertz, rate), rate)[500:-500]).max() < 0.5 * 1e-3


@pytest.mark.parametrize("rate", [8000, 11025])
def test_upsampling_adds_no_image(rate):
    """Audio of a lower rate gets nothing above half its rate."""
    nyquist = rate / 2
    for hertz in (300, 1000, 0.8 * nyquist, 0.86 * nyquist):
        out = resampled(sine(hertz, rate), rate)[500:-500]
        expected = sine(hertz, 16000)[500:-500]
        assert np.abs(out - expected).max() < 0.5 * 0.0116
        spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out))))
        images = spectrum[ceil(1.04 * nyquist / 16000 * len(out)) :]
        assert images.max() < 1e-3 * spectrum.max()


@pytest.mark.parametrize("rate", [8000, 24000, 44100, 48000])
def test_live_speech_equals_soxr(rate):
    """The common pass band agrees to -60 dB; only near 8 kHz do the two differ."""
    source = soxr.resample(sample_speech(), 16000, rate, quality="VHQ")
    ours, theirs = resampled(source, rate), soxr.resample(source, rate, 16000, quality="HQ")
    size = min(len(ours), len(theirs))
    assert abs(len(ours) - len(theirs)) <= 1
    spectrum = np.fft.rfft(ours[:size] - theirs[:size])
    shared = slice(0, int(0.86 * min(8000, rate / 2) / 16000 * size))
    error = np.sum(np.abs(spectrum[shared]) ** 2)
    assert error < 1e-6 * np.sum(np.abs(np.fft.rfft(theirs)) ** 2)
    assert np.corrcoef(ours[:size], theirs[:size])[0, 1] > 0.9995


@pytest.mark.parametrize(("rate", "held"), [(8000, 3.1), (24000, 1.6), (44100, 1.6), (48000, 1.6)])
def test_live_filter_holds_back_little(rate, held):
    """In every block of 20 ms, all but the last 1.5 ms (3 ms at 8 kHz) come at once."""
    pcm, given = PcmDecoder(rate), 0
    block = bytes(2 * rate // 50)
    for number in range(1, 20):
        given += len(pcm.push(block))
        assert 20 * number - given / 16 <= held
    assert given + len(pcm.finish()) == ceil(19 * (rate // 50) * 16000 / rate)


def test_numbers_repeat_after_a_year():
    """Numbers that count samples repeat with the ratio, so that none grows."""
    block = np.random.default_rng(1).uniform(-1, 1, 47999).astype(np.float32)  # one second
    resampler = LiveResampler(47999)
    resampler.push(block)
    second = resampler.push(block)
    resampler.samples += 16000 * 31_000_000
    resampler.frames += 47999 * 31_000_000
    np.testing.assert_array_equal(resampler.push(block), second)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 24000, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_channels_are_converted(tmp_path, rate, channels):
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(rate, channels=channels), rate, subtype="FLOAT")
    samples = read(path)
    assert len(samples) == pytest.approx(16000, abs=2)
    expected = tone(16000).astype(np.float32)
    np.testing.assert_allclose(samples[2000:14000], expected[2000:14000], atol=2e-3)


def test_nan_in_a_file_is_rejected(tmp_path):
    path = tmp_path / "nan.wav"
    values = np.zeros(16000, np.float32)
    values[12_000] = np.nan
    soundfile.write(path, values, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"nan\.wav.*no audio.*from 0\.5 s"):
        read(path)
