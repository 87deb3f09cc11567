"""The sound in files that FFmpeg decodes.

FFmpeg is given the kind of a file, which its first bytes have shown: no playlist, no subtitle, no
image and no script gets near it. It runs as a program, `wheatear.audio.ffmpeg_worker`, in a
process of its own;
the extra `media` brings it.
"""

import errno
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from wheatear.audio.completeness import Block, Outcome
from wheatear.audio.file_type import SUFFIXES, Container, is_installed, require
from wheatear.errors import AudioError, OverloadedError

__all__ = ["SUFFIXES", "FfmpegReader", "is_installed"]

_PROGRAM = Path(__file__).with_name("ffmpeg_worker.py")
# What Python may need to start and to find PyAV; tokens and keys of the server stay with it.
_ENVIRONMENT = (
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "PYTHONHOME", "PYTHONPATH"),
    *("PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE"),
)
_ROUNDING = 0.5  # seconds that a container may promise too much: encoders work in whole packets
_LONGEST_HEADER = 1000
_BLOCK = struct.Struct("<III")  # rate, channels, frames; the samples follow


class FfmpegReader:
    """The first sound track of a file, on its way out of it.  To be closed.

    `rate` in Hz, `channels`, and `duration` in seconds, where the file tells it.
    """

    def __init__(
        self, file: BinaryIO, kind: Container, name: str, place: tuple[int, int] | None = None
    ) -> None:
        """file: one of the system's.  place: where in it the recording begins and ends; the whole
        file if left out.  Raises AudioError for what cannot be decoded.
        """
        require(kind, name)
        self._name, self._closed = name, False
        self._ended: dict[str, Any] = {}
        try:
            self._process = subprocess.Popen(  # noqa: S603  (a program and a word of ours)
                [sys.executable, "-P", str(_PROGRAM), kind.demuxer, *map(str, place or ())],
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

    def blocks(self, size: int) -> Iterator[Block]:
        """The sound in blocks of at most `size` frames, with their rate, which may change.

        Raises AudioError if nothing can be read; if only the rest can't be, `outcome` has why.
        """
        some = False
        while len(head := self._out.read(_BLOCK.size)) == _BLOCK.size:
            rate, channels, frames = _BLOCK.unpack(head)
            while frames > 0:
                count = min(size, frames)
                data = self._out.read(4 * channels * count)
                whole = len(data) // (4 * channels)
                if whole:
                    some = True
                    samples = np.frombuffer(data, "<f4", whole * channels)
                    yield samples.reshape(-1, channels), rate
                frames = frames - count if whole == count else 0
        self._ended = self._report()
        if "error" in self._ended and (self._closed or not some):
            raise AudioError(f"{self._name} {self._ended['error']}")

    def outcome(self) -> Outcome:
        """The outcome, once all blocks have been taken."""
        ended = self._ended
        if "error" in ended:
            return Outcome(self.duration, _ROUNDING, fault=ended["error"])
        return Outcome(
            ended["promised"], _ROUNDING, ended["fault"], ended["bad"], ended["first_bad"]
        )

    def close(self) -> None:
        """Ends the process, in whatever state it is; from any thread."""
        self._closed = True
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
