"""Whatever comes in, float32 mono at 16 kHz comes out, the same in blocks as in one go."""

import errno
import io
import os
import subprocess
import sys
import tempfile
from contextlib import closing
from importlib.resources import files

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from piped_audio import Dribble, read

import wheatear
from wheatear.audio.pcm import RawFormat
from wheatear.audio.reader import open_audio, sample_speech
from wheatear.audio.samples import as_samples
from wheatear.errors import AudioError, AudioTruncatedWarning, SpoolError


def tone(rate, seconds=1.0, channels=1):
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)
    return np.stack([wave] * channels, axis=1) if channels > 1 else wave


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        ("wav", "PCM_16", 1e-4),
        ("wav", "PCM_24", 1e-4),
        ("wav", "FLOAT", 1e-6),
        ("wav", "ULAW", 0.02),
        ("flac", "PCM_16", 1e-4),
        ("ogg", "VORBIS", 0.06),
        ("mp3", "MPEG_LAYER_III", 0.06),
        ("aiff", "PCM_16", 1e-4),
    ],
)
def test_formats(tmp_path, suffix, subtype, tolerance):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(16000), 16000, subtype=subtype)
    samples = read(path)
    assert samples.dtype == np.float32
    assert abs(len(samples) - 16000) <= 2400  # mp3 pads
    middle = slice(6000, 10000)
    correlation = np.abs(np.fft.rfft(samples[middle])).argmax() * 16000 / 4000
    assert correlation == pytest.approx(440, abs=8)
    assert np.abs(samples[middle]).max() == pytest.approx(0.3, abs=tolerance + 0.01)


@pytest.mark.parametrize("rate", [22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_mp3_in_blocks_is_mp3_in_one_go(tmp_path, rate, channels):
    """Seeking between blocks, as soundfile does on its own, tears holes into mp3."""
    path = tmp_path / "noise.mp3"
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (5 * rate, channels))
    soundfile.write(path, noise, rate)
    whole = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1)
    resampled = soxr.ResampleStream(rate, 16000, 1, dtype="float32", quality="HQ")
    expected = resampled.resample_chunk(whole, last=True)
    assert np.abs(read(path) - expected).max() < 1e-5


def test_flac_of_unknown_length(tmp_path):
    """What an encoder leaves that wrote into a pipe."""
    path = tmp_path / "piped.flac"
    soundfile.write(path, sample_speech(), 16000)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # STREAMINFO's 36 bits of total samples
    data[22:26] = bytes(4)
    path.write_bytes(data)
    reader = open_audio(path)
    assert reader.duration is None
    np.testing.assert_allclose(np.concatenate(list(reader)), sample_speech(), atol=1e-4)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "PCM_24"])
@pytest.mark.parametrize("length", ["right", "zero", "endless"])
def test_wav_through_a_pipe(tmp_path, subtype, length):
    """With its true length, or what recorders and converters leave there; chunks after the
    samples are no sound."""
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([sample_speech()] * 2, axis=1), 16000, subtype=subtype)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    if length == "right":
        data += b"LIST" + (400).to_bytes(4, "little") + b"x" * 400
    elif subtype == "PCM_24":
        return  # goes through libsndfile, which does as it pleases
    else:
        data[at : at + 4] = bytes(4) if length == "zero" else b"\xff\xff\xff\xff"
    samples = read(Dribble(bytes(data), [7, 1000, 3]))
    np.testing.assert_allclose(samples, sample_speech(), atol=1e-4)


def test_a_recording_that_was_never_closed(tmp_path):
    path = tmp_path / "crashed.wav"
    soundfile.write(path, sample_speech(), 16000)
    data = bytearray(path.read_bytes())
    data[40:44] = bytes(4)
    path.write_bytes(data)
    np.testing.assert_allclose(read(path), sample_speech(), atol=1e-4)
    soundfile.write(path, sample_speech(), 16000, subtype="PCM_24")
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = bytes(4)
    path.write_bytes(data)
    np.testing.assert_allclose(read(path), sample_speech(), atol=1e-4)


def test_text_through_a_pipe_is_no_audio():
    with pytest.raises(AudioError, match="is text, not audio"):
        open_audio(Dribble(b"this is no audio at all\n" * 50, [5, 3]))


