"""Uploads that are not audio, or whose header is wrong."""

import io
import struct
from functools import cache

import numpy as np
import soundfile

from wheatear.audio.reader import sample_speech

RATE = 16_000


def wav(
    data: bytes,
    *,
    size: int | None = None,
    rate: int = RATE,
    channels: int = 1,
    bits: int = 16,
    encoding: int = 1,
) -> bytes:
    """A WAV file with a given header; size: declared bytes of data."""
    frame = channels * bits // 8
    declared = len(data) if size is None else size
    form = struct.pack(
        "<HHIIHH", encoding, channels, rate, rate * frame % (1 << 32), frame % (1 << 16), bits
    )
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", declared) + data
    return b"RIFF" + struct.pack("<I", (4 + len(chunks)) % (1 << 32)) + b"WAVE" + chunks


def packed(samples: np.ndarray, rate: int = RATE, form: str = "FLAC", **more: str) -> bytes:
    """Samples as a file of a format of libsndfile's."""
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=form, **more)
    return out.getvalue()


@cache
def speech() -> np.ndarray:
    """Speech, int16."""
    return np.round(sample_speech() * 32767).astype(np.int16)


def bomb(seconds: float, rate: int = RATE, channels: int = 1) -> bytes:
    """Silence in FLAC: a few bytes for every second of it."""
    out = io.BytesIO()
    block = np.zeros((rate, channels), np.int16)
    with soundfile.SoundFile(out, "w", rate, channels, "PCM_16", format="FLAC") as file:
        for _ in range(round(seconds)):
            file.write(block)
    return out.getvalue()


@cache
def files() -> dict[str, bytes]:
    """Name -> a file that cannot be transcribed, or is a trap."""
    pcm = speech().tobytes()
    good = packed(speech())
    opus = packed(speech(), form="OGG", subtype="OPUS")
    vorbis = packed(speech(), form="OGG", subtype="VORBIS")
    mp3 = packed(speech(), form="MP3")
    noise = np.random.default_rng(3).bytes
    half = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768
    odd = half.copy()
    odd[1000:1010] = np.nan
    loud = half * np.float32(1e30)
    return {
        "nothing": b"",
        "one byte": b"R",
        "text": b"Dear server, this is audio. " * 1000,
        "html": b"<!doctype html><script>alert(1)</script>" * 100,
        "noise": noise(50_000),
        "wav head only": wav(b""),
        "wav cut in its head": wav(pcm)[:30],
        "wav of no channels": wav(pcm, channels=0),
        "wav of 65535 channels": wav(pcm, channels=65535),
        "wav of 100 channels": wav(pcm * 4, channels=100),
        "wav at 0 Hz": wav(pcm, rate=0),
        "wav at 4 GHz": wav(pcm, rate=(1 << 32) - 1),
        "wav of 1 bit": wav(pcm, bits=1),
        "wav of 4 GiB": wav(pcm, size=(1 << 32) - 1),
        "wav of -1 bytes": wav(pcm, size=0x8000_0000),
        "wav in no encoding": wav(pcm, encoding=0x7777),
        "wav of NaN": wav(odd.tobytes(), bits=32, encoding=3),
        "wav of infinity": wav(loud.tobytes(), bits=32, encoding=3),
        "wav in a wav": wav(wav(pcm)),
        "flac cut off": good[: len(good) // 2],
        "flac head only": good[:42],
        "flac with noise in it": good[:9000] + noise(5000) + good[14_000:],
        "flac that declares 2^36 samples": _declared_long(good),
        "opus cut off": opus[: len(opus) // 2],
        "opus with noise in it": opus[:4000] + noise(2000) + opus[6000:],
        "vorbis of 255 channels": _declared_wide(vorbis),
        "mp3 of noise": mp3[:400] + noise(20_000),
        "mp3 with a huge tag": b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + mp3,
        "ogg pages of nothing": b"OggS" + bytes(23) + b"\x00" * 60_000,
        "aiff of noise": b"FORM\x7f\xff\xff\xffAIFFCOMM" + noise(3000),
        "au of noise": b".snd\x00\x00\x00\x18\xff\xff\xff\xff" + noise(3000),
        "caf of noise": b"caff\x00\x01\x00\x00desc" + noise(3000),
        "rf64 of noise": b"RF64\xff\xff\xff\xffWAVEds64" + noise(3000),
        "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "concat script": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        "zip": b"PK\x03\x04" + noise(2000),
        "gzip of zeros": b"\x1f\x8b\x08" + noise(2000),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "mp4 of nothing": b"\x00\x00\x00\x18ftypM4A \x00\x00\x00\x00" + bytes(2000),
        "mp4 of lies": b"\x00\x00\x00\x18ftypM4A \x00\x00\x00\x00\xff\xff\xff\xffmoov"
        + noise(4000),
        "webm of noise": b"\x1aE\xdf\xa3" + noise(4000),
    }


def _declared_long(flac: bytes) -> bytes:
    """A FLAC file that declares 2^36 - 1 samples."""
    head = bytearray(flac)
    head[21] |= 0x0F
    head[22:26] = b"\xff\xff\xff\xff"
    return bytes(head)


def _declared_wide(vorbis: bytes) -> bytes:
    """A Vorbis file that declares 255 channels."""
    at = vorbis.index(b"\x01vorbis") + 11
    return vorbis[:at] + b"\xff" + vorbis[at + 1 :]
