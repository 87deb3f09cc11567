"""Sources of audio, limits on it, and blocks of constant size."""

import gzip
import io
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from audio_files import (
    SPEECH,
    read,
)
from media_files import made
from piped_audio import Dribble

from wheatear.audio.pcm import RawFormat
from wheatear.audio.reader import AudioLimits, open_audio, sample_speech
from wheatear.errors import AudioError


def test_audio_is_read_once():
    reader = open_audio(np.zeros(100, np.float32))
    list(reader)
    with pytest.raises(AudioError, match="read already"):
        list(reader)


def test_raw_file_is_recognized_by_its_suffix(tmp_path):
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


def test_unreadable_paths_are_rejected(tmp_path):
    with pytest.raises(AudioError, match=r"missing\.wav.*No such file"):
        open_audio(tmp_path / "missing.wav")
    with pytest.raises(AudioError, match="is a folder"):
        open_audio(tmp_path)
    with pytest.raises(AudioError, match="not int"):
        open_audio(5)


@pytest.mark.parametrize(
    "name",
    [
        "https://a.org/b.wav",
        "http:/a.org/b",
        "s3://x/y",
        "file:///etc/x.wav",
        "data:audio/wav;base64,AA",
    ],
)
def test_url_is_rejected(name):
    with pytest.raises(AudioError, match="URLs are not read"):
        open_audio(name)


def test_blocks_of_a_long_file_stay_small(tmp_path):
    """A reader holds one block at a time."""
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros((60 * 44100, 2)), 44100)
    blocks = [len(block) for block in open_audio(path)]
    assert max(blocks) < 16000
    assert sum(blocks) == pytest.approx(60 * 16000, abs=2)


def test_paths_files_and_pipes_give_the_same_samples(tmp_path):
    data = made("webm", "libopus")
    expected = read(io.BytesIO(data))
    (tmp_path / "a.webm").write_bytes(data)
    (tmp_path / "a.webm.gz").write_bytes(gzip.compress(data))
    np.testing.assert_array_equal(read(tmp_path / "a.webm"), expected)
    np.testing.assert_array_equal(read(Dribble(data, [777])), expected)
    with (tmp_path / "a.webm").open("rb") as file:
        np.testing.assert_array_equal(read(file), expected)
    with gzip.open(tmp_path / "a.webm.gz") as file:  # whose file number is that of the zip
        np.testing.assert_array_equal(read(file), expected)


def flac_of(seconds, read_reporting=True):
    """Silence in a few kB."""
    out = io.BytesIO()
    soundfile.write(out, np.zeros(seconds * 8000, np.int16), 8000, format="FLAC")
    data = bytearray(out.getvalue())
    if not read_reporting:  # STREAMINFO's 36 bits of total samples
        data[21] &= 0xF0
        data[22:26] = bytes(4)
    return bytes(data)


def seconds_before(source, seconds, pattern, **options):
    """Seconds that are decoded before the limit stops it."""
    decoded = [0]
    with pytest.raises(AudioError, match=pattern):
        decoded.extend(map(len, open_audio(source, limits=AudioLimits(seconds), **options)))
    return sum(decoded) / 16000


TOO_LONG = r"is longer than 3 s, the limit that is set"


def test_long_silence_is_rejected_early_if_stated_and_stopped_if_not():
    data = flac_of(3600, read_reporting=False)
    assert len(data) < 200_000
    assert 2 < seconds_before(io.BytesIO(data), 3, TOO_LONG) <= 3
    assert seconds_before(io.BytesIO(flac_of(3600)), 3, TOO_LONG) == 0


@pytest.mark.parametrize(
    ("form", "codec", "options"),
    [("mp4", "aac", ()), ("webm", "libopus", ()), ("webm", "libopus", (("live", "1"),))],
)
def test_limit_holds_for_containers(form, codec, options):
    data = made(form, codec, options=options)
    read_reporting = not options
    assert (seconds_before(io.BytesIO(data), 3, TOO_LONG) == 0) == read_reporting
    assert seconds_before(Dribble(data, [777]), 3, TOO_LONG) <= 3
    assert len(read(io.BytesIO(data), limits=AudioLimits(4))) >= len(SPEECH)


def test_gap_counts_toward_the_limit():
    data = made("webm", "libopus", gap=3000.0)
    with pytest.raises(AudioError, match="longer than 60 s"):
        read(io.BytesIO(data), limits=AudioLimits(60))


@pytest.mark.parametrize("channels", [1, 8])
def test_decoded_bytes_of_all_channels_are_limited(channels):
    limit, file = 4 * 16_000 * 60, io.BytesIO()  # a minute of one channel
    soundfile.write(file, np.zeros((90 * 16_000, channels)), 16_000, format="FLAC")
    assert len(file.getvalue()) < limit / 10
    file.seek(0)
    decoded = []
    with pytest.raises(AudioError, match="unpacks to more than 3840000 bytes of samples"):
        decoded.extend(map(len, open_audio(file, limits=AudioLimits(bytes=limit))))
    assert sum(decoded) <= limit / 4 / channels


def test_limit_holds_for_all_other_sources(tmp_path):
    raw = (SPEECH * 32767).astype("<i2").tobytes()
    mp3, ogg = io.BytesIO(), io.BytesIO()
    soundfile.write(mp3, SPEECH, 16000, format="MP3")
    soundfile.write(ogg, SPEECH, 16000, format="OGG", subtype="OPUS")
    (tmp_path / "a.pcm").write_bytes(raw)
    mp3.seek(0)
    ogg.seek(0)
    for source, options in [
        (SPEECH, {}),
        (mp3, {}),
        (ogg, {}),
        (tmp_path / "a.pcm", {}),
        (Dribble(raw, [777]), {}),
        (Dribble(raw, [777]), {"raw": RawFormat()}),
        (Dribble(ogg.getvalue(), [777]), {}),
    ]:
        assert seconds_before(source, 3, TOO_LONG, **options) <= 3
    assert len(read(SPEECH, limits=AudioLimits(len(SPEECH) / 16000))) == len(SPEECH)
    assert len(read(SPEECH, limits=AudioLimits())) == len(SPEECH)
