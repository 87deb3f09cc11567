"""A program that decodes the sound in a container by FFmpeg: a file in, float32 frames out.

    python -P ffmpeg_worker.py DEMUXER [START END] < FILE

FFmpeg is a large C library that parses untrusted files. Here it runs in a separate process with
bounded memory and time. Once its libraries are loaded, the process cannot open files, sockets or
programs (`sandbox.py`). A file of 5 kB whose index claims a billion entries ends this process and
not the server. The caller sets the demuxer, so that no file chooses it. Only the file itself is
opened, and only audio decoders run. This program imports neither Wheatear nor numpy, which would
take longer than the rest of its work.

START and END are offsets of one recording in a file that has several.

Standard output has a line of JSON, {"rate", "channels", "duration"}, and the first sound track in
blocks: rate, channels, frames (32-bit each), and the frames, little-endian, channels interleaved.
Rate and channels may change. Silence fills the time before a late track and in gaps, so
that times match a player's. Standard error ends with a line of JSON: {"error"}, or `Track.report`.
"""

import io
import json
import re
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from itertools import chain
from pathlib import Path
from pkgutil import walk_packages
from runpy import run_path
from typing import Any, BinaryIO

import av

CPU_SECONDS = 30
"""Processor time, to which a tenth of the audio's duration is added."""
_MEMORY = 1 << 29  # bytes of address space, of which the libraries take a quarter
_CPU_OF_ALL = 6 * 3600  # seconds, for any recording
_UNTIMED = ("aac", "ac3", "amr", "dts", "eac3", "loas", "mp3")  # FFmpeg counts their times itself
_ESTIMATED = (*_UNTIMED, "mpeg", "mpegts")  # demuxers that guess durations from the file's size
_JITTER = 0.1  # seconds that times may be off by without being a gap
_LONGEST_GAP = 3600.0  # seconds; larger steps are wrong times
_PATIENCE = 20  # packets that may fail, in addition to as many as were decoded
_PCM = "s16le s16be s24le s24be s32le s32be f32le f32be f64le f64be u8 s8 mulaw alaw bluray dvd"
_CODECS = (
    *("aac", "aac_latm", "alac", "ac3", "eac3", "dca", "flac", "opus", "vorbis", "speex", "qdm2"),
    *("mp1float", "mp2float", "mp3float", "mp1", "mp2", "mp3", "nellymoser", "wmavoice"),
    *("wmav1", "wmav2", "wmapro", "wmalossless", "amrnb", "amrwb", "gsm", "gsm_ms", "g722"),
    *("g726", "g726le", "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "adpcm_swf", "adpcm_yamaha"),
    *(f"pcm_{name}" for name in _PCM.split()),
)


class RejectedError(Exception):
    """Rejection of a file; the message continues a sentence that begins with its name."""


def main() -> None:
    """Writes the sound and the report."""
    _load_all()
    sandbox = run_path(str(Path(__file__).with_name("sandbox.py")))
    sandbox["confine"](_MEMORY, _CPU_OF_ALL)
    sandbox["set_limit"]("CPU", CPU_SECONDS)
    try:
        with open(0, "rb", buffering=0) as file, open(1, "wb") as out:
            start, end = map(int, sys.argv[2:4]) if len(sys.argv) > 3 else (0, 1 << 62)
            report = decode(_Span(file, start, end), sys.argv[1], out, sandbox["set_limit"])
    except BrokenPipeError:
        return  # the reader has closed
    except RejectedError as error:
        report = {"error": str(error)}
    except MemoryError:
        report = {"error": "takes more memory to read than a recording would"}
    except Exception as error:  # noqa: BLE001  (all errors of FFmpeg are faults of the file)
        report = {"error": f"cannot be decoded: {getattr(error, 'strerror', None) or error}"}
    print(json.dumps(report), file=sys.stderr)


def _load_all() -> None:
    """Imports the modules that PyAV imports on demand, since no file can be opened later."""
    for part in walk_packages(av.__path__, "av."):
        if not part.name.endswith(("__main__", "datasets")):
            with suppress(Exception):  # a module that this system does not support
                import_module(part.name)


class _Span(io.RawIOBase):
    """Part of a file, as a separate file."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file, self._start, self._at = file, start, 0
        self._size = max(0, min(end, file.seek(0, io.SEEK_END)) - start)

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        self._file.seek(self._start + self._at)
        data = self._file.read(left if size < 0 else min(size, left)) or b""
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, (0, self._at, self._size)[whence] + offset)
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def decode(
    file: Any, demuxer: str, out: BinaryIO, set_limit: Callable[[str, int], bool]
) -> dict[str, Any]:
    """Writes the sound and returns the report."""
    track = Track(file, demuxer)
    frames = track.frames()
    first = next(frames, None)  # containers may state another rate
    if first is not None:
        track.rate, track.channels = first.sample_rate, first.layout.nb_channels
        frames = chain([first], frames)
    header = {"rate": track.rate, "channels": track.channels, "duration": track.duration}
    out.write(json.dumps(header).encode() + b"\n")
    minutes = 0
    for data in track.sound(frames):
        out.write(struct.pack("<III", track.rate, track.channels, len(data) // 4 // track.channels))
        out.write(data)
        if track.seconds > 60 * minutes:
            minutes += 1
            set_limit("CPU", CPU_SECONDS + 6 * minutes)
    return track.report()


def tag_options(version: str) -> dict[str, Any]:
    """Returns the options of `av.open` that allow tags in any encoding; PyAV 19 has none."""
    return {"metadata_errors": "replace"} if int(version.split(".", 1)[0]) < 19 else {}


class Track:
    """First sound track of a file."""

    def __init__(self, file: Any, demuxer: str) -> None:
        self.container = av.open(
            file,  # without a name, because demuxers go by names
            mode="r",
            format=demuxer,
            container_options={
                "format_whitelist": demuxer,
                "codec_whitelist": ",".join(_CODECS),
                "protocol_whitelist": "none",
            },
            **tag_options(av.__version__),
        )
        if not self.container.streams.audio:
            raise RejectedError("holds no sound")
        self._stream = self.container.streams.audio[0]
        self._codec = self._stream.codec_context
        if self._codec is None or self._codec.name not in _CODECS:
            name = "unknown" if self._codec is None else self._codec.name
            raise RejectedError(f"holds sound of a codec that is not read: {name}")
        if self._codec.name == "flac":  # damaged frames would decode to noise
            self._codec.options = {"err_detect": "crccheck+explode"}
        self._counted = demuxer == "flac"  # its frames are numbered
        self.rate, self.channels = self._codec.sample_rate, self._codec.layout.nb_channels
        start = self.container.start_time
        self._start = None if start is None else start / av.time_base
        self._timed = demuxer not in _UNTIMED
        self._promised = self.duration = None
        if demuxer not in _ESTIMATED:
            whole = (self.container.duration or 0) / av.time_base
            self._promised = self._end()
            self.duration = self._promised or (whole if whole > 0 else None)
        self._before = 0.0  # seconds, until rate or channels changed last
        self._read = 0  # frames since then
        self._good = self._bad = 0  # packets
        self._first_bad = 0.0  # seconds
        self._fault: str | None = None

    def frames(self) -> Iterator[Any]:
        """Yields decoded frames; counts packets that cannot be decoded."""
        try:
            for packet in self.container.demux(self._stream):
                if packet.has_sidedata("encryption_info"):
                    raise RejectedError("is encrypted")
                yield from self._decoded(packet)
        except av.FFmpegError as error:
            self._fault = error.strerror
            yield from self._decoded(None)
        if not self._good and (self._bad or self._fault):
            raise RejectedError("holds no sound that can be decoded: it is damaged or encrypted")

    def sound(self, frames: Iterable[Any]) -> Iterator[bytes]:
        """Yields the bytes of frames, and of silence in gaps."""
        interleaved, form = av.AudioResampler(format="flt"), None
        size = 4 * self.channels
        for frame in frames:
            if form not in (None, _form(frame)):
                interleaved = av.AudioResampler(format="flt")
                self._before, self._read = self.seconds, 0
                self.rate, self.channels = frame.sample_rate, frame.layout.nb_channels
                size = 4 * self.channels
            form = _form(frame)
            gap = self._gap(frame)
            while gap > 0:
                part = min(gap, self.rate)
                self._read += part
                gap -= part
                yield bytes(part * size)
            for out in interleaved.resample(frame):
                self._read += out.samples
                yield bytes(out.planes[0])[: out.samples * size]

    def report(self) -> dict[str, Any]:
        """Returns expected seconds, bad packets, the time of the first one, and a final fault."""
        return {
            "promised": self._promised,
            "bad": self._bad,
            "first_bad": self._first_bad,
            "fault": self._fault,
        }

    @property
    def seconds(self) -> float:
        """Duration of the sound up to here."""
        return self._before + (self._read / self.rate if self.rate else 0.0)

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            frames = self._codec.decode(packet)
        except av.FFmpegError as error:
            self._first_bad = self._first_bad if self._bad else self.seconds
            self._bad += 1
            if self._bad > self._good + _PATIENCE:
                raise RejectedError(
                    f"cannot be decoded from {self._first_bad:.1f} s on: it is damaged or encrypted"
                ) from error
            return []
        self._good += bool(frames)
        return frames

    def _gap(self, frame: Any) -> int:
        """Returns the frames of silence between the last frame and this one."""
        if frame.time is None or not self._timed:
            return 0
        if self._start is None or (self._counted and not self.seconds):
            self._start = frame.time
        gap = frame.time - self._start - self.seconds
        if not _JITTER < gap < _LONGEST_GAP:
            return 0
        if self._counted:  # FFmpeg drops damaged frames silently
            self._first_bad = self._first_bad if self._bad else self.seconds
            self._bad += 1
        return round(gap * self.rate)

    def _end(self) -> float | None:
        """Returns the end of the track in seconds from the container's start, if stated."""
        stream, start = self._stream, self._start or 0.0
        end = 0.0
        if stream.duration and stream.time_base:
            end = float((stream.duration + (stream.start_time or 0)) * stream.time_base) - start
        elif tag := re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", "")):
            hours, minutes, seconds = map(float, tag.groups())  # Matroska's
            end = 3600 * hours + 60 * minutes + seconds - start
        elif len(self.container.streams) == 1 and self.container.duration:
            end = self.container.duration / av.time_base - start
        return end if end > 0 else None


def _form(frame: Any) -> tuple[int, str, str]:
    """Properties that must not change within a resampler's input."""
    return frame.sample_rate, frame.layout.name, frame.format.name


if __name__ == "__main__":
    main()
