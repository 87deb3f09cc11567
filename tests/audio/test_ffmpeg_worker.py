"""Decoding in the process of FFmpeg: times, tracks, and hostile files."""

import io
import socket
import struct
import threading
import warnings
from contextlib import closing, suppress

import av
import numpy as np
import pytest
from audio_files import SPEECH, read, shift
from media_files import WITH_DELAY, WITHOUT_DELAY, film_stream, made, write_film
from piped_audio import Dribble

from wheatear.audio.ffmpeg import FfmpegReader
from wheatear.audio.ffmpeg_worker import Track, tag_options
from wheatear.audio.file_type import Container
from wheatear.audio.reader import open_audio
from wheatear.errors import AudioError, AudioTruncatedWarning


@pytest.mark.parametrize(("form", "codec", "rate"), WITH_DELAY)
def test_container_with_codec_delay_gives_exact_times(form, codec, rate):
    """No sample is late, and at most one packet of padding is left at the end."""
    samples = read(io.BytesIO(made(form, codec, rate)))
    assert shift(samples, SPEECH) == 0
    assert 0 <= len(samples) - len(SPEECH) <= 1024 * 16000 / rate
    band = min(rate / 2, 8000) * 0.8
    spectrum, expected = (np.fft.rfft(s[: len(SPEECH)]) for s in (samples, SPEECH))
    decoded = slice(0, int(band / 8000 * len(spectrum)))
    assert np.corrcoef(np.abs(spectrum[decoded]), np.abs(expected[decoded]))[0, 1] > 0.98


@pytest.mark.parametrize(("form", "codec", "rate"), WITHOUT_DELAY)
def test_container_without_codec_delay_gives_close_times(form, codec, rate):
    """The codec's delay remains, or FFmpeg's estimate of it: less than 70 ms."""
    samples = read(io.BytesIO(made(form, codec, rate)))
    assert abs(shift(samples, SPEECH)) <= 0.07 * 16000
    assert abs(len(samples) - len(SPEECH)) <= 0.15 * 16000


def test_silent_amr_is_read():
    """Frames of silence, because not every PyAV can encode AMR."""
    assert len(read(io.BytesIO(b"#!AMR\n" + 50 * (b"\x3c" + bytes(31))))) == 16000


@pytest.mark.parametrize(("form", "codec"), [("mp4", "aac"), ("webm", "libopus")])
def test_tags_in_any_encoding_are_accepted(form, codec):
    data = made(form, codec)
    tagged = data.replace(b"Lavf", b"\xff\xfe\x80\xe9")
    assert tagged != data
    assert len(read(io.BytesIO(tagged))) == len(read(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("version", "named"), [("16.0.0", True), ("18.1.0", True), ("19.0.2", False)]
)
def test_tag_options_match_the_version_of_pyav(version, named):
    """Version 19 dropped an argument by name, and every file failed with it."""
    assert ("metadata_errors" in tag_options(version)) is named


@pytest.mark.parametrize(("form", "codec"), [("mp4", "aac"), ("webm", "libopus")])
def test_film_gives_its_first_sound_track(form, codec):
    film = read(io.BytesIO(made(form, codec, video=True, tracks=2)))
    np.testing.assert_array_equal(film, read(io.BytesIO(made(form, codec))))


@pytest.mark.parametrize(
    ("form", "codec"), [("mp4", "aac"), ("webm", "libopus"), ("mpegts", "aac"), ("mov", "alac")]
)
def test_gaps_in_sound_become_silence(form, codec):
    """Sound that begins after the picture, and a pause in which nothing was recorded."""
    late = read(io.BytesIO(made(form, codec, video=True, start=2.0)))
    assert abs(shift(late, np.pad(SPEECH, (32000, 0)))) <= 16
    assert not late[:30000].any()
    paused = read(io.BytesIO(made(form, codec, gap=1.0)))
    whole = read(io.BytesIO(made(form, codec)))
    assert len(paused) - len(whole) == pytest.approx(16000, abs=16)
    assert not paused[26000:38000].any()


def test_estimated_duration_is_not_reported():
    with closing(open_audio(io.BytesIO(made("adts", "aac", 16000)))) as reader:
        assert reader.duration is None
    with closing(open_audio(io.BytesIO(made("mp4", "aac")))) as reader:
        assert reader.duration == pytest.approx(len(SPEECH) / 16000, abs=0.01)


def test_encrypted_file_is_rejected():
    options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "76" * 16}
    options["encryption_kid"] = "a7" * 16
    for codec in ("aac", "libopus"):  # a decoder of opus would take it for noise
        data = made("mp4", codec, options=tuple(options.items()))
        with pytest.raises(AudioError, match="the audio is encrypted"):
            open_audio(io.BytesIO(data))


def test_film_without_sound_is_rejected():
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        write_film(container, film_stream(container, "mp4"), 1.0)
    with pytest.raises(AudioError, match="the audio holds no sound"):
        open_audio(io.BytesIO(out.getvalue()))


def test_unsupported_codec_is_rejected():
    with pytest.raises(AudioError, match="a codec that is not read: wavpack"):
        open_audio(io.BytesIO(made("matroska", "wavpack", 16000)))


def test_rate_that_changes_is_followed():
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
    """Returns a small file whose index states a number of samples of one byte."""
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
def test_index_with_a_huge_count_is_rejected(in_fragment):
    """A few kB would take 2 GB: they are rejected, or the index is taken as empty."""
    data = mp4_of(40_000_000, in_fragment)
    assert len(data) < 5000
    refusal = "more memory|Invalid data"  # FFmpeg looks at the count itself since 9
    with pytest.raises(AudioError, match=refusal if in_fragment else "cut off or damaged"):
        read(io.BytesIO(data))


@pytest.fixture
def server():
    """Yields a server's address, and its connections."""
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
    """Yields texts that would make FFmpeg open another file."""
    url = f"http://{address}/a.m4a"
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n%s\n#EXT-X-ENDLIST\n"
    yield "hls", hls % url
    yield "hls", hls % path
    yield "concat", f"ffconcat version 1.0\nfile '{path}'\n"
    yield "dash", f'<?xml version="1.0"?><MPD><BaseURL>{url}</BaseURL></MPD>'
    yield "srt", "1\n00:00:01,000 --> 00:00:02,000\nHello\n"


def test_playlist_opens_no_other_file(server, tmp_path):
    """Playlists are not recognized as audio, and their demuxers open nothing."""
    address, came = server
    (tmp_path / "a.m4a").write_bytes(made("ipod", "aac", 16000))
    for demuxer, text in playlists(address, tmp_path / "a.m4a"):
        for source in (io.BytesIO(text.encode()), Dribble(text.encode(), [777])):
            with pytest.raises(AudioError, match=r"cannot decode|is text"):
                open_audio(source)
        (tmp_path / "list").write_text(text)
        with (tmp_path / "list").open("rb") as file, pytest.raises(AudioError):
            FfmpegReader(file, Container(demuxer, "a list"), "the list")
    assert not came


def test_reference_to_another_file_is_not_followed(server):
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


def test_no_video_decoder_runs():
    """A decoder of pictures would know the pixel format."""
    track = Track(io.BytesIO(made("mp4", "aac", video=True)), "mov")
    assert track.container.streams.video[0].codec_context.pix_fmt is None
    with av.open(io.BytesIO(made("mp4", "aac", video=True))) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
