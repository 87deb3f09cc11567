"""Containers that FFmpeg reads: the sound is all there, in time; what is hostile harms nobody."""

import errno
import gzip
import io
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import warnings
from contextlib import closing, suppress
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import SPEECH, _film, _film_stream, made

import wheatear
from wheatear.audio import ffmpeg as media
from wheatear.audio.ffmpeg import FfmpegReader
from wheatear.audio.ffmpeg_worker import Track, tag_options
from wheatear.audio.file_type import Container, container_at
from wheatear.audio.pcm import RawFormat
from wheatear.audio.reader import AudioLimits, open_audio
from wheatear.cli import main
from wheatear.cli.batch_plan import plan_batch
from wheatear.errors import AudioError, AudioTruncatedWarning, LanguageError, OverloadedError


def read(source, **options):
    blocks = list(open_audio(source, **options))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def shift(samples, expected):
    """By how many samples what was read lies after what was put in."""
    size = min(len(samples), len(expected))
    padded = np.pad(samples[:size], 2000)
    return int(np.correlate(padded, expected[:size], "valid").argmax()) - 2000


# -- what is in a container ----------------------------------------------------------------------

EXACT = [("mp4", "aac", 48000), ("ipod", "aac", 16000), ("3gp", "aac", 16000)]
EXACT += [("webm", "libopus", 48000), ("mp4", "libopus", 48000), ("matroska", "aac", 44100)]
EXACT += [("mov", "alac", 16000), ("mov", "pcm_s16le", 44100), ("matroska", "flac", 48000)]
EXACT += [("caf", "alac", 16000), ("wav", "adpcm_g726", 8000)]
LATE = [("adts", "aac", 16000), ("mpegts", "aac", 48000), ("flv", "aac", 44100)]
LATE += [("avi", "libmp3lame", 48000), ("mpeg", "mp2", 48000)]
LATE += [("asf", "aac", 16000), ("asf", "wmav2", 44100)]
if "libopencore_amrnb" in av.codecs_available:  # PyAV has no encoder of it since 19
    LATE += [("amr", "libopencore_amrnb", 8000)]


@pytest.mark.parametrize(("form", "codec", "rate"), EXACT)
def test_containers_that_tell_what_the_codec_put_before(form, codec, rate):
    """Not a sample is late, and at most one packet of padding is left at the end."""
    samples = read(io.BytesIO(made(form, codec, rate)))
    assert shift(samples, SPEECH) == 0
    assert 0 <= len(samples) - len(SPEECH) <= 1024 * 16000 / rate
    band = min(rate / 2, 8000) * 0.8
    spectrum, expected = (np.fft.rfft(s[: len(SPEECH)]) for s in (samples, SPEECH))
    heard = slice(0, int(band / 8000 * len(spectrum)))
    assert np.corrcoef(np.abs(spectrum[heard]), np.abs(expected[heard]))[0, 1] > 0.98


@pytest.mark.parametrize(("form", "codec", "rate"), LATE)
def test_containers_that_do_not(form, codec, rate):
    """The codec's delay remains, or what FFmpeg guesses of it: less than 70 ms."""
    samples = read(io.BytesIO(made(form, codec, rate)))
    assert abs(shift(samples, SPEECH)) <= 0.07 * 16000
    assert abs(len(samples) - len(SPEECH)) <= 0.15 * 16000


def test_amr_is_read():
    """Frames of silence, since not every PyAV can encode it."""
    assert len(read(io.BytesIO(b"#!AMR\n" + 50 * (b"\x3c" + bytes(31))))) == 16000


