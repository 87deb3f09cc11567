"""WAV files: headers that are wrong, pipes, chunks."""

import io
import os
import struct
from contextlib import closing

import numpy as np
import pytest
import soundfile
from audio_files import PCM, SECONDS, SPEECH, packed, read, read_both_ways, read_reporting, wav
from piped_audio import Dribble

from wheatear.audio.reader import open_audio, sample_speech


@pytest.mark.parametrize("wrong", [-3, -2, -1, 0, 1, 2, 3, 36, 44])
@pytest.mark.parametrize("after", [b"", b"LIST\x1a\0\0\0INFOISFT\x0e\0\0\0Lavf61.1.100\0\0"])
def test_size_wrong_by_a_few_bytes_loses_nothing(wrong, after):
    """Some writers count their own header, or forget the padding."""
    samples, reports = read_both_ways(wav(PCM, len(PCM) + wrong, after=after))
    assert reports == []
    assert len(samples) == pytest.approx(len(SPEECH), abs=25)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFDB, 0x80000000])
def test_unknown_size_loses_nothing(size):
    samples, reports = read_both_ways(wav(PCM, size))
    assert (len(samples), reports) == (len(SPEECH), [])


def test_samples_after_the_stated_end_are_read_and_reported():
    samples, reports = read_both_ways(wav(PCM, 32_000))
    assert len(samples) == len(SPEECH)
    assert "by it the sound ends at 1.0 s; 2.9 s that follow were read" in reports[0]


def test_size_that_wrapped_at_4_gib_loses_nothing(tmp_path):
    path = tmp_path / "long.wav"
    path.write_bytes(wav(PCM))
    os.truncate(path, (1 << 32) + 44 + len(PCM))  # holes take no room
    with closing(open_audio(path)) as reader:
        assert reader.duration == pytest.approx((1 << 32) / 32000 + SECONDS, abs=0.1)
        blocks = iter(reader)
        read = sum(len(next(blocks)) for _ in range(20))
    assert read > len(SPEECH)


def test_several_data_chunks_are_read_whole():
    half = len(PCM) // 4 * 2
    rest = b"data" + struct.pack("<I", len(PCM) - half) + PCM[half:]
    note = b"LIST\4\0\0\0INFO"
    for between in (b"", note):
        samples, reports = read_both_ways(wav(PCM[:half], after=between + rest + note))
        np.testing.assert_array_equal(samples, read_reporting(io.BytesIO(wav(PCM)))[0])
        assert reports == []


def test_mp3_in_wav_is_read_by_its_frames():
    """Its header only estimates the duration."""
    data = packed("MP3")
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, 16000, 4000, 1, 0, 12, 1, 2, 288, 1, 1105)
    chunks = b"fmt \x1e\0\0\0" + form + b"fact\4\0\0\0" + struct.pack("<I", len(SPEECH) + 9999)
    chunks += b"data" + struct.pack("<I", len(data)) + data
    samples, reports = read_reporting(
        io.BytesIO(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    )
    assert reports == []
    assert len(samples) == len(SPEECH)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "PCM_24"])
@pytest.mark.parametrize("length", ["right", "zero", "endless"])
def test_wav_through_a_pipe_is_read_as_it_arrives(tmp_path, subtype, length):
    """With its true size or the placeholder of a recorder; later chunks are no sound."""
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


def test_unclosed_wav_is_read_whole(tmp_path):
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
