"""Decoding of files of any format."""

import errno
import io
import os
import sys
import tempfile
from importlib.resources import files

import numpy as np
import pytest
import soundfile
import soxr
from audio_files import (
    read,
    read_reporting,
    tone,
)
from media_files import made

from wheatear.audio.reader import open_audio, sample_speech
from wheatear.errors import (
    AudioError,
    SpoolError,
)


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
def test_format_is_decoded(tmp_path, suffix, subtype, tolerance):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(16000), 16000, subtype=subtype)
    samples = read(path)
    assert samples.dtype == np.float32
    assert abs(len(samples) - 16000) <= 2400  # mp3 pads
    middle = slice(6000, 10000)
    correlation = np.abs(np.fft.rfft(samples[middle])).argmax() * 16000 / 4000
    assert correlation == pytest.approx(440, abs=8)
    assert np.abs(samples[middle]).max() == pytest.approx(0.3, abs=tolerance + 0.01)


def test_opus_is_decoded(tmp_path):
    path = tmp_path / "tone.opus"
    soundfile.write(path, tone(48000), 48000, format="OGG", subtype="OPUS")
    assert abs(len(read(path)) - 16000) < 200


@pytest.mark.parametrize("rate", [22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_mp3_in_blocks_equals_mp3_as_a_whole(tmp_path, rate, channels):
    """Seeking between blocks, as soundfile does by itself, leaves gaps in mp3."""
    path = tmp_path / "noise.mp3"
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (5 * rate, channels))
    soundfile.write(path, noise, rate)
    whole = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1)
    resampled = soxr.ResampleStream(rate, 16000, 1, dtype="float32", quality="HQ")
    expected = resampled.resample_chunk(whole, last=True)
    assert np.abs(read(path) - expected).max() < 1e-5


def test_flac_of_unknown_length_is_read_whole(tmp_path):
    """Encoders that write into a pipe leave this header."""
    path = tmp_path / "piped.flac"
    soundfile.write(path, sample_speech(), 16000)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # STREAMINFO's 36 bits of total samples
    data[22:26] = bytes(4)
    path.write_bytes(data)
    reader = open_audio(path)
    assert reader.duration is None
    np.testing.assert_allclose(np.concatenate(list(reader)), sample_speech(), atol=1e-4)


def test_mp4_without_its_index_is_rejected():
    whole = made("ipod", "aac", 16000)
    with pytest.raises(AudioError, match=r"cut off before its index \(moov\)"):
        read_reporting(io.BytesIO(whole[: whole.index(b"moov") - 4]))


def test_unknown_wav_codec_without_the_extra_lists_formats(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"cannot decode.*with wheatear\[media\] also m4a"):
        open_audio(io.BytesIO(made("wav", "adpcm_g726", 8000)))


def test_too_many_channels_are_rejected():
    out = io.BytesIO()
    soundfile.write(out, np.zeros((100, 65)), 16000, format="WAV")
    with pytest.raises(AudioError, match="the audio has 65 channels; 1 to 64 work"):
        open_audio(io.BytesIO(out.getvalue()))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENOENT, errno.EMFILE])
def test_missing_space_for_a_pipe_is_an_error_with_advice(monkeypatch, number):
    """Decoders that seek need a copy of a pipe."""

    def full(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    pipe = io.BytesIO((files("wheatear") / "data" / "samples" / "en-US.flac").read_bytes())
    pipe.seekable = lambda: False
    with pytest.raises(SpoolError, match=f"{os.strerror(number)}; set TMPDIR"):
        list(open_audio(pipe))


def test_disk_that_fills_up_is_an_error_with_advice(monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    pipe = io.BytesIO((files("wheatear") / "data" / "samples" / "en-US.flac").read_bytes())
    pipe.seekable = lambda: False
    with pytest.raises(SpoolError, match="No space left on device"):
        list(open_audio(pipe))