@pytest.mark.parametrize(("form", "codec"), [("mp4", "aac"), ("webm", "libopus")])
def test_tags_may_be_of_any_encoding(form, codec):
    data = made(form, codec)
    tagged = data.replace(b"Lavf", b"\xff\xfe\x80\xe9")
    assert tagged != data
    assert len(read(io.BytesIO(tagged))) == len(read(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("version", "named"), [("16.0.0", True), ("18.1.0", True), ("19.0.2", False)]
)
def test_pyav_is_asked_for_what_it_knows(version, named):
    """Version 19 dropped an argument by name, and every file failed with it."""
    assert ("metadata_errors" in tag_options(version)) is named


@pytest.mark.parametrize(("form", "codec"), [("mp4", "aac"), ("webm", "libopus")])
def test_a_film_is_its_first_sound_track(form, codec):
    film = read(io.BytesIO(made(form, codec, video=True, tracks=2)))
    np.testing.assert_array_equal(film, read(io.BytesIO(made(form, codec))))


@pytest.mark.parametrize(
    ("form", "codec"), [("mp4", "aac"), ("webm", "libopus"), ("mpegts", "aac"), ("mov", "alac")]
)
def test_times_are_those_of_the_film(form, codec):
    """Sound that begins after the picture, and a pause in which nothing was recorded."""
    late = read(io.BytesIO(made(form, codec, video=True, start=2.0)))
    assert abs(shift(late, np.pad(SPEECH, (32000, 0)))) <= 16
    assert not late[:30000].any()
    paused = read(io.BytesIO(made(form, codec, gap=1.0)))
    whole = read(io.BytesIO(made(form, codec)))
    assert len(paused) - len(whole) == pytest.approx(16000, abs=16)
    assert not paused[26000:38000].any()


def test_an_estimate_is_no_duration():
    with closing(open_audio(io.BytesIO(made("adts", "aac", 16000)))) as reader:
        assert reader.duration is None
    with closing(open_audio(io.BytesIO(made("mp4", "aac")))) as reader:
        assert reader.duration == pytest.approx(len(SPEECH) / 16000, abs=0.01)


class Pipe(io.RawIOBase):
    """Gives bytes in odd pieces and cannot seek."""

    def __init__(self, data):
        self.file = io.BytesIO(data)

    def seekable(self):
        return False

    def read1(self, size):
        return self.file.read(min(size, 777))

    read = read1


def test_the_same_samples_from_wherever_they_come(tmp_path):
    data = made("webm", "libopus")
    expected = read(io.BytesIO(data))
    (tmp_path / "a.webm").write_bytes(data)
    (tmp_path / "a.webm.gz").write_bytes(gzip.compress(data))
    np.testing.assert_array_equal(read(tmp_path / "a.webm"), expected)
    np.testing.assert_array_equal(read(Pipe(data)), expected)
    with (tmp_path / "a.webm").open("rb") as file:
        np.testing.assert_array_equal(read(file), expected)
    with gzip.open(tmp_path / "a.webm.gz") as file:  # whose file number is that of the zip
        np.testing.assert_array_equal(read(file), expected)


def test_channels_apart():
    np.testing.assert_array_equal(
        read(io.BytesIO(made("mp4", "aac")), separate_channels=True)[:, 0],
        read(io.BytesIO(made("mp4", "aac"))),
    )


# -- the command ---------------------------------------------------------------------------------


def test_the_command_takes_films_and_pipes(tmp_path, capsys):
    path = tmp_path / "film.mp4"
    path.write_bytes(made("mp4", "aac", video=True))
    with pytest.raises(SystemExit) as ended:
        main(["transcribe", str(path)])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "calling" in text
    command = [sys.executable, "-m", "wheatear", "transcribe", "-"]
    piped = subprocess.run(command, input=path.read_bytes(), capture_output=True, check=True)
    assert piped.stdout.decode() == text


def test_folders_with_films_in_them(tmp_path, monkeypatch):
    for name in ("a.wav", "b.m4a", "c.WEBM", "d.txt"):
        (tmp_path / name).touch()
    jobs = plan_batch([str(tmp_path)], tmp_path / "out", "txt", recursive=False)
    assert [Path(job.audio).name for job in jobs] == ["a.wav", "b.m4a", "c.WEBM"]
    monkeypatch.setitem(sys.modules, "av", None)
    jobs = plan_batch([str(tmp_path)], tmp_path / "out", "txt", recursive=False)
    assert [Path(job.audio).name for job in jobs] == ["a.wav"]


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
def test_without_the_extra_it_is_said_what_the_file_is(form, codec, about, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    data = made(form, codec, 16000 if form in ("asf", "adts") else 48000)
    for source in (io.BytesIO(data), Pipe(data)):
        with pytest.raises(AudioError, match=rf"is {about}: pip install 'wheatear\[media\]'"):
            open_audio(source)


def test_without_the_extra_libsndfile_says_what_it_does_not_know(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"cannot decode.*with wheatear\[media\] also m4a"):
        open_audio(io.BytesIO(made("wav", "adpcm_g726", 8000)))


# -- files that are cut off, damaged, or made to harm ---------------------------------------------


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
def test_what_is_there_of_a_file_that_is_cut_off(form, codec, options, promises):
    rate = 44100 if form == "flv" else 16000 if form == "adts" else 48000
    data = made(form, codec, rate, options=options)
    whole = read(io.BytesIO(data))
    says = rf"cut off: it promises {promises}" if promises else r"cut off|damaged"
    with pytest.warns(AudioTruncatedWarning, match=says):
        part = read(io.BytesIO(data[: int(0.6 * len(data))]))
    assert len(part) > 0.5 * len(whole)
    size = len(part) - 1000
    np.testing.assert_allclose(part[:size], whole[:size], atol=1e-5)


def test_an_index_at_the_end_is_cut_off_first():
    data = made("mp4", "aac")
    with pytest.raises(AudioError, match="cut off before its index"):
        open_audio(io.BytesIO(data[: int(0.6 * len(data))]))


def test_damage_is_told_and_times_stay():
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


def test_what_is_encrypted_says_so():
    options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "76" * 16}
    options["encryption_kid"] = "a7" * 16
    for codec in ("aac", "libopus"):  # a decoder of opus would take it for noise
        data = made("mp4", codec, options=tuple(options.items()))
        with pytest.raises(AudioError, match="the audio is encrypted"):
            open_audio(io.BytesIO(data))


def test_films_without_sound():
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        _film(container, _film_stream(container, "mp4"), 1.0)
    with pytest.raises(AudioError, match="the audio holds no sound"):
        open_audio(io.BytesIO(out.getvalue()))


def test_codecs_that_are_not_read():
    with pytest.raises(AudioError, match="a codec that is not read: wavpack"):
        open_audio(io.BytesIO(made("matroska", "wavpack", 16000)))


def test_sound_that_changes_midway():
    first, second = made("adts", "aac", 16000), made("adts", "aac", 48000)
    samples = read(io.BytesIO(first + second))
    parts = [read(io.BytesIO(data)) for data in (first, second)]
    assert len(samples) == pytest.approx(sum(map(len, parts)), abs=1024)
    assert abs(shift(samples[-len(SPEECH) :], SPEECH)) <= 0.07 * 16000


def box(kind, *parts):
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def full(kind, *numbers, flags=0, end=b""):
    return box(kind, struct.pack(f">{1 + len(numbers)}I", flags, *numbers), end)


def mp4_of(samples, in_fragment):
    """A small file with an index of so many samples of one byte."""
    count, more = (0, samples) if in_fragment else (samples, 0)
    config = bytes.fromhex("03190001000411401500000000000000000000000502140805")
    sound = struct.pack(">6xH8xHHII", 1, 1, 16, 0, 16000 << 16) + full(b"esds", end=config)
    entry = full(b"stsd", 1, end=box(b"mp4a", sound))
    runs = ((1, count, 1024), (1, 1, count, 1), (1, 0)) if count else ((0,), (0,), (0,))
    tables = full(b"stts", *runs[0]), full(b"stsc", *runs[1]), full(b"stco", *runs[2])
    table = box(b"stbl", entry, *tables, full(b"stsz", 1, count))
    where = box(b"dinf", full(b"dref", 1, end=full(b"url ", flags=1)))
    kind = full(b"mdhd", 0, 0, 16000, 16000, 0), full(b"hdlr", 0, end=b"soun" + bytes(13))
    sound = box(b"mdia", *kind, box(b"minf", full(b"smhd", 0), where, table))
    track = box(b"trak", full(b"tkhd", 0, 0, 1, 0, 0, end=bytes(60), flags=3), sound)
    extends = box(b"mvex", full(b"trex", 1, 1, 1024, 1, 0)) if more else b""
    head = box(b"moov", full(b"mvhd", 0, 0, 1000, 1000, end=bytes(80)), track, extends)
    run = box(b"traf", full(b"tfhd", 1, flags=0x20000), full(b"trun", more))
    fragment = box(b"moof", full(b"mfhd", 1), run) if more else b""
    return box(b"ftyp", b"isom", bytes(4)) + head + fragment + box(b"mdat", bytes(4000))


@pytest.mark.parametrize("in_fragment", [True, False])
def test_an_index_that_is_a_bomb(in_fragment):
    """A few kB that would take 2 GB: they are refused, or the index is taken as empty."""
    data = mp4_of(40_000_000, in_fragment)
    assert len(data) < 5000
    refusal = "more memory|Invalid data"  # FFmpeg looks at the count itself since 9
    with pytest.raises(AudioError, match=refusal if in_fragment else "cut off or damaged"):
        read(io.BytesIO(data))


SEEDS = [
    *(("mp4", "aac", 16000), ("webm", "libopus", 48000), ("adts", "aac", 16000)),
    *(("mpegts", "aac", 48000), ("avi", "libmp3lame", 48000), ("caf", "alac", 16000)),
]


@settings(max_examples=30, deadline=None)
@given(seed=st.sampled_from(SEEDS), chance=st.integers(0, 2**32), head=st.booleans())
def test_damaged_files_are_read_or_refused(seed, chance, head):
    """Whatever is changed, what comes is samples, warnings or an AudioError; and it ends."""
    data, rng = bytearray(made(*seed)), random.Random(chance)
    for _ in range(rng.choice([1, 5, 50])):
        at = rng.randrange(1000 if head else len(data))
        data[at : at + rng.choice([1, 4, 90])] = rng.randbytes(rng.choice([0, 1, 4, 90]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioTruncatedWarning)
        try:
            samples = read(io.BytesIO(data), limits=AudioLimits(60))
        except AudioError:
            return
    assert np.abs(samples).max(initial=0) < 100


@pytest.fixture
def server():
    """A server's address, and whom it saw come."""
    came = []

    def serve():
        with suppress(OSError):
            while True:
                came.append(listening.accept())
                came[-1][0].close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}", came
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def playlists(address, path):
    """Texts that make FFmpeg open something else, if it is let."""
    url = f"http://{address}/a.m4a"
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n%s\n#EXT-X-ENDLIST\n"
    yield "hls", hls % url
    yield "hls", hls % path
    yield "concat", f"ffconcat version 1.0\nfile '{path}'\n"
    yield "dash", f'<?xml version="1.0"?><MPD><BaseURL>{url}</BaseURL></MPD>'
    yield "srt", "1\n00:00:01,000 --> 00:00:02,000\nHello\n"


def test_nothing_but_the_file_is_opened(server, tmp_path):
    """Playlists are not taken for sound, and if they were, they would lead nowhere."""
    address, came = server
    (tmp_path / "a.m4a").write_bytes(made("ipod", "aac", 16000))
    for demuxer, text in playlists(address, tmp_path / "a.m4a"):
        for source in (io.BytesIO(text.encode()), Pipe(text.encode())):
            with pytest.raises(AudioError, match=r"cannot decode|is text"):
                open_audio(source)
        (tmp_path / "list").write_text(text)
        with (tmp_path / "list").open("rb") as file, pytest.raises(AudioError):
            FfmpegReader(file, Container(demuxer, "a list"), "the list")
    assert not came


def test_sound_that_lies_in_another_file(server):
    """QuickTime's references to other files are not followed."""
    address, came = server
    here = full(b"url ", flags=1)
    data = made("mov", "pcm_s16le", 16000)
    assert here in data
    there = full(b"url ", end=f"http://{address}/a.mov\0".encode())
    # in front of the index, where nothing else is moved by a few bytes more
    data = data.replace(here, there)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioTruncatedWarning)
        with suppress(AudioError):
            read(io.BytesIO(data))
    assert not came


