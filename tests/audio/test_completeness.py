"""Reports of missing and damaged audio."""

import io
import re
import warnings
from contextlib import closing

import numpy as np
import pytest
import soundfile
from audio_files import (
    PCM,
    SPEECH,
    mp3_without_tag,
    packed,
    read,
    read_both_ways,
    read_reporting,
    shift,
    wav,
)
from media_files import made

import wheatear
from wheatear.audio import file_type
from wheatear.audio.reader import open_audio, sample_speech
from wheatear.errors import AudioError, AudioTruncatedWarning

CUT = {
    "mp3 whose tag knows": (lambda: packed("MP3")[: len(packed("MP3")) // 2], r"promises 3\.9 s"),
    "mp3 in the middle of a frame": (lambda: mp3_without_tag()[:-100], "last frame is incomplete"),
    "opus": (lambda: packed("OGG", "OPUS", 48000)[:-3000], "cut off"),
    "vorbis": (lambda: packed("OGG", "VORBIS")[:-3000], "cut off"),
    "flac": (lambda: packed("FLAC")[:-20_000], r"promises 3\.9 s|damaged"),
    "wav": (lambda: wav(PCM)[:-20_001], r"promises 3\.9 s, 3\.3 s are there"),
    "aiff": (lambda: packed("AIFF")[:-20_000], r"promises 3\.9 s, 3\.3 s are there"),
    "au": (lambda: packed("AU")[:-20_000], r"promises 3\.9 s, 3\.3 s are there"),
    "caf": (lambda: packed("CAF")[:-20_000], r"promises 3\.9 s, 3\.3 s are there"),
    "w64": (lambda: packed("W64")[:-20_000], r"promises 3\.9 s, 3\.3 s are there"),
    "rf64": (lambda: packed("RF64")[:-20_000], r"promises 3\.9 s, 3\.3 s are there"),
    "wav of adpcm": (lambda: packed("WAV", "IMA_ADPCM")[:-8000], "cut off"),
    "webm": (lambda: made("webm", "libopus")[:-12_000], r"promises 3\.9 s"),
    "second of two mp3": (lambda: (packed("MP3") * 2)[:-8000], r"promises 7\.8 s"),
    "second of two wav": (lambda: (wav(PCM) * 2)[:-20_000], r"promises 7\.8 s, 7\.2 s are there"),
}


@pytest.mark.parametrize("name", CUT)
def test_cut_off_file_is_read_and_reported(name):
    make, pattern = CUT[name]
    samples, reports = read_reporting(io.BytesIO(make()))
    assert len(samples) > 0.4 * len(SPEECH)
    assert len(reports) == 1
    assert re.search(pattern, reports[0])


def test_cut_off_pipe_is_read_and_reported():
    samples, reports = read_both_ways(wav(PCM)[:50_001])
    assert len(samples) == (50_001 - 44) // 2
    assert "promises 3.9 s, 1.6 s are there" in reports[0]


def test_damaged_flac_frame_is_skipped_and_reported():
    data = bytearray(packed("FLAC"))
    data[len(data) // 2] ^= 0x55
    samples, reports = read_reporting(io.BytesIO(data))
    assert len(samples) == len(SPEECH)
    np.testing.assert_allclose(samples[:8000], SPEECH[:8000], atol=1e-4)
    np.testing.assert_allclose(samples[-8000:], SPEECH[-8000:], atol=1e-4)
    assert len(reports) == 1
    assert "damaged" in reports[0]


def test_damaged_flac_frame_without_ffmpeg_ends_the_recording(monkeypatch):
    monkeypatch.setattr(file_type, "has_ffmpeg", lambda: False)
    data = bytearray(packed("FLAC"))
    data[len(data) // 2] ^= 0x55
    samples, reports = read_reporting(io.BytesIO(data))
    assert len(SPEECH) * 0.3 < len(samples) < len(SPEECH)
    np.testing.assert_allclose(samples, SPEECH[: len(samples)], atol=1e-4)
    assert "damaged: it can be read up to" in reports[0]


def test_file_without_intact_frames_is_rejected():
    for data in (packed("FLAC")[:42] + bytes(3000), packed("OGG", "OPUS", 48000)[:200]):
        with pytest.raises(AudioError):
            read_reporting(io.BytesIO(data))


def test_transcript_keeps_the_warnings(tmp_path):
    path = tmp_path / "cut.wav"
    soundfile.write(path, sample_speech(), 16000)
    path.write_bytes(path.read_bytes()[:-20_000])
    reports = []
    with closing(open_audio(path, on_damage=reports.append)) as reader:
        assert reader.warnings == ()
        list(reader)
        assert reader.warnings == tuple(reports)
    with pytest.warns(AudioTruncatedWarning, match="cut off"):
        transcript = wheatear.load().transcribe(path)
    assert transcript.warnings == tuple(reports)
    assert len(reports) == 1
    assert "cut off" in reports[0]
    assert transcript.text
    assert wheatear.load().transcribe(sample_speech()).warnings == ()


@pytest.mark.parametrize(
    ("form", "codec", "options", "promises"),
    [
        ("mp4", "aac", (("movflags", "frag_keyframe+empty_moov"), ("frag_duration", "500000")), 0),
        ("matroska", "aac", (), 3.9),
        ("webm", "libopus", (), 3.9),
        ("flv", "aac", (), 3.9),
        ("adts", "aac", (), 0),
    ],
)
def test_cut_off_container_is_read_and_reported(form, codec, options, promises):
    rate = 44100 if form == "flv" else 16000 if form == "adts" else 48000
    data = made(form, codec, rate, options=options)
    whole = read(io.BytesIO(data))
    pattern = rf"cut off: it promises {promises}" if promises else r"cut off|damaged"
    with pytest.warns(AudioTruncatedWarning, match=pattern):
        part = read(io.BytesIO(data[: int(0.6 * len(data))]))
    assert len(part) > 0.5 * len(whole)
    size = len(part) - 1000
    np.testing.assert_allclose(part[:size], whole[:size], atol=1e-5)


def test_damaged_container_is_reported_and_keeps_its_times():
    data = bytearray(made("mp4", "aac"))
    expected = read(io.BytesIO(data))
    at = data.index(b"mdat") + 4 + 15000
    data[at : at + 3000] = b"\xff" * 3000
    with pytest.warns(
        AudioTruncatedWarning, match=r"damaged: \d+ of its packets .* first at 1\.\d s"
    ):
        samples = read(io.BytesIO(data))
    assert len(samples) == pytest.approx(len(expected), abs=400)
    np.testing.assert_allclose(samples[:16000], expected[:16000], atol=1e-5)
    assert abs(shift(samples[-20000:], expected[-20000:])) <= 400


def test_intact_files_raise_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for form in ("WAV", "FLAC", "MP3", "AIFF", "AU", "CAF", "W64", "RF64", "OGG"):
            list(open_audio(io.BytesIO(packed(form))))
