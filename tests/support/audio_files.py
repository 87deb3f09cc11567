"""Audio files of one recording of speech, and readers that keep reports of damage."""

import io
import struct
from contextlib import closing
from functools import cache

import numpy as np
import soundfile
import soxr
from piped_audio import Dribble

from wheatear.audio.containers import mpeg
from wheatear.audio.reader import open_audio, sample_speech

SPEECH = sample_speech()
SECONDS = len(SPEECH) / 16000
PCM = (SPEECH * 32767).astype("<i2").tobytes()


def read_reporting(source, **options):
    """Returns the samples of a source, and the reports of damage."""
    reports = []
    with closing(open_audio(source, on_damage=reports.append, **options)) as reader:
        samples = np.concatenate([np.zeros(0, np.float32), *reader])
        assert reader.warnings == tuple(reports)
    return samples, reports


def read_both_ways(data):
    """Reads bytes as a file and through a pipe, which must agree."""
    samples, reports = read_reporting(io.BytesIO(data))
    piped, piped_reports = read_reporting(Dribble(data, [7, 4000, 3]))
    np.testing.assert_array_equal(samples, piped)
    assert reports == piped_reports
    return samples, reports


@cache
def packed(form, subtype=None, rate=16000, channels=1):
    """Returns the recording in a format of libsndfile."""
    sound = SPEECH if rate == 16000 else soxr.resample(SPEECH, 16000, rate)
    out = io.BytesIO()
    soundfile.write(out, np.stack([sound] * channels, axis=1), rate, format=form, subtype=subtype)
    return out.getvalue()


@cache
def mp3_without_tag(rate=16000, channels=1):
    """Returns the recording as mp3 without its first frame, which holds the encoder's tag."""
    data = packed("MP3", None, rate, channels)
    frame = mpeg.frame_of(data[:4])
    return data[frame.size :]


def id3(size=3000):
    """Returns a tag whose body resembles frames of mp3."""
    return (
        b"ID3\x03\0\0" + bytes([0, 0, size >> 7, size & 0x7F]) + b"\xff\xfb\x90\x64" * (size // 4)
    )


def wav(data, size=None, rate=16000, channels=1, after=b""):
    """Returns a WAV file. size: the stated one. after: further chunks."""
    form = struct.pack("<HHIIHH", 1, channels, rate, 2 * rate * channels, 2 * channels, 16)
    stated = len(data) if size is None else size
    chunks = (
        b"fmt \x10\0\0\0" + form + b"data" + struct.pack("<I", stated & 0xFFFFFFFF) + data + after
    )
    return b"RIFF" + struct.pack("<I", (4 + len(chunks)) & 0xFFFFFFFF) + b"WAVE" + chunks


def read(source, raw=None, **options):
    """Returns all samples of a source."""
    blocks = list(open_audio(source, raw, **options))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def shift(samples, expected):
    """Returns the delay of samples against the expected ones."""
    size = min(len(samples), len(expected))
    padded = np.pad(samples[:size], 2000)
    return int(np.correlate(padded, expected[:size], "valid").argmax()) - 2000


def tone(rate, seconds=1.0, channels=1):
    """Returns a tone of 440 Hz."""
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)
    return np.stack([wave] * channels, axis=1) if channels > 1 else wave
