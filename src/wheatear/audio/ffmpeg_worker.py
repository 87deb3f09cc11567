"""A program that takes the sound out of a container: a file in, float32 frames out, by FFmpeg.

    python -P unpack.py DEMUXER [START END] < FILE

FFmpeg is a great deal of C that reads what strangers send. It runs here in a process of its own,
whose memory and time are bounded and which can open no file, no socket and no program once its
libraries are loaded (`confine.py`): 5 kB that claim an index of a billion entries end this process,
not the one that serves others. The demuxer is given, so that no file chooses it; nothing is opened
but the file; no decoder runs but those of sound. This program imports neither Wheatear nor numpy,
which would take longer than all else that it does.

Of a file that has several recordings, START and END are the bytes of one.

Standard output has a line of JSON, {"rate", "channels", "duration"}, and the sound of the first
sound track in blocks: rate, channels, frames (32-bit each), and the frames, little-endian, channels
interleaved. Rate and channels may change. Where the track begins later than the container,
or has a gap, there is silence: times are those that a player shows. Standard error ends with a line
of JSON: {"error"}, or what `_Track.report` says.
"""

import io
import json
import re
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from itertools import chain
from pathlib import Path
from pkgutil import walk_packages
from runpy import run_path
from types import SimpleNamespace
from typing import Any, BinaryIO

import av

_MEMORY = 1 << 29  # bytes of address space, of which the libraries take a quarter
_CPU = 30  # seconds, beside a tenth of the audio's
_CPU_OF_ALL = 6 * 3600  # seconds that no recording may take more than
_ESTIMATES = (
    "aac",
    "ac3",
    "amr",
    "dts",
    "eac3",
    "loas",
    "mp3",
    "mpeg",
    "mpegts",
)  # demuxers that guess lengths from the file's size
_UNTIMED = ("aac", "ac3", "amr", "dts", "eac3", "loas", "mp3")  # times that FFmpeg counts itself
_JITTER = 0.1  # seconds that times may be off by without being a gap
_LONGEST_GAP = 3600.0  # seconds; times that leap farther are wrong
_PATIENCE = 20  # packets that may fail, beside as many as were decoded
_PCM = "s16le s16be s24le s24be s32le s32be f32le f32be f64le f64be u8 s8 mulaw alaw bluray dvd"
_CODECS = (
    *("aac", "aac_latm", "alac", "ac3", "eac3", "dca", "flac", "opus", "vorbis", "speex", "qdm2"),
    *("mp1float", "mp2float", "mp3float", "mp1", "mp2", "mp3", "nellymoser", "wmavoice"),
    *("wmav1", "wmav2", "wmapro", "wmalossless", "amrnb", "amrwb", "gsm", "gsm_ms", "g722"),
    *("g726", "g726le", "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "adpcm_swf", "adpcm_yamaha"),
    *(f"pcm_{name}" for name in _PCM.split()),
)


class RefusedError(Exception):
    """What is wrong with a file: the rest of a sentence that begins with its name."""


def main() -> None:
    """Writes the sound and the report."""
    _load_all()
    confine = run_path(str(Path(__file__).with_name("sandbox.py")))["confine"]
    confine(_MEMORY, _CPU_OF_ALL)
    _bound("RLIMIT_CPU", _CPU)
    try:
        with open(0, "rb", buffering=0) as file, open(1, "wb") as out:
            start, end = map(int, sys.argv[2:4]) if len(sys.argv) > 3 else (0, 1 << 62)
            report = _unpack(_Bytes(file, start, end), sys.argv[1], out)
    except BrokenPipeError:
        return  # nobody listens any more
    except RefusedError as error:
        report = {"error": str(error)}
    except MemoryError:
        report = {"error": "takes more memory to read than a recording would"}
    except Exception as error:  # noqa: BLE001  (whatever FFmpeg comes upon is the file's fault)
        report = {"error": f"cannot be decoded: {getattr(error, 'strerror', None) or error}"}
    print(json.dumps(report), file=sys.stderr)


def _load_all() -> None:
    """Imports what PyAV would import when a file asks for it, since no file can be opened then."""
    for part in walk_packages(av.__path__, "av."):
        if not part.name.endswith(("__main__", "datasets")):
            with suppress(Exception):  # a part that another release has, and this system has not
                import_module(part.name)


def _bound(name: str, most: int) -> None:
    """Bounds what this process may use, on systems that have such bounds."""
    try:
        import resource  # noqa: PLC0415

        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (soft, hard))
    except (ImportError, ValueError, OSError):
        pass


