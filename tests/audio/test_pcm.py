"""PCM in pieces: the same bits however it is cut, in time, in tune, and almost at once."""

import io
from math import ceil

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from wheatear.audio.pcm import PcmDecoder
from wheatear.audio.reader import sample_speech
from wheatear.audio.resampler import LiveResampler
from wheatear.audio.samples import as_samples
from wheatear.errors import AudioError, StreamClosedError

RATES = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 47999, 48000)
WIDTHS = {"s16": 2, "f32": 4, "mulaw": 1, "alaw": 1}


def resampled(signal, rate):
    pcm = PcmDecoder(rate, "f32")
    return np.concatenate([pcm.push(signal.astype("<f4").tobytes()), pcm.finish()])


def tone(hertz, rate, seconds=1.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


@st.composite
def signals(draw):
    encoding = draw(st.sampled_from(list(WIDTHS)))
    channels = draw(st.integers(1, 8))
    size = draw(st.integers(0, 3000)) * channels * WIDTHS[encoding] + draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    data = rng.bytes(size)
    if encoding == "f32":
        data = (rng.uniform(-1, 1, size // 4).astype("<f4").tobytes() + data)[:size]
    return draw(st.sampled_from(RATES)), encoding, channels, data


@settings(max_examples=150, deadline=None)
@given(signal=signals(), cuts=st.lists(st.integers(0, 2000), max_size=12), tiny=st.integers(0, 40))
def test_any_cut_gives_the_same_bits_and_no_sample_is_lost(signal, cuts, tiny):
    rate, encoding, channels, data = signal
    pieces = PcmDecoder(rate, encoding, channels)
    out, at = [], 0
    for size in [*cuts, *[1] * tiny, len(data)]:
        out.append(pieces.push(data[at : at + size]))
        at += size
    out.append(pieces.finish())
    whole = PcmDecoder(rate, encoding, channels)
    expected = np.concatenate([whole.push(data), whole.finish()])
    np.testing.assert_array_equal(np.concatenate(out), expected)
    frames = len(data) // (WIDTHS[encoding] * channels)
    assert expected.dtype == np.float32
    assert len(expected) == ceil(frames * 16000 / rate)
    assert pieces.seconds == whole.seconds == frames / rate


@pytest.mark.parametrize("codec", ["mulaw", "alaw"])
def test_g711_is_what_libsndfile_makes_of_every_code(codec):
    codes = bytes(range(256))
    subtype = {"mulaw": "ULAW", "alaw": "ALAW"}[codec]
    expected = soundfile.read(
        io.BytesIO(codes), dtype="int16", samplerate=8000, channels=1, format="RAW", subtype=subtype
    )[0]
    np.testing.assert_array_equal(PcmDecoder(16000, codec).push(codes), as_samples(expected))


def test_g711_values_of_the_standard():
    """The ends and the middle of the tables of G.711, at 16 bits."""
    mulaw = PcmDecoder(16000, "mulaw").push(bytes([0x00, 0x7F, 0x80, 0xFF, 0xFE])) * 32768
    assert mulaw.tolist() == [-32124, 0, 32124, 0, 8]
    alaw = PcmDecoder(16000, "alaw").push(bytes([0x2A, 0xAA, 0x55, 0xD5])) * 32768
    assert alaw.tolist() == [-32256, 32256, -8, 8]


def test_at_16_khz_samples_pass_untouched():
    values = np.arange(-32768, 32768).astype("<i2")
    np.testing.assert_array_equal(PcmDecoder().push(values.tobytes()), as_samples(values))
    np.testing.assert_array_equal(
        PcmDecoder(encoding="f32").push(sample_speech().tobytes()), sample_speech()
    )


def test_channels_are_averaged():
    values = np.array([[100, 300], [-500, 500]], "<i2")
    assert (PcmDecoder(channels=2).push(values.tobytes()) * 32768).tolist() == [200, 0]


@pytest.mark.parametrize("rate", [24000, 44100, 48000, 32000, 22050, 47999])
def test_what_can_be_heard_passes(rate):
    """Ripple below 0.1 dB and no shift in time, up to 6.8 kHz."""
    for hertz in (0, 50, 300, 1000, 3400, 5000, 6000, 6800):
        signal = tone(hertz, rate) if hertz else np.full(rate, 0.5)
        expected = tone(hertz, 16000) if hertz else np.full(16000, 0.5)
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
def test_what_16_khz_cannot_hold_is_taken_away(rate, hertz):
    assert np.abs(resampled(tone(hertz, rate), rate)[500:-500]).max() < 0.5 * 1e-3


@pytest.mark.parametrize("rate", [8000, 11025])
def test_no_image_above_what_came_in(rate):
    """Slower audio has nothing above its half rate, and nothing appears there."""
    nyquist = rate / 2
    for hertz in (300, 1000, 0.8 * nyquist, 0.86 * nyquist):
        out = resampled(tone(hertz, rate), rate)[500:-500]
        expected = tone(hertz, 16000)[500:-500]
        assert np.abs(out - expected).max() < 0.5 * 0.0116
        spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out))))
        images = spectrum[ceil(1.04 * nyquist / 16000 * len(out)) :]
        assert images.max() < 1e-3 * spectrum.max()


