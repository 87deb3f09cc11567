"""Bytes of audio in order: a part of a file that can seek, or a pipe that can be looked into."""

import io
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

Peek = Callable[[int, int], bytes]
"""Returns the bytes at an offset, of a size; fewer at the end."""


class Source(Protocol):
    """Bytes that are read in order."""

    at: int
    """Bytes taken."""

    @property
    def left(self) -> int | None:
        """Bytes to come, if known."""

    def look(self, size: int) -> bytes:
        """Returns the next `size` bytes without taking them; fewer at the end."""

    def read(self, size: int) -> bytes:
        """Takes at most `size` bytes, as soon as there are any; none at the end."""

    def skip(self, size: int) -> int:
        """Takes `size` bytes and returns their count, which is less at the end."""

    def unread(self, data: bytes) -> None:
        """Puts back the bytes that were read last."""


class Window(io.RawIOBase):
    """The bytes start .. end of a seekable file, as a separate file.

    Several windows of a file may be open at a time; each seeks before it reads.
    """

    def __init__(self, file: Any, start: int, end: int, stated: int | None = None) -> None:
        """Takes the file and its range.

        stated: length that a seek to the end returns, for decoders that estimate a duration from
        it and stop there.
        """
        self._stated = stated
        self.file, self.start, self.end = file, start, max(start, end)
        self.at = 0
        self._number = file.fileno() if is_on_disk(file) and hasattr(os, "pread") else None
        if self._number is not None:
            with suppress(OSError):
                file.flush()
        self.fault: BaseException | None = None
        """Exception raised within a callback of a C library, which would lose it."""

    def __len__(self) -> int:
        return self.end - self.start

    @property
    def left(self) -> int:
        return max(0, len(self) - self.at)

    def part(self, start: int, end: int) -> "Window":
        """Returns a window within this one."""
        return Window(self.file, self.start + start, min(self.end, self.start + end))

    def peek(self, at: int, size: int) -> bytes:
        """Returns the bytes at an offset; fewer at the end."""
        size = min(size, len(self) - at)
        if at < 0 or size <= 0:
            return b""
        if self._number is None:
            self.file.seek(self.start + at)
        pieces, place = [], self.start + at
        while size > 0 and (data := self._read_some(place, size)):
            pieces.append(data)
            size, place = size - len(data), place + len(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_some(self, place: int, size: int) -> bytes:
        if self._number is None:
            return self.file.read(size)
        return os.pread(self._number, size, place)  # independent of the file's own position

    def look(self, size: int) -> bytes:
        return self.peek(self.at, size)

    def skip(self, size: int) -> int:
        size = min(size, self.left)
        self.at += size
        return size

    def unread(self, data: bytes) -> None:
        self.at -= len(data)

    def read(self, size: int = -1) -> bytes:
        data = self.peek(self.at, self.left if size < 0 else size)
        if self._stated and len(self) < self.at < self._stated:
            data = bytes(min(size, self._stated - self.at))  # before the stated end
        self.at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.read(len(buffer))
        except BaseException as error:  # noqa: BLE001  (the caller of the library raises it again)
            self.fault = error
            return 0
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (0, self.at, self._stated or len(self))[whence]
        self.at = max(0, base + offset)
        return self.at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class Pipe:
    """A stream with lookahead: `read` returns bytes that `look` has returned before."""

    def __init__(self, file: Any) -> None:
        self._read = getattr(file, "read1", file.read)
        self._seen = b""
        self.at = 0
        self.left: int | None = None

    def look(self, size: int) -> bytes:
        while len(self._seen) < size and (data := self._read(size - len(self._seen))):
            self._seen += data
        return self._seen[:size]

    def read(self, size: int) -> bytes:
        if self._seen:
            data, self._seen = self._seen[:size], self._seen[size:]
        else:
            data = self._read(size)
        self.at += len(data)
        return data

    def skip(self, size: int) -> int:
        before = self.at
        while (rest := size - (self.at - before)) > 0 and self.read(min(rest, 1 << 16)):
            pass
        return self.at - before

    def unread(self, data: bytes) -> None:
        self._seen = data + self._seen
        self.at -= len(data)


def is_on_disk(file: Any) -> bool:
    """True for a file of the system, whose descriptor reads the same bytes."""
    return isinstance(getattr(file, "raw", file), io.FileIO)


def size_of_file(file: Any) -> int | None:
    """Returns the bytes from here to the end of a file; None if it cannot seek."""
    try:
        here = file.seek(0, io.SEEK_CUR)
        end = file.seek(0, io.SEEK_END)
        file.seek(here)
    except (OSError, AttributeError):
        return None
    return end - here
