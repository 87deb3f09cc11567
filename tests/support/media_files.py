"""Recordings in containers, written by PyAV."""

import io
from fractions import Fraction
from functools import cache

import av
import numpy as np
import soxr

from wheatear.audio.reader import sample_speech

SPEECH = sample_speech()
# Format, codec and rate of containers that state the delay of the codec, and of others.
WITH_DELAY = [("mp4", "aac", 48000), ("ipod", "aac", 16000), ("3gp", "aac", 16000)]
WITH_DELAY += [("webm", "libopus", 48000), ("mp4", "libopus", 48000), ("matroska", "aac", 44100)]
WITH_DELAY += [("mov", "alac", 16000), ("mov", "pcm_s16le", 44100), ("matroska", "flac", 48000)]
WITH_DELAY += [("caf", "alac", 16000), ("wav", "adpcm_g726", 8000)]


WITHOUT_DELAY = [("adts", "aac", 16000), ("mpegts", "aac", 48000), ("flv", "aac", 44100)]
WITHOUT_DELAY += [("avi", "libmp3lame", 48000), ("mpeg", "mp2", 48000)]
WITHOUT_DELAY += [("asf", "aac", 16000), ("asf", "wmav2", 44100)]
if "libopencore_amrnb" in av.codecs_available:  # PyAV has no encoder of it since 19
    WITHOUT_DELAY += [("amr", "libopencore_amrnb", 8000)]


@cache
def made(form, codec, rate=48000, video=False, start=0.0, gap=0.0, tracks=1, options=()):
    """The recording in a container.

    start: seconds before it; gap: seconds without sound after 1.5 s of it; tracks: the second one
    is silent.
    """
    out = io.BytesIO()
    with av.open(out, "w", format=form, options=dict(options)) as container:
        film = film_stream(container, form) if video else None
        streams = [container.add_stream(codec, rate=rate, layout="mono") for _ in range(tracks)]
        if film:
            write_film(container, film, start + 3.0)
        for number, stream in enumerate(streams):
            sound = soxr.resample(SPEECH, 16000, rate) * (number == 0)
            _sound(container, stream, sound, round(start * rate), round(gap * rate))
    return out.getvalue()


def film_stream(container, form):
    stream = container.add_stream("libvpx" if form == "webm" else "mpeg4", rate=10)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    return stream


def write_film(container, stream, seconds):
    for number in range(int(seconds * 10)):
        picture = np.full((48, 64, 3), number % 256, np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = number
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _sound(container, stream, sound, start, gap):
    rate, codec = stream.codec_context.sample_rate, stream.codec_context
    frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), "fltp", "mono")
    frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
    converted, fifo = av.AudioResampler(codec.format, "mono", rate), av.AudioFifo()
    for part in converted.resample(frame):
        part.pts = None
        fifo.write(part)
    if codec.name.startswith("wma"):
        codec.bit_rate = 64_000
    codec.open(strict=False)
    at = 0
    while part := fifo.read(codec.frame_size or 1024, partial=True):
        part.pts, part.time_base = start + at + (gap if at >= 1.5 * rate else 0), Fraction(1, rate)
        at += part.samples
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))
