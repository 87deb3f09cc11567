"""Headerless PCM from files, pipes and sockets."""

import io
from math import ceil

import numpy as np
import pytest
import soundfile
from audio_files import read
from hypothesis import given, settings
from hypothesis import strategies as st
from piped_audio import Dribble

from wheatear.audio.pcm import PcmDecoder, RawFormat
from wheatear.audio.reader import sample_speech
from wheatear.audio.samples import as_samples
from wheatear.errors import AudioError, StreamClosedError

RATES = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 47999, 48000)


WIDTHS = {"s16": 2, "f32": 4, "mulaw": 1, "alaw": 1}


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
def test_any_cut_gives_the_same_bits_and_loses_no_sample(signal, cuts, tiny):
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
def test_g711_codes_equal_those_of_libsndfile(codec):
    codes = bytes(range(256))
    subtype = {"mulaw": "ULAW", "alaw": "ALAW"}[codec]
    expected = soundfile.read(
        io.BytesIO(codes), dtype="int16", samplerate=8000, channels=1, format="RAW", subtype=subtype
    )[0]
    np.testing.assert_array_equal(PcmDecoder(16000, codec).push(codes), as_samples(expected))


def test_g711_codes_have_the_values_of_the_standard():
    """The ends and the middle of the tables of G.711, at 16 bits."""
    mulaw = PcmDecoder(16000, "mulaw").push(bytes([0x00, 0x7F, 0x80, 0xFF, 0xFE])) * 32768
    assert mulaw.tolist() == [-32124, 0, 32124, 0, 8]
    alaw = PcmDecoder(16000, "alaw").push(bytes([0x2A, 0xAA, 0x55, 0xD5])) * 32768
    assert alaw.tolist() == [-32256, 32256, -8, 8]


def test_samples_at_16_khz_are_unchanged():
    values = np.arange(-32768, 32768).astype("<i2")
    np.testing.assert_array_equal(PcmDecoder().push(values.tobytes()), as_samples(values))
    np.testing.assert_array_equal(
        PcmDecoder(encoding="f32").push(sample_speech().tobytes()), sample_speech()
    )


def test_channels_are_averaged():
    values = np.array([[100, 300], [-500, 500]], "<i2")
    assert (PcmDecoder(channels=2).push(values.tobytes()) * 32768).tolist() == [200, 0]


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
def test_invalid_live_format_is_rejected(options, message):
    with pytest.raises(AudioError, match=message):
        PcmDecoder(**options)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 100.0, -12345.0])
def test_rejected_floats_leave_no_trace(bad):
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


def test_push_after_finish_is_an_error():
    pcm = PcmDecoder(8000)
    pcm.push(bytes(160))
    assert len(pcm.finish()) == 48
    assert len(pcm.finish()) == 0
    assert pcm.seconds == 0.01
    with pytest.raises(StreamClosedError):
        pcm.push(b"\0\0")


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=5),
    rate=st.sampled_from([8000, 16000, 22050, 48000]),
    channels=st.sampled_from([1, 2, 3]),
    encoding=st.sampled_from(["s16", "f32"]),
    frames=st.integers(0, 6000),
)
def test_any_cut_of_raw_pcm_gives_the_same_samples(sizes, rate, channels, encoding, frames):
    """Resampling in blocks gives the same bits as at once."""
    values = np.random.default_rng(0).uniform(-0.5, 0.5, (frames, channels))
    data = ((values * 32767).astype("<i2") if encoding == "s16" else values.astype("<f4")).tobytes()
    raw = RawFormat(rate, channels, encoding)
    np.testing.assert_array_equal(read(Dribble(data, sizes), raw), read(io.BytesIO(data), raw))


@pytest.mark.parametrize(("encoding", "subtype"), [("mulaw", "ULAW"), ("alaw", "ALAW")])
def test_raw_g711_is_decoded(encoding, subtype):
    out = io.BytesIO()
    soundfile.write(out, sample_speech(), 16000, format="RAW", subtype=subtype)
    _same_as_sample(out.getvalue(), encoding, 0.01)


def test_raw_big_endian_pcm_is_decoded():
    _same_as_sample((sample_speech() * 32768).astype(">i2").tobytes(), "s16be", 0)


def _same_as_sample(data, encoding, loss):
    """loss: of the loudest sample."""
    form = RawFormat(16000, 1, encoding)
    samples, speech = read(io.BytesIO(data), form), sample_speech()
    np.testing.assert_array_equal(read(Dribble(data, [3, 800]), form), samples)
    np.testing.assert_allclose(samples, speech, atol=loss * np.abs(speech).max(), rtol=loss * 3)


def test_invalid_raw_format_is_rejected():
    for bad in ({"rate": 0}, {"channels": 0}, {"encoding": "u8"}, {"rate": 10**9}):
        with pytest.raises(AudioError):
            RawFormat(**bad)