@pytest.mark.parametrize("rate", [8000, 24000, 44100, 48000])
def test_speech_comes_out_as_from_soxr(rate):
    """What both let through is the same to -60 dB of it; only near 8 kHz do they differ."""
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
def test_almost_nothing_is_held_back(rate, held):
    """In every block of 20 ms, all but the last 1.5 ms (3 ms at 8 kHz) come at once."""
    pcm, given = PcmDecoder(rate), 0
    block = bytes(2 * rate // 50)
    for number in range(1, 20):
        given += len(pcm.push(block))
        assert 20 * number - given / 16 <= held
    assert given + len(pcm.finish()) == ceil(19 * (rate // 50) * 16000 / rate)


def test_a_year_of_a_stream_is_as_its_first_second():
    """Numbers that count samples repeat with the ratio, so that none grows."""
    block = np.random.default_rng(1).uniform(-1, 1, 47999).astype(np.float32)  # one second
    resampler = LiveResampler(47999)
    resampler.push(block)
    second = resampler.push(block)
    resampler.samples += 16000 * 31_000_000
    resampler.frames += 47999 * 31_000_000
    np.testing.assert_array_equal(resampler.push(block), second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 7999}, "7999 Hz; 8000 to 48000"),
        ({"rate": 48001}, "48001 Hz"),
        ({"encoding": "opus"}, "s16, f32, mulaw, alaw, not 'opus'"),
        ({"channels": 0}, "0 channels; 1 to 8"),
        ({"channels": 9}, "9 channels"),
    ],
)
def test_what_does_not_work_is_refused(options, message):
    with pytest.raises(AudioError, match=message):
        PcmDecoder(**options)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 100.0, -12345.0])
def test_floats_that_are_no_audio_are_refused_and_leave_nothing_behind(bad):
    pcm, other = PcmDecoder(24000, "f32", 2), PcmDecoder(24000, "f32", 2)
    good = np.full(48000, 0.25, "<f4")
    wrong = good.copy()
    wrong[12_001] = bad
    first = [pcm.push(good.tobytes() + b"\0"), other.push(good.tobytes())]
    np.testing.assert_array_equal(*first)
    with pytest.raises(AudioError, match=rf"{bad:g} at 1\.25 s"):
        pcm.push(bytes(7) + wrong[2:].tobytes())
    assert pcm.seconds == 1
    np.testing.assert_array_equal(pcm.push(bytes(7)), other.push(bytes(8)))


def test_after_the_end_nothing_is_taken():
    pcm = PcmDecoder(8000)
    pcm.push(bytes(160))
    assert len(pcm.finish()) == 48
    assert len(pcm.finish()) == 0
    assert pcm.seconds == 0.01
    with pytest.raises(StreamClosedError):
        pcm.push(b"\0\0")