def test_no_decoder_of_pictures_runs():
    """What a picture's decoder would have found out is not known."""
    track = Track(io.BytesIO(made("mp4", "aac", video=True)), "mov")
    assert track.container.streams.video[0].codec_context.pix_fmt is None
    with av.open(io.BytesIO(made("mp4", "aac", video=True))) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_what_a_file_is():
    for form, codec, rate in [*EXACT, *LATE]:
        data = made(form, codec, rate)
        kind = container_at(lambda at, size, data=data: data[at : at + size])
        assert kind is not None
        names = {"ipod": "mov", "mp4": "mov", "3gp": "mov", "webm": "matroska", "adts": "aac"}
        assert kind.demuxer == names.get(form, form)
    sound = (SPEECH * 32767).astype("<i2").tobytes()
    for raw in (sound, bytes(4000), b"\xff" * 4000, b"G" + bytes(4000), b"\xff\xf1" + bytes(4000)):
        assert container_at(lambda at, size, raw=raw: raw[at : at + size]) is None
    assert container_at(lambda *_: b"") is None


# -- the process ---------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Something else in place of the decoder."""

    def write(text):
        path = tmp_path / "program.py"
        path.write_text(text)
        monkeypatch.setattr(media, "WORKER", path)

    return write


HEADER = '{"rate": 16000, "channels": 1, "duration": null}'