class _Bytes:
    """A stretch of a file as a file, without a name, which demuxers go by."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file, self._start = file, start
        self._end = min(end, file.seek(0, io.SEEK_END))
        self.seek(0)

    def read(self, size: int) -> bytes:
        return self._file.read(max(0, min(size, self._end - self._file.tell()))) or b""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: self._start, io.SEEK_CUR: self._file.tell(), io.SEEK_END: self._end}
        return self._file.seek(max(self._start, base[whence] + offset)) - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start


def _unpack(file: Any, demuxer: str, out: BinaryIO) -> dict[str, Any]:
    track = _Track(file, demuxer)
    frames = track.frames()
    first = next(frames, None)  # what containers say of the rate is not always so
    if first is not None:
        track.rate, track.channels = first.sample_rate, first.layout.nb_channels
        frames = chain([first], frames)
    header = {"rate": track.rate, "channels": track.channels, "duration": track.duration}
    out.write(json.dumps(header).encode() + b"\n")
    for data in track.sound(frames):
        out.write(struct.pack("<III", track.rate, track.channels, len(data) // 4 // track.channels))
        out.write(data)
    return track.report()


def _tag_options(version: str) -> dict[str, Any]:
    """Options of `av.open` that let tags be of any encoding. PyAV 19 needs none and has none."""
    return {"metadata_errors": "replace"} if int(version.split(".", 1)[0]) < 19 else {}


class _Track:
    """The first sound track of a file."""

    def __init__(self, file: Any, demuxer: str) -> None:
        self._container = av.open(
            SimpleNamespace(read=file.read, seek=file.seek, tell=file.tell),
            mode="r",
            format=demuxer,
            container_options={
                "format_whitelist": demuxer,
                "codec_whitelist": ",".join(_CODECS),
                "protocol_whitelist": "none",
            },
            **_tag_options(av.__version__),
        )
        if not self._container.streams.audio:
            raise RefusedError("holds no sound")
        self._stream = self._container.streams.audio[0]
        self._codec = self._stream.codec_context
        if self._codec is None or self._codec.name not in _CODECS:
            name = "unknown" if self._codec is None else self._codec.name
            raise RefusedError(f"holds sound of a codec that is not read: {name}")
        if self._codec.name == "flac":  # whose damaged frames it would take for sound
            self._codec.options = {"err_detect": "crccheck+explode"}
        self._counted = demuxer == "flac"  # its frames are numbered
        self.rate, self.channels = self._codec.sample_rate, self._codec.layout.nb_channels
        start = self._container.start_time
        self._start = None if start is None else start / av.time_base
        self._timed = demuxer not in _UNTIMED
        told = demuxer not in _ESTIMATES
        self._promised = self._end() if told else None
        whole = (self._container.duration or 0) / av.time_base
        self.duration = self._promised or ((whole if whole > 0 else None) if told else None)
        self._before = 0.0  # seconds, until rate or channels changed last
        self._read = 0  # frames since then
        self._good = self._bad = 0  # packets
        self._first_bad = 0.0  # seconds
        self._fault: str | None = None

    def frames(self) -> Iterator[Any]:
        """Decodes. A packet that cannot be decoded is counted; FFmpeg drops the codec's padding."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.has_sidedata("encryption_info"):
                    raise RefusedError("is encrypted")
                yield from self._decoded(packet)
        except av.FFmpegError as error:
            self._fault = error.strerror
            yield from self._decoded(None)
        if not self._good and (self._bad or self._fault):
            raise RefusedError("holds no sound that can be decoded: it is damaged or encrypted")

    def sound(self, frames: Iterable[Any]) -> Iterator[bytes]:
        """Decoded frames -> their bytes, with silence where there is no sound."""
        interleaved, form = av.AudioResampler(format="flt"), None
        size = 4 * self.channels
        minutes = 0
        for frame in frames:
            if form not in (None, _form(frame)):
                interleaved = av.AudioResampler(format="flt")
                self._before, self._read = self._seconds, 0
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
            if self._seconds > 60 * minutes:
                minutes += 1
                _bound("RLIMIT_CPU", _CPU + 6 * minutes)

    def report(self) -> dict[str, Any]:
        """Seconds that were read and that the file promised, if it did; packets that could not be
        decoded, and when the first; and why reading stopped before the end, if it did.
        """
        return {
            "read": self._seconds,
            "promised": self._promised,
            "bad": self._bad,
            "first_bad": self._first_bad,
            "fault": self._fault,
        }

    @property
    def _seconds(self) -> float:
        return self._before + (self._read / self.rate if self.rate else 0.0)

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            frames = self._codec.decode(packet)
        except av.FFmpegError as error:
            self._first_bad = self._first_bad if self._bad else self._seconds
            self._bad += 1
            if self._bad > self._good + _PATIENCE:
                raise RefusedError(
                    f"cannot be decoded from {self._first_bad:.1f} s on: it is damaged or encrypted"
                ) from error
            return []
        self._good += bool(frames)
        return frames

    def _gap(self, frame: Any) -> int:
        """Frames of silence before a frame that begins later than the last one ended."""
        if frame.time is None or not self._timed:
            return 0
        if self._start is None or (self._counted and not self._seconds):
            self._start = frame.time
        gap = frame.time - self._start - self._seconds
        if not _JITTER < gap < _LONGEST_GAP:
            return 0
        if self._counted:  # FFmpeg drops damaged frames without a word
            self._first_bad = self._first_bad if self._bad else self._seconds
            self._bad += 1
        return round(gap * self.rate)

    def _end(self) -> float | None:
        """When the track ends, in seconds from the container's start, if that is told."""
        stream, start = self._stream, self._start or 0.0
        end = 0.0
        if stream.duration and stream.time_base:
            end = float((stream.duration + (stream.start_time or 0)) * stream.time_base) - start
        elif tag := re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", "")):
            hours, minutes, seconds = map(float, tag.groups())  # Matroska's
            end = 3600 * hours + 60 * minutes + seconds - start
        elif len(self._container.streams) == 1 and self._container.duration:
            end = self._container.duration / av.time_base - start
        return end if end > 0 else None


def _form(frame: Any) -> tuple[int, str, str]:
    """What a resampler takes for granted of all its frames."""
    return frame.sample_rate, frame.layout.name, frame.format.name


if __name__ == "__main__":
    main()