def test_audio_is_read_once():
    reader = open_audio(np.zeros(100, np.float32))
    list(reader)
    with pytest.raises(AudioError, match="read already"):
        list(reader)


def test_opus(tmp_path):
    path = tmp_path / "tone.opus"
    soundfile.write(path, tone(48000), 48000, format="OGG", subtype="OPUS")
    assert abs(len(read(path)) - 16000) < 200


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 24000, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_channels(tmp_path, rate, channels):
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(rate, channels=channels), rate, subtype="FLOAT")
    samples = read(path)
    assert len(samples) == pytest.approx(16000, abs=2)
    expected = tone(16000).astype(np.float32)
    np.testing.assert_allclose(samples[2000:14000], expected[2000:14000], atol=2e-3)


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "stereo.wav"
    right = tone(16000, seconds=2.0)[::2]  # an octave higher
    soundfile.write(path, np.stack([tone(16000), right], axis=1), 16000)
    np.testing.assert_allclose(read(path), (tone(16000) + right) / 2, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=5),
    rate=st.sampled_from([8000, 16000, 22050, 48000]),
    channels=st.sampled_from([1, 2, 3]),
    encoding=st.sampled_from(["s16", "f32"]),
    frames=st.integers(0, 6000),
)
def test_raw_pcm_in_any_pieces(sizes, rate, channels, encoding, frames):
    """Resampling block by block gives, to the bit, what it gives in one go."""
    values = np.random.default_rng(0).uniform(-0.5, 0.5, (frames, channels))
    data = ((values * 32767).astype("<i2") if encoding == "s16" else values.astype("<f4")).tobytes()
    raw = RawFormat(rate, channels, encoding)
    np.testing.assert_array_equal(read(Dribble(data, sizes), raw), read(io.BytesIO(data), raw))


@pytest.mark.parametrize(("encoding", "subtype"), [("mulaw", "ULAW"), ("alaw", "ALAW")])
def test_raw_telephone_audio(encoding, subtype):
    out = io.BytesIO()
    soundfile.write(out, sample_speech(), 16000, format="RAW", subtype=subtype)
    _same_as_sample(out.getvalue(), encoding, 0.01)


def test_raw_big_endian_audio():
    _same_as_sample((sample_speech() * 32768).astype(">i2").tobytes(), "s16be", 0)


def _same_as_sample(data, encoding, loss):
    """loss: of the loudest sample."""
    form = RawFormat(16000, 1, encoding)
    samples, speech = read(io.BytesIO(data), form), sample_speech()
    np.testing.assert_array_equal(read(Dribble(data, [3, 800]), form), samples)
    np.testing.assert_allclose(samples, speech, atol=loss * np.abs(speech).max(), rtol=loss * 3)


def test_raw_file_is_known_by_its_name(tmp_path):
    path = tmp_path / "speech.pcm"
    path.write_bytes((sample_speech() * 32768).astype("<i2").tobytes() + b"\x01")  # half a sample
    np.testing.assert_array_equal(read(path), sample_speech())
    reader = open_audio(path)
    assert reader.duration == pytest.approx(len(sample_speech()) / 16000)
    reader.close()


def test_standard_input_takes_files_and_raw_pcm(tmp_path):
    program = (
        "import sys, numpy as np; from wheatear.audio.reader import open_audio; "
        "print(sum(len(b) for b in open_audio('-')))"
    )
    raw = (sample_speech() * 32768).astype("<i2").tobytes()
    soundfile.write(tmp_path / "a.mp3", sample_speech(), 16000)
    soundfile.write(tmp_path / "a.wav", sample_speech(), 16000)
    for data in (raw, (tmp_path / "a.wav").read_bytes(), (tmp_path / "a.mp3").read_bytes(), b""):
        run = subprocess.run(
            [sys.executable, "-c", program], input=data, capture_output=True, check=True
        )
        expected = len(sample_speech()) if data else 0
        assert int(run.stdout) == pytest.approx(expected, abs=3000 if data[:3] != raw[:3] else 0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.wav", b"", "it is empty"),
        ("text.wav", b"Hello, this is not audio at all." * 9, "cannot decode.*Files that work"),
        ("header.flac", b"fLaC" + bytes(9), "cannot decode"),
    ],
)
def test_what_is_not_audio_is_refused_by_name(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError, match=message) as raised:
        read(path)
    assert name in str(raised.value)


