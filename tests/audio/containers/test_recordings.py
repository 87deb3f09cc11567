"""Every byte of a file is accounted for: joined, cut, damaged, mislabeled."""

import io
import os
import re
import struct
import warnings
from contextlib import closing
from functools import cache

import av
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import made
from piped_audio import Dribble

from wheatear.audio import file_type
from wheatear.audio.file_type import container_at
from wheatear.audio.pcm import PcmDecoder, RawFormat
from wheatear.audio.reader import open_audio, sample_speech
from wheatear.errors import AudioError

SPEECH = sample_speech()
SECONDS = len(SPEECH) / 16000


def told(source, **options):
    """The samples of a source, and what is said to be missing."""
    said = []
    with closing(open_audio(source, on_damage=said.append, **options)) as reader:
        samples = np.concatenate([np.zeros(0, np.float32), *reader])
        assert reader.warnings == tuple(said)
    return samples, said


def both(data):
    """The same by file and through a pipe."""
    samples, said = told(io.BytesIO(data))
    piped, piped_said = told(Dribble(data, [7, 4000, 3]))
    np.testing.assert_array_equal(samples, piped)
    assert said == piped_said
    return samples, said


@cache
def packed(form, subtype=None, rate=16000, channels=1):
    sound = SPEECH if rate == 16000 else soxr.resample(SPEECH, 16000, rate)
    out = io.BytesIO()
    soundfile.write(out, np.stack([sound] * channels, axis=1), rate, format=form, subtype=subtype)
    return out.getvalue()


@cache
def mp3_without_tag(rate=16000, channels=1):
    data = packed("MP3", None, rate, channels)
    frame = file_type.mpeg.frame_of(data[:4])
    return data[frame.size :]


def id3(size=3000):
    return (
        b"ID3\x03\0\0" + bytes([0, 0, size >> 7, size & 0x7F]) + b"\xff\xfb\x90\x64" * (size // 4)
    )


def wav(data, size=None, rate=16000, channels=1, after=b""):
    form = struct.pack("<HHIIHH", 1, channels, rate, 2 * rate * channels, 2 * channels, 16)
    said = len(data) if size is None else size
    chunks = (
        b"fmt \x10\0\0\0" + form + b"data" + struct.pack("<I", said & 0xFFFFFFFF) + data + after
    )
    return b"RIFF" + struct.pack("<I", (4 + len(chunks)) & 0xFFFFFFFF) + b"WAVE" + chunks


PCM = (SPEECH * 32767).astype("<i2").tobytes()

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
    """In steps of a tenth of a second."""
    return np.sqrt(np.square(samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)).mean(axis=1))


@pytest.mark.parametrize("name", JOINED)
def test_all_of_what_was_joined_comes_out(name):
    """Decoders stop at the end of the first file, or take the second one's header for sound."""
    if name == "amr and amr" and "libopencore_amrnb" not in av.codecs_available:
        pytest.skip("this PyAV has no encoder of AMR")
    samples, said = told(io.BytesIO(JOINED[name]()))
    assert said == []
    assert len(samples) == pytest.approx(2 * len(SPEECH), abs=0.3 * 16000)
    for part in (samples[: len(SPEECH)], samples[-len(SPEECH) :]):
        shifts = [loudness(np.roll(part, shift))[:38] for shift in range(-3200, 3201, 400)]
        assert max(np.corrcoef(loudness(SPEECH)[:38], s)[0, 1] for s in shifts) > 0.9


@pytest.mark.parametrize(
    "name", ["mp3 of another rate", "wav and mp3", "wav and wav", "flac and flac"]
)
def test_joined_files_through_a_pipe(name):
    samples, _ = both(JOINED[name]())
    assert len(samples) == pytest.approx(2 * len(SPEECH), abs=0.15 * 16000)


def test_what_flac_keeps_of_another_format_is_no_recording():
    """Application blocks hold the header of the WAV file that a FLAC file was made of."""
    data = packed("FLAC")
    block = b"riff" + wav(PCM[:4000])
    first = data[:4] + b"\0" + data[5:42]  # STREAMINFO, no longer the last block
    kept = bytes([2 | data[4] & 0x80]) + len(block).to_bytes(3, "big") + block
    samples, said = told(io.BytesIO(first + kept + data[42:]))
    assert said == []
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
def test_files_that_begin_late_are_read(name, before):
    samples, _ = both(before + BURIED[name]())
    assert len(samples) == pytest.approx(len(SPEECH), abs=0.3 * 16000)


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_by_pipe_are_no_pcm(seed):
    """Compressed data of a kind that is not known is not transcribed as noise."""
    noise = np.random.default_rng(seed).bytes(2048 + 400 * seed)
    with pytest.raises(AudioError, match="too random for 16-bit PCM"):
        told(Dribble(noise, [7, 4000, 3]))


