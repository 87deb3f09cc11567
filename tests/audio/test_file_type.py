"""Recognition of files by their first bytes."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from audio_files import SPEECH, read, read_reporting
from media_files import WITH_DELAY, WITHOUT_DELAY, made
from piped_audio import Dribble

from wheatear.audio.file_type import container_at
from wheatear.audio.reader import open_audio
from wheatear.cli.batch_plan import plan_batch
from wheatear.errors import AudioError


def test_containers_are_recognized():
    for form, codec, rate in [*WITH_DELAY, *WITHOUT_DELAY]:
        data = made(form, codec, rate)
        kind = container_at(lambda at, size, data=data: data[at : at + size])
        assert kind is not None
        names = {"ipod": "mov", "mp4": "mov", "3gp": "mov", "webm": "matroska", "adts": "aac"}
        assert kind.demuxer == names.get(form, form)
    sound = (SPEECH * 32767).astype("<i2").tobytes()
    for raw in (sound, bytes(4000), b"\xff" * 4000, b"G" + bytes(4000), b"\xff\xf1" + bytes(4000)):
        assert container_at(lambda at, size, raw=raw: raw[at : at + size]) is None
    assert container_at(lambda *_: b"") is None


REJECTED = {
    "a WavPack file": b"wvpk", "a TTA file": b"TTA1", "a Monkey's Audio file": b"MAC \x96\x0f",
    "a PNG image": b"\x89PNG\r\n\x1a\n", "a JPEG image": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "a zip archive": b"PK\x03\x04\x14\0", "a gzip archive": b"\x1f\x8b\x08\0",
    "a PDF document": b"%PDF-1.7\n%\xe2\xe3", "a NIST SPHERE file": b"NIST_1A\n   1024\n",
    "a VOC file": b"Creative Voice File\x1a", "an IRCAM file": b"\x64\xa3\x01\0",
    "text": "Grüße, das ist nur Text. ".encode() * 9,
}  # fmt: skip


@pytest.mark.parametrize("about", REJECTED)
def test_known_file_without_decoder_is_rejected_by_name(about, tmp_path):
    data = REJECTED[about] + (b"" if about == "text" else np.random.default_rng(1).bytes(9000))
    (tmp_path / "a.wav").write_bytes(data)
    for source in (io.BytesIO(data), Dribble(data, [5, 900]), tmp_path / "a.wav"):
        with pytest.raises(AudioError, match=f"is {about}"):
            open_audio(source)


def test_tar_archive_is_rejected_by_name():
    head = bytearray(600)
    head[:8], head[257:262] = b"name.txt", b"ustar"
    for source in (io.BytesIO(bytes(head)), Dribble(bytes(head), [7, 4000])):
        with pytest.raises(AudioError, match="a tar archive"):
            read_reporting(source)


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_through_a_pipe_are_rejected(seed):
    """Compressed data of an unknown type is not transcribed as noise."""
    noise = np.random.default_rng(seed).bytes(2048 + 400 * seed)
    with pytest.raises(AudioError, match="too random for 16-bit PCM"):
        read_reporting(Dribble(noise, [7, 4000, 3]))


def test_clipped_speech_through_a_pipe_is_pcm():
    for gain in (1, 10, 100):
        loud = (np.clip(SPEECH * gain, -1, 1) * 32767).astype("<i2").tobytes()
        samples, reports = read_reporting(Dribble(loud, [7, 4000, 3]))
        assert (len(samples), reports) == (len(SPEECH), [])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.wav", b"", "it is empty"),
        ("text.wav", b"Hello, this is not audio at all." * 9, "cannot decode.*Files that work"),
        ("header.flac", b"fLaC" + bytes(9), "cannot decode"),
    ],
)
def test_file_without_audio_is_rejected_by_name(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError, match=message) as raised:
        read(path)
    assert name in str(raised.value)


@pytest.mark.parametrize(
    ("form", "codec", "about"),
    [
        ("mp4", "aac", "an mp4, m4a or mov file"),
        ("webm", "libopus", "a webm or Matroska file"),
        ("asf", "aac", "a WMA or WMV file"),
        ("adts", "aac", "an AAC stream"),
        ("mpegts", "aac", "an MPEG transport stream"),
        ("avi", "libmp3lame", "an AVI file"),
    ],
)
def test_container_without_the_extra_is_rejected_by_name(form, codec, about, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    data = made(form, codec, 16000 if form in ("asf", "adts") else 48000)
    for source in (io.BytesIO(data), Dribble(data, [777])):
        with pytest.raises(AudioError, match=rf"is {about}: pip install 'wheatear\[media\]'"):
            open_audio(source)


def test_folder_lists_readable_suffixes(tmp_path, monkeypatch):
    for name in ("a.wav", "b.m4a", "c.WEBM", "d.txt"):
        (tmp_path / name).touch()
    jobs = plan_batch([str(tmp_path)], tmp_path / "out", "txt", recursive=False)
    assert [Path(job.audio).name for job in jobs] == ["a.wav", "b.m4a", "c.WEBM"]
    monkeypatch.setitem(sys.modules, "av", None)
    jobs = plan_batch([str(tmp_path)], tmp_path / "out", "txt", recursive=False)
    assert [Path(job.audio).name for job in jobs] == ["a.wav"]
