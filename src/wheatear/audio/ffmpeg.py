"""Decoding by FFmpeg in a separate process (`ffmpeg_worker.py`), with the extra `media`.

FFmpeg is given the type that the first bytes have shown: no playlist, subtitle, image or script is
opened.
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

from wheatear.audio.completeness import Outcome
from wheatear.audio.file_type import Container, check_readable
from wheatear.audio.pcm import block_frames
from wheatear.audio.samples import Block
from wheatear.errors import AudioError, OverloadedError

WORKER = Path(__file__).with_name("ffmpeg_worker.py")
# Variables that Python may need to start and to find PyAV; the server's tokens and keys stay out.
_ENVIRONMENT = (
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "PYTHONHOME", "PYTHONPATH"),
    *("PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE"),
)
_ROUNDING = 0.5  # seconds that a container may promise too much: encoders work in whole packets
_LONGEST_HEADER = 1000
_BLOCK = struct.Struct("<III")  # rate, channels, frames; the samples follow
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)


class FfmpegReader:
    """Decoder of the first sound track of a file. Must be closed.

    `rate` is in Hz, `duration` in seconds, if the file states it.
    """

    def __init__(
        self,
        file: BinaryIO,
        container: Container,
        name: str,
        span: tuple[int, int] | None = None,
    ) -> None:
        """Starts the process.

        Args:
            file: a file of the system.
            container: its type.
            name: its name in messages.
            span: offsets of the recording's beginning and end; the whole file if None.

        Raises:
            AudioError: the file cannot be decoded.
            OverloadedError: the system starts no process.
        """
        check_readable(container, name)
        self._name, self._closed = name, False
        self._report: dict[str, Any] = {}
        try:
            self._process = subprocess.Popen(  # noqa: S603  (own program and arguments)
                [sys.executable, "-P", str(WORKER), container.demuxer, *map(str, span or ())],
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,  # Ctrl-C on a terminal is for the parent
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            )
        except OSError as error:
            if error.errno in _OUT_OF_RESOURCES:
                raise OverloadedError(
                    f"no decoder starts for {name}: {error.strerror}; try again, or raise the "
                    f"limit (ulimit -n, ulimit -u)"
                ) from error
            raise AudioError(f"cannot decode {name}: no decoder starts ({error})") from error
        self._out = cast("BinaryIO", self._process.stdout)
        self._err = cast("BinaryIO", self._process.stderr)
        try:
            header = self._read_header()
        except BaseException:
            self.close()
            raise
        self.rate: int = header["rate"]
        self.channels: int = header["channels"]
        self.duration: float | None = header["duration"]

    def blocks(self) -> Iterator[Block]:
        """Yields the sound in blocks, whose rate and channels may change.

        Raises AudioError if nothing can be read; a fault after that is in `outcome`.
        """
        some = False
        size = block_frames(self.rate, self.channels)
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
        self._report = self._read_report()
        if "error" in self._report and (self._closed or not some):
            raise AudioError(f"{self._name} {self._report['error']}")

    def outcome(self) -> Outcome:
        report = self._report
        if "error" in report:
            return Outcome(self.duration, _ROUNDING, fault=report["error"])
        return Outcome(
            report["promised"], _ROUNDING, report["fault"], report["bad"], report["first_bad"]
        )

    def close(self) -> None:
        """Ends the process in any state, from any thread."""
        self._closed = True
        self._process.kill()
        self._process.wait()
        self._out.close()
        self._err.close()

    def _read_header(self) -> dict[str, Any]:
        if line := self._out.readline(_LONGEST_HEADER):
            return json.loads(line)
        raise AudioError(f"{self._name} {self._read_report()['error']}")

    def _read_report(self) -> dict[str, Any]:
        """Returns the report in the last line of the process, or an error with its exit code."""
        text = self._err.read().decode(errors="replace").strip()
        code = self._process.wait()
        last = text.rpartition("\n")[2]
        try:
            return json.loads(last)
        except ValueError:
            last = last or (signal.strsignal(-code) if code < 0 else f"exit code {code}")
            return {"error": f"cannot be decoded: its decoder was ended ({last})"}