def test_loud_and_clipped_speech_by_pipe_is_pcm():
    for gain in (1, 10, 100):
        loud = (np.clip(SPEECH * gain, -1, 1) * 32767).astype("<i2").tobytes()
        samples, said = told(Dribble(loud, [7, 4000, 3]))
        assert (len(samples), said) == (len(SPEECH), [])


def test_a_header_that_ends_early_is_told():
    data = bytearray(packed("AU"))
    data[8:12] = (16000).to_bytes(4, "big")  # half a second
    _, said = told(io.BytesIO(bytes(data)))
    assert [line for line in said if "bytes follow what it describes" in line]


def test_an_mp4_without_its_index_is_told():
    whole = made("ipod", "aac", 16000)
    with pytest.raises(AudioError, match=r"cut off before its index \(moov\)"):
        told(io.BytesIO(whole[: whole.index(b"moov") - 4]))


def test_a_tar_archive_is_refused_by_name():
    head = bytearray(600)
    head[:8], head[257:262] = b"name.txt", b"ustar"
    for source in (io.BytesIO(bytes(head)), Dribble(bytes(head), [7, 4000])):
        with pytest.raises(AudioError, match="a tar archive"):
            told(source)


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
def test_what_is_cut_off_is_read_and_told(name):
    make, says = CUT[name]
    samples, said = told(io.BytesIO(make()))
    assert len(samples) > 0.4 * len(SPEECH)
    assert len(said) == 1
    assert re.search(says, said[0])


def test_what_is_cut_off_in_a_pipe():
    samples, said = both(wav(PCM)[:50_001])
    assert len(samples) == (50_001 - 44) // 2
    assert "promises 3.9 s, 1.6 s are there" in said[0]


# -- headers that are wrong ----------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [-3, -2, -1, 0, 1, 2, 3, 36, 44])
@pytest.mark.parametrize("after", [b"", b"LIST\x1a\0\0\0INFOISFT\x0e\0\0\0Lavf61.1.100\0\0"])
def test_sizes_that_are_wrong_by_a_few_bytes(wrong, after):
    """Writers count their own header, or forget the padding: nothing is missing."""
    samples, said = both(wav(PCM, len(PCM) + wrong, after=after))
    assert said == []
    assert len(samples) == pytest.approx(len(SPEECH), abs=25)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFDB, 0x80000000])
def test_sizes_that_the_writer_did_not_know(size):
    samples, said = both(wav(PCM, size))
    assert (len(samples), said) == (len(SPEECH), [])


def test_a_header_that_ends_before_the_sound():
    samples, said = both(wav(PCM, 32_000))
    assert len(samples) == len(SPEECH)
    assert "by it the sound ends at 1.0 s; 2.9 s that follow were read" in said[0]


def test_sizes_that_wrapped_at_4_gib(tmp_path):
    path = tmp_path / "long.wav"
    path.write_bytes(wav(PCM))
    os.truncate(path, (1 << 32) + 44 + len(PCM))  # holes take no room
    with closing(open_audio(path)) as reader:
        assert reader.duration == pytest.approx((1 << 32) / 32000 + SECONDS, abs=0.1)
        blocks = iter(reader)
        read = sum(len(next(blocks)) for _ in range(20))
    assert read > len(SPEECH)


def test_several_chunks_of_sound():
    half = len(PCM) // 4 * 2
    rest = b"data" + struct.pack("<I", len(PCM) - half) + PCM[half:]
    note = b"LIST\4\0\0\0INFO"
    for between in (b"", note):
        samples, said = both(wav(PCM[:half], after=between + rest + note))
        np.testing.assert_array_equal(samples, told(io.BytesIO(wav(PCM)))[0])
        assert said == []


