"""Containers that libsndfile does not know: what a file is, and the sound in it, by FFmpeg.

A file's first bytes choose among the kinds below, and FFmpeg is told which it is: no playlist, no
subtitle, no image and no script gets near it. It runs as a program, `wheatear.unpack`, in a process
of its own; the extra `media` brings it.
"""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from wheatear.errors import AudioError, OverloadedError

_PROGRAM = Path(__file__).with_name("unpack.py")
# What Python may need to start and to find PyAV; tokens and keys of the server stay with it.
_ENVIRONMENT = (
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "PYTHONHOME", "PYTHONPATH"),
    *("PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE"),
)
_ROUNDING = 0.5  # seconds that a container may promise too much: encoders work in whole packets
_LONGEST_HEADER = 1000


@dataclass(frozen=True)
class Kind:
    """What a file is, by its first bytes."""

    demuxer: str
    """FFmpeg's name for it."""
    about: str


_MOV = Kind("mov", "an mp4, m4a or mov file")
_AAC = Kind("aac", "an AAC stream")
_TS = Kind("mpegts", "an MPEG transport stream")
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_RIFF = {b"AVI ": Kind("avi", "an AVI file"), b"WAVE": Kind("wav", "a WAV file")}
_BEGINNINGS = {
    b"\x1aE\xdf\xa3": Kind("matroska", "a webm or Matroska file"),
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": Kind("asf", "a WMA or WMV file"),
    b"FLV\x01": Kind("flv", "a Flash video"),
    b"#!AMR": Kind("amr", "an AMR recording"),
    b"caff": Kind("caf", "a CAF file"),
    b"OggS": Kind("ogg", "an Ogg file"),
    b"\x00\x00\x01\xba": Kind("mpeg", "an MPEG file"),
}
_PACKET = 188  # bytes of an MPEG transport stream


def kind_of(look: Callable[[int], bytes]) -> Kind | None:
    """What a file is, if FFmpeg is to read it.  look: gives its first so many bytes, if it can."""
    head = look(12)
    for beginning, kind in _BEGINNINGS.items():
        if head.startswith(beginning):
            return kind
    if head[4:8] in _ATOMS:
        return _MOV
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:])
    if head[:1] == b"G" and look(2 * _PACKET + 1)[::_PACKET] == b"GGG":
        return _TS
    return _AAC if _is_adts(head, look) else None


def _is_adts(head: bytes, look: Callable[[int], bytes]) -> bool:
    """Whether two AAC frames with ADTS headers (ISO 14496-3, 1.A.2.2) follow each other."""
    if len(head) < 12 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return False
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size > 7 and look(size + 2)[size:] == head[:2]


# What such files are called; without .ts, which programs are called as well.
SUFFIXES = frozenset(
    [
        *(".3gp", ".aac", ".amr", ".asf", ".avi", ".flv", ".m4a", ".m4b", ".m4v", ".mka", ".mkv"),
        *(".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wma", ".wmv"),
    ]
)


def is_installed() -> bool:
    """Whether the extra is there."""
    return find_spec("av") is not None


def require(kind: Kind, name: str) -> None:
    """Raises AudioError, which says how to get the extra, where it is not there."""
    if not is_installed():
        raise AudioError(
            f"{name} is {kind.about}: pip install 'wheatear[media]' to read it, or convert it to "
            f"wav or flac first"
        )


class Unpacked:
    """The first sound track of a file, on its way out of it.  To be closed.

    `rate` in Hz, `channels`, and `duration` in seconds, where the file tells it.
    """

    def __init__(
        self, file: BinaryIO, kind: Kind, name: str, on_damage: Callable[[str], None]
    ) -> None:
        """file: one of the system's.  Raises AudioError for what cannot be decoded."""
        require(kind, name)
        self._name, self._on_damage = name, on_damage
        try:
            self._process = subprocess.Popen(  # noqa: S603  (a program and a word of ours)
                [sys.executable, "-P", str(_PROGRAM), kind.demuxer],
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,  # Ctrl-C on a terminal is for the program that reads it
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            )
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM):
                raise OverloadedError(
                    f"no decoder starts for {name}: {error.strerror}; try again, or raise the "
                    f"limit (ulimit -n, ulimit -u)"
                ) from error
            raise AudioError(f"cannot decode {name}: no decoder starts ({error})") from error
        self._out = cast("BinaryIO", self._process.stdout)
        self._err = cast("BinaryIO", self._process.stderr)
        try:
            header = self._header()
        except BaseException:
            self.close()
            raise
        self.rate: int = header["rate"]
        self.channels: int = header["channels"]
        self.duration: float | None = header["duration"]

    def blocks(self, size: int) -> Iterator[NDArray[np.float32]]:
        """The sound in blocks [n, channels] of `size` frames, the last one shorter.

        At its end `on_damage` is told if the file is cut off or damaged; it is an AudioError if
        what follows cannot be read.
        """
        frame = 4 * self.channels
        while data := self._out.read(size * frame):
            whole = len(data) // frame * frame
            yield np.frombuffer(data[:whole], "<f4").reshape(-1, self.channels)
        report = self._report()
        if "error" in report:
            raise AudioError(f"{self._name} {report['error']}")
        self._tell(report)

    def close(self) -> None:
        """Ends the process, in whatever state it is; from any thread."""
        self._process.kill()
        self._process.wait()
        self._out.close()
        self._err.close()

    def _header(self) -> dict[str, Any]:
        if line := self._out.readline(_LONGEST_HEADER):
            return json.loads(line)
        raise AudioError(f"{self._name} {self._report()['error']}")

    def _report(self) -> dict[str, Any]:
        """What the process said at its end."""
        said = self._err.read().decode(errors="replace").strip()
        code = self._process.wait()
        last = said.rpartition("\n")[2]
        try:
            return json.loads(last)
        except ValueError:
            last = last or (signal.strsignal(-code) if code < 0 else f"exit code {code}")
            return {"error": f"cannot be decoded: its decoder was ended ({last})"}

    def _tell(self, report: dict[str, Any]) -> None:
        read, promised = report["read"], report["promised"]
        if promised is not None and promised - read > _ROUNDING:
            what = f"is cut off: it promises {promised:.1f} s, {read:.1f} s are there and were read"
        elif report["fault"]:
            what = f"is damaged: it can be read up to {read:.1f} s ({report['fault']})"
        elif report["bad"]:
            what = (
                f"is damaged: {report['bad']} of its packets could not be decoded, the first at "
                f"{report['first_bad']:.1f} s; the others were read"
            )
        else:
            return
        self._on_damage(f"{self._name} {what}")