def test_a_decoder_that_dies(program):
    program("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(AudioError, match=r"the audio cannot be decoded: .* ended \(Killed\)"):
        open_audio(io.BytesIO(made("mp4", "aac")))
    program(f"import os\nprint('{HEADER}', flush=True)\nprint(7 / 0)")
    with pytest.raises(AudioError, match="ZeroDivisionError"):
        read(io.BytesIO(made("mp4", "aac")))


def test_a_decoder_that_takes_forever_is_ended_by_the_system(program):
    path = media.__file__.replace("ffmpeg.py", "")
    program(
        f"import sys; sys.path.append({path!r}); import ffmpeg_worker\n"
        "ffmpeg_worker.CPU_SECONDS = 1\n"
        "ffmpeg_worker.decode = lambda *_: [None for _ in iter(int, 1)]\n"
        "ffmpeg_worker.main()"
    )
    with pytest.raises(AudioError, match="CPU time"):
        open_audio(io.BytesIO(made("mp4", "aac")))


def test_closing_ends_what_hangs(program):
    program(f"import time\nprint('{HEADER}', flush=True)\ntime.sleep(600)")
    reader = open_audio(io.BytesIO(made("mp4", "aac")))
    faults = []

    def listen():
        try:
            list(reader)
        except AudioError as error:
            faults.append(error)

    thread = threading.Thread(target=listen)
    thread.start()
    time.sleep(0.2)  # so that it waits; the test holds without it, too
    reader.close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(faults) == 1


def test_no_process_is_left(monkeypatch):
    """Not by who stops listening, nor by what fails before it listens."""
    started = []

    class Watched(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    with closing(open_audio(io.BytesIO(made("mp4", "aac")))) as reader:
        next(iter(reader))
    with pytest.raises(LanguageError):
        wheatear.load().transcribe(io.BytesIO(made("mp4", "aac")), language="xx")
    assert [process.returncode is not None for process in started] == [True, True]


# -- limits --------------------------------------------------------------------------------------


def flac_of(seconds, told=True):
    """Silence in a few kB."""
    out = io.BytesIO()
    soundfile.write(out, np.zeros(seconds * 8000, np.int16), 8000, format="FLAC")
    data = bytearray(out.getvalue())
    if not told:  # STREAMINFO's 36 bits of total samples
        data[21] &= 0xF0
        data[22:26] = bytes(4)
    return bytes(data)


def heard_before(source, seconds, says, **options):
    """Seconds that are decoded before the limit stops it."""
    heard = [0]
    with pytest.raises(AudioError, match=says):
        heard.extend(map(len, open_audio(source, limits=AudioLimits(seconds), **options)))
    return sum(heard) / 16000


SAYS = r"is longer than 3 s, the limit that is set"


def test_an_hour_of_silence_is_refused_when_it_is_told_and_stopped_when_not():
    data = flac_of(3600, told=False)
    assert len(data) < 200_000
    assert 2 < heard_before(io.BytesIO(data), 3, SAYS) <= 3
    assert heard_before(io.BytesIO(flac_of(3600)), 3, SAYS) == 0


@pytest.mark.parametrize(
    ("form", "codec", "options"),
    [("mp4", "aac", ()), ("webm", "libopus", ()), ("webm", "libopus", (("live", "1"),))],
)
def test_limits_of_containers(form, codec, options):
    data = made(form, codec, options=options)
    told = not options
    assert (heard_before(io.BytesIO(data), 3, SAYS) == 0) == told
    assert heard_before(Pipe(data), 3, SAYS) <= 3
    assert len(read(io.BytesIO(data), limits=AudioLimits(4))) >= len(SPEECH)


def test_a_pause_of_an_hour_counts():
    data = made("webm", "libopus", gap=3000.0)
    with pytest.raises(AudioError, match="longer than 60 s"):
        read(io.BytesIO(data), limits=AudioLimits(60))


def test_limits_of_all_else(tmp_path):
    raw = (SPEECH * 32767).astype("<i2").tobytes()
    mp3, ogg = io.BytesIO(), io.BytesIO()
    soundfile.write(mp3, SPEECH, 16000, format="MP3")
    soundfile.write(ogg, SPEECH, 16000, format="OGG", subtype="OPUS")
    (tmp_path / "a.pcm").write_bytes(raw)
    mp3.seek(0)
    ogg.seek(0)
    for source, options in [
        *((SPEECH, {}), (mp3, {}), (ogg, {}), (tmp_path / "a.pcm", {})),
        *((Pipe(raw), {}), (Pipe(raw), {"raw": RawFormat()}), (Pipe(ogg.getvalue()), {})),
    ]:
        assert heard_before(source, 3, SAYS, **options) <= 3
    assert len(read(SPEECH, limits=AudioLimits(len(SPEECH) / 16000))) == len(SPEECH)
    assert len(read(SPEECH, limits=AudioLimits())) == len(SPEECH)


def test_more_channels_than_any_recording_has():
    out = io.BytesIO()
    soundfile.write(out, np.zeros((100, 65)), 16000, format="WAV")
    with pytest.raises(AudioError, match="the audio has 65 channels; 1 to 64 work"):
        open_audio(io.BytesIO(out.getvalue()))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM])
def test_a_machine_that_starts_no_decoder_is_not_the_files_fault(monkeypatch, tmp_path, number):
    def none_left(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(media.subprocess, "Popen", none_left)
    file = tmp_path / "a.m4a"
    file.write_bytes(b"\0\0\0\x18ftypM4A " + bytes(100))
    with pytest.raises(OverloadedError, match="ulimit"):
        list(open_audio(file))