def test_mp3_in_wav():
    """Its header can only guess how long it is."""
    data = packed("MP3")
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, 16000, 4000, 1, 0, 12, 1, 2, 288, 1, 1105)
    chunks = b"fmt \x1e\0\0\0" + form + b"fact\4\0\0\0" + struct.pack("<I", len(SPEECH) + 9999)
    chunks += b"data" + struct.pack("<I", len(data)) + data
    samples, said = told(
        io.BytesIO(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    )
    assert said == []
    assert len(samples) == len(SPEECH)


# -- damage --------------------------------------------------------------------------------------


def test_one_damaged_frame_of_flac():
    data = bytearray(packed("FLAC"))
    data[len(data) // 2] ^= 0x55
    samples, said = told(io.BytesIO(data))
    assert len(samples) == len(SPEECH)
    np.testing.assert_allclose(samples[:8000], SPEECH[:8000], atol=1e-4)
    np.testing.assert_allclose(samples[-8000:], SPEECH[-8000:], atol=1e-4)
    assert len(said) == 1
    assert "damaged" in said[0]


def test_one_damaged_frame_of_flac_without_the_second_decoder(monkeypatch):
    monkeypatch.setattr(file_type, "has_ffmpeg", lambda: False)
    data = bytearray(packed("FLAC"))
    data[len(data) // 2] ^= 0x55
    samples, said = told(io.BytesIO(data))
    assert len(SPEECH) * 0.3 < len(samples) < len(SPEECH)
    np.testing.assert_allclose(samples, SPEECH[: len(samples)], atol=1e-4)
    assert "damaged: it can be read up to" in said[0]


@pytest.mark.parametrize("tagged", [True, False])
def test_a_stretch_of_an_mp3_that_is_zero(tagged):
    """What lies after it is read, and times stay."""
    data = bytearray(packed("MP3") if tagged else mp3_without_tag())
    expected, none = told(io.BytesIO(data))
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    samples, said = told(io.BytesIO(data))
    assert none == []
    assert any("damaged at 1." in s or "damaged at 2." in s for s in said)
    assert len(samples) == pytest.approx(len(expected), abs=0.1 * 16000)
    np.testing.assert_allclose(samples[:20000], expected[:20000], atol=1e-4)


def test_what_is_damaged_all_over_is_an_error():
    for data in (packed("FLAC")[:42] + bytes(3000), packed("OGG", "OPUS", 48000)[:200]):
        with pytest.raises(AudioError):
            told(io.BytesIO(data))


# -- beginnings ----------------------------------------------------------------------------------


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
def test_something_before_the_file(before, form):
    data = made("adts", "aac", 16000) if form == "ADTS" else packed(form)
    if form == "ADTS" and not before.startswith(b"ID3"):
        pytest.skip("two bytes are too little to find AAC by")
    if form == "ADTS" and before.endswith(b"\0"):
        pytest.skip("as above")
    samples, said = told(io.BytesIO(before + data))
    assert len(samples) == pytest.approx(len(SPEECH), abs=0.15 * 16000)
    assert said == []


@pytest.mark.parametrize(
    "after", [bytes(3000), b"TAG" + bytes(125), b"\n", b"APETAGEX" + bytes(24)]
)
@pytest.mark.parametrize("form", ["MP3", "FLAC", "WAV", "AIFF"])
def test_something_after_the_file(after, form):
    samples, said = told(io.BytesIO(packed(form) + after))
    assert len(samples) == pytest.approx(len(SPEECH), abs=0.2 * 16000)
    if form != "WAV":  # where it may be sound
        assert said == []


@pytest.mark.parametrize(
    ("form", "codec", "rate"),
    [("ac3", "ac3", 48000), ("eac3", "eac3", 48000), ("latm", "aac", 48000), ("mp2", "mp2", 44100)],
)
def test_streams_through_a_pipe_are_no_raw_pcm(form, codec, rate):
    samples, said = told(Dribble(made(form, codec, rate), [777]))
    assert len(samples) == pytest.approx(len(SPEECH), abs=0.15 * 16000)
    assert said == []


REFUSED = {
    "a WavPack file": b"wvpk", "a TTA file": b"TTA1", "a Monkey's Audio file": b"MAC \x96\x0f",
    "a PNG image": b"\x89PNG\r\n\x1a\n", "a JPEG image": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "a zip archive": b"PK\x03\x04\x14\0", "a gzip archive": b"\x1f\x8b\x08\0",
    "a PDF document": b"%PDF-1.7\n%\xe2\xe3", "a NIST SPHERE file": b"NIST_1A\n   1024\n",
    "a VOC file": b"Creative Voice File\x1a", "an IRCAM file": b"\x64\xa3\x01\0",
    "text": "Grüße, das ist nur Text. ".encode() * 9,
}  # fmt: skip


@pytest.mark.parametrize("about", REFUSED)
def test_what_is_known_and_not_read_is_named(about, tmp_path):
    data = REFUSED[about] + (b"" if about == "text" else np.random.default_rng(1).bytes(9000))
    (tmp_path / "a.wav").write_bytes(data)
    for source in (io.BytesIO(data), Dribble(data, [5, 900]), tmp_path / "a.wav"):
        with pytest.raises(AudioError, match=f"is {about}"):
            open_audio(source)


# -- raw PCM -------------------------------------------------------------------------------------


def guessed_layer_1(data):
    """True if libsndfile takes bytes for MPEG audio."""
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            return file.format == "MP3"
    except soundfile.LibsndfileError:
        return False


def test_raw_pcm_is_never_taken_for_mpeg_audio():
    """A header of layer I is found in much that is quiet: two bytes of it are the sample -1."""
    guessed = 0
    for start in range(0, 50_000, 617):
        quiet = (SPEECH[start : start + 4_000] * 2000).astype("<i2")
        quiet[:1] = -1
        quiet[1:2] = 0x1C14
        data = quiet.tobytes()
        guessed += guessed_layer_1(data)
        assert container_at(lambda at, size, data=data: data[at : at + size]) is None
        with pytest.raises(AudioError, match=r"cannot decode the audio.*raw PCM with its format"):
            open_audio(io.BytesIO(data))
        np.testing.assert_array_equal(
            told(Dribble(data, [999]))[0], told(io.BytesIO(data), raw=RawFormat())[0]
        )
    assert guessed  # or this test tries nothing


@settings(max_examples=60, deadline=None)
@given(data=st.binary(min_size=12, max_size=3000), lead=st.sampled_from([b"\xff\xff", b"\xff\xfb"]))
def test_bytes_that_begin_like_a_frame_are_no_stream(data, lead):
    data = lead + data
    kind = container_at(lambda at, size: data[at : at + size])
    assert kind is not file_type.MPEG


# -- channels ------------------------------------------------------------------------------------


def opposite(rate=16000, share=1.0):
    sound = SPEECH if rate == 16000 else soxr.resample(SPEECH, 16000, rate)
    return np.stack([sound, -share * sound], axis=1)


@pytest.mark.parametrize("share", [1.0, 0.9])
def test_channels_that_cancel_each_other(share):
    out = io.BytesIO()
    soundfile.write(out, opposite(share=share), 16000, format="WAV")
    samples, said = both(out.getvalue())
    np.testing.assert_allclose(samples[8000:], SPEECH[8000:], atol=1e-4)
    assert len(said) == 1
    assert "cancel each other" in said[0]


def test_channels_that_do_not():
    rng = np.random.default_rng(0)
    for right in (
        SPEECH,
        0 * SPEECH,
        -0.3 * SPEECH,
        SPEECH[::-1],
        rng.uniform(-0.1, 0.1, len(SPEECH)),
    ):
        out = io.BytesIO()
        pair = np.stack([SPEECH, right], axis=1).astype(np.float32)
        soundfile.write(out, pair, 16000, format="WAV", subtype="FLOAT")
        samples, said = both(out.getvalue())
        np.testing.assert_array_equal(samples, pair.mean(axis=1, dtype=np.float32))
        assert said == []


@settings(max_examples=6, deadline=None)
@given(
    sizes=st.lists(st.integers(50, 9000), min_size=1, max_size=4),
    rate=st.sampled_from([16000, 48000]),
)
def test_any_cut_of_channels_that_cancel(sizes, rate):
    """In files and live, what is chosen depends on the samples alone."""
    half = len(SPEECH) // 2
    pair = np.concatenate([np.stack([SPEECH[:half]] * 2, axis=1), opposite()[half:]])
    data = (pair * 32767).astype("<i2").tobytes()
    raw = RawFormat(rate, 2)
    pieces, _ = told(Dribble(data, sizes), raw=raw)
    np.testing.assert_array_equal(pieces, told(io.BytesIO(data), raw=raw)[0])
    whole, cut, at = PcmDecoder(rate, "s16", 2), PcmDecoder(rate, "s16", 2), 0
    parts = []
    while at < len(data):
        size = sizes[len(parts) % len(sizes)]
        parts.append(cut.push(data[at : at + size]))
        at += size
    expected = np.concatenate([whole.push(data), whole.finish()])
    np.testing.assert_array_equal(np.concatenate([*parts, cut.finish()]), expected)
    assert np.abs(expected[-16000:]).max() > 0.05


# -- addresses -----------------------------------------------------------------------------------


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
def test_addresses_are_not_read(name):
    with pytest.raises(AudioError, match="URLs are not read"):
        open_audio(name)


def test_no_warning_of_pythons_for_what_is_whole():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for form in ("WAV", "FLAC", "MP3", "AIFF", "AU", "CAF", "W64", "RF64", "OGG"):
            list(open_audio(io.BytesIO(packed(form))))