def test_paths_that_cannot_be_read(tmp_path):
    with pytest.raises(AudioError, match=r"missing\.wav.*No such file"):
        open_audio(tmp_path / "missing.wav")
    with pytest.raises(AudioError, match="is a folder"):
        open_audio(tmp_path)
    with pytest.raises(AudioError, match="not int"):
        open_audio(5)


def test_a_cut_off_file_is_read_to_its_end_and_said_to_be_cut_off(tmp_path):
    for name in ("whole.wav", "whole.flac"):
        path = tmp_path / name
        soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 32000), 16000)
        path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.warns(AudioTruncatedWarning, match=r"promises 2\.0 s, 1\.4 s are there"):
        samples = read(tmp_path / "whole.wav")
    assert len(samples) == 22_000
    with pytest.warns(AudioTruncatedWarning, match=r"promises 2\.0 s, 1\.\d s are there|damaged"):
        samples = read(tmp_path / "whole.flac")
    assert len(samples) > 16_000


def test_values_that_are_not_numbers(tmp_path):
    path = tmp_path / "nan.wav"
    values = np.zeros(16000, np.float32)
    values[12_000] = np.nan
    soundfile.write(path, values, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"nan\.wav.*no audio.*from 0\.5 s"):
        read(path)


def test_raw_formats_that_do_not_exist():
    for bad in ({"rate": 0}, {"channels": 0}, {"encoding": "u8"}, {"rate": 10**9}):
        with pytest.raises(AudioError):
            RawFormat(**bad)


def test_as_samples():
    assert as_samples(np.array([-32768, 0, 32767], np.int16)).tolist() == [-1, 0, 32767 / 32768]
    assert as_samples([]).shape == (0,)
    assert as_samples(np.array([0.5])).dtype == np.float32
    with pytest.raises(AudioError, match=r"np\.frombuffer"):
        as_samples(b"\0\0")
    with pytest.raises(AudioError, match=r"reach 12345.*divided by 32768"):
        as_samples([0.0, 12345.0])
    with pytest.raises(AudioError):
        as_samples([[1.0], [1.0, 2.0]])


def test_memory_does_not_grow_with_the_file(tmp_path):
    """A reader holds one block at a time."""
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros((60 * 44100, 2)), 44100)
    blocks = [len(block) for block in open_audio(path)]
    assert max(blocks) < 16000
    assert sum(blocks) == pytest.approx(60 * 16000, abs=2)


def test_warnings_are_kept_with_the_transcript(tmp_path):
    path = tmp_path / "cut.wav"
    soundfile.write(path, sample_speech(), 16000)
    path.write_bytes(path.read_bytes()[:-20_000])
    said = []
    with closing(open_audio(path, on_damage=said.append)) as reader:
        assert reader.warnings == ()
        list(reader)
        assert reader.warnings == tuple(said)
    with pytest.warns(AudioTruncatedWarning, match="cut off"):
        transcript = wheatear.load().transcribe(path)
    assert transcript.warnings == tuple(said)
    assert len(said) == 1
    assert "cut off" in said[0]
    assert transcript.text
    assert wheatear.load().transcribe(sample_speech()).warnings == ()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENOENT, errno.EMFILE])
def test_no_room_for_what_has_to_lie_on_disk_is_an_error_with_advice(monkeypatch, number):
    """Audio from a pipe whose decoder seeks."""

    def full(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    pipe = io.BytesIO((files("wheatear") / "data" / "samples" / "en-US.flac").read_bytes())
    pipe.seekable = lambda: False
    with pytest.raises(SpoolError, match=f"{os.strerror(number)}; set TMPDIR"):
        list(open_audio(pipe))


def test_a_disk_that_fills_up_meanwhile_is_an_error_with_advice(monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    pipe = io.BytesIO((files("wheatear") / "data" / "samples" / "en-US.flac").read_bytes())
    pipe.seekable = lambda: False
    with pytest.raises(SpoolError, match="No space left on device"):
        list(open_audio(pipe))
