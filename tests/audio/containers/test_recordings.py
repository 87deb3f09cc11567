"""Files of several recordings, and files among other bytes."""

import io

import av
import numpy as np
import pytest
from audio_files import (
    PCM,
    SPEECH,
    id3,
    mp3_without_tag,
    packed,
    read_both_ways,
    read_reporting,
    wav,
)
from media_files import made

JOINED = {
    "mp3 and mp3": lambda: packed("MP3") * 2,
    "mp3 without a tag after mp3": lambda: packed("MP3") + mp3_without_tag(),
    "mp3 of another rate": lambda: packed("MP3", None, 44100, 2) + packed("MP3"),
    "mp3 of other channels": lambda: packed("MP3", None, 44100, 2) + mp3_without_tag(44100),
    "mp3 with tags between": lambda: (
        id3() + packed("MP3") + b"TAG" + bytes(125) + id3() + packed("MP3")
    ),
    "mp3 and wav": lambda: packed("MP3") + wav(PCM),
    "wav and wav": lambda: wav(PCM) * 2,
    "wav and wav of another rate": lambda: wav(PCM) + packed("WAV", None, 22050, 2),
    "wav and mp3": lambda: wav(PCM) + packed("MP3"),
    "wav that was piped, twice": lambda: wav(PCM, -1) * 2,
    "wav of 24 bits and of floats": lambda: packed("WAV", "PCM_24") + packed("WAV", "FLOAT"),
    "flac and flac": lambda: packed("FLAC") * 2,
    "flac and mp3": lambda: packed("FLAC") + id3() + packed("MP3"),
    "flac and wav": lambda: packed("FLAC") + wav(PCM),
    "flac of another rate": lambda: packed("FLAC") + packed("FLAC", None, 44100, 2),
    "vorbis and vorbis": lambda: packed("OGG", "VORBIS") * 2,
    "vorbis of another rate": lambda: packed("OGG", "VORBIS") + packed("OGG", "VORBIS", 22050, 2),
    "vorbis and opus": lambda: packed("OGG", "VORBIS") + packed("OGG", "OPUS", 48000),
    "opus and opus": lambda: packed("OGG", "OPUS", 48000) * 2,
    "aiff and aiff": lambda: packed("AIFF") * 2,
    "au and au": lambda: packed("AU") * 2,
    "caf and caf": lambda: packed("CAF") * 2,
    "w64 and w64": lambda: packed("W64") * 2,
    "rf64 and rf64": lambda: packed("RF64") * 2,
    "aac of another rate": lambda: made("adts", "aac", 16000) + made("adts", "aac", 48000),
    "m4a and m4a": lambda: made("ipod", "aac", 16000) * 2,
    "webm and webm": lambda: made("webm", "libopus") * 2,
    "webm as recorders write it": lambda: made("webm", "libopus", options=(("live", "1"),)) * 2,
    "wma and wma": lambda: made("asf", "wmav2", 44100) * 2,
    "flv and flv": lambda: made("flv", "aac", 44100) * 2,
    "amr and amr": lambda: made("amr", "libopencore_amrnb", 8000) * 2,
}


def loudness(samples):
    """Returns the loudness of each tenth of a second."""
    return np.sqrt(np.square(samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)).mean(axis=1))


@pytest.mark.parametrize("name", JOINED)
def test_joined_files_are_read_whole(name):
    """Decoders stop at the end of the first file, or decode the next header as sound."""
    if name == "amr and amr" and "libopencore_amrnb" not in av.codecs_available:
        pytest.skip("this PyAV has no encoder of AMR")
    samples, reports = read_reporting(io.BytesIO(JOINED[name]()))
    assert reports == []
    assert len(samples) == pytest.approx(2 * len(SPEECH), abs=0.3 * 16000)
    for part in (samples[: len(SPEECH)], samples[-len(SPEECH) :]):
        shifts = [loudness(np.roll(part, shift))[:38] for shift in range(-3200, 3201, 400)]
        assert max(np.corrcoef(loudness(SPEECH)[:38], s)[0, 1] for s in shifts) > 0.9


@pytest.mark.parametrize(
    "name", ["mp3 of another rate", "wav and mp3", "wav and wav", "flac and flac"]
)
def test_joined_files_through_a_pipe_are_read_whole(name):
    samples, _ = read_both_ways(JOINED[name]())
    assert len(samples) == pytest.approx(2 * len(SPEECH), abs=0.15 * 16000)


def test_header_in_flac_metadata_is_no_recording():
    """Application blocks hold the header of the WAV file that was encoded."""
    data = packed("FLAC")
    block = b"riff" + wav(PCM[:4000])
    first = data[:4] + b"\0" + data[5:42]  # STREAMINFO, no longer the last block
    kept = bytes([2 | data[4] & 0x80]) + len(block).to_bytes(3, "big") + block
    samples, reports = read_reporting(io.BytesIO(first + kept + data[42:]))
    assert reports == []
    assert len(samples) == len(SPEECH)


SOMETHING_ELSE = bytes(range(1, 200)) * 3


BURIED = {
    "aac": lambda: made("adts", "aac", 16000),
    "ac3": lambda: made("ac3", "ac3", 48000),
    "mpegts": lambda: made("mpegts", "aac", 48000),
    "au": lambda: packed("AU"),
    "flv": lambda: made("flv", "aac", 44100),
    "avi": lambda: made("avi", "pcm_s16le", 16000),
}


@pytest.mark.parametrize("name", BURIED)
@pytest.mark.parametrize("before", [SOMETHING_ELSE, bytes(777)], ids=["bytes", "zeros"])
def test_file_after_other_bytes_is_found(name, before):
    samples, _ = read_both_ways(before + BURIED[name]())
    assert len(samples) == pytest.approx(len(SPEECH), abs=0.3 * 16000)


@pytest.mark.parametrize(
    "before",
    [
        id3() * 2,
        b"\xef\xbb\xbf",
        b"\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"junk\0\xff\xfb" * 30,
        id3() + bytes(500),
    ],
)
@pytest.mark.parametrize("form", ["MP3", "FLAC", "WAV", "ADTS"])
def test_bytes_before_a_file_are_skipped(before, form):
    data = made("adts", "aac", 16000) if form == "ADTS" else packed(form)
    if form == "ADTS" and not before.startswith(b"ID3"):
        pytest.skip("two bytes are too little to find AAC by")
    if form == "ADTS" and before.endswith(b"\0"):
        pytest.skip("as above")
    samples, reports = read_reporting(io.BytesIO(before + data))
    assert len(samples) == pytest.approx(len(SPEECH), abs=0.15 * 16000)
    assert reports == []


@pytest.mark.parametrize(
    "after", [bytes(3000), b"TAG" + bytes(125), b"\n", b"APETAGEX" + bytes(24)]
)
@pytest.mark.parametrize("form", ["MP3", "FLAC", "WAV", "AIFF"])
def test_bytes_after_a_file_are_skipped(after, form):
    samples, reports = read_reporting(io.BytesIO(packed(form) + after))
    assert len(samples) == pytest.approx(len(SPEECH), abs=0.2 * 16000)
    if form != "WAV":  # where it may be sound
        assert reports == []
