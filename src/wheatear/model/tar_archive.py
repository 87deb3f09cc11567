"""Reads tar files of strangers: every size is looked at before anything is read or written.

Python's tarfile believes what it reads: a member of a negative size is read again and again, a
sparse member of a kilobyte is a terabyte of zeros. Here a member is a name and a place in the file,
which must be there. Links, devices and folders are passed over, other kinds refused; nothing is
ever written under a name that an archive gives.
"""

import bz2
import gzip
import io
import lzma
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

from wheatear.audio.byte_source import Window

_BLOCK = 512
_MOST_MEMBERS = 10_000
_LARGEST_NOTE = 1 << 16  # bytes of a long name or of a pax header
_REGULAR, _EMPTY, _LONG_NAME, _PAX = b"0\07", b"123456", b"L", b"x"
_PASSED_OVER = b"Kg"  # a long name of a link; pax headers for all
_LEAST_ROOM = 1 << 28  # bytes of a disk that are left alone
_FREE_SIZE, _MOST_RATIO = 1 << 26, 50  # unpacked: so much at any ratio, beyond it 50 to 1
_STEP = 1 << 20
_OPENERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)


class ArchiveError(ValueError):
    """An archive that is damaged, or that is not what its name promises."""


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in a tar."""

    path: PurePosixPath
    start: int
    size: int

    @property
    def name(self) -> str:
        return self.path.name


def list_members(file: IO[bytes]) -> list[Member]:
    """The regular files of a plain tar. Raises ArchiveError."""
    end = file.seek(0, io.SEEK_END)
    members, at, seen, name = list[Member](), 0, 0, b""
    while at < end:
        file.seek(at)
        header = file.read(_BLOCK)
        if not header.strip(b"\0"):
            break
        kind, size = _checked(header, at)
        at += _BLOCK
        stored = 0 if kind in _EMPTY else size
        if stored > end - at:
            raise ArchiveError(f"it is cut short: a member has {size:,} bytes, {end - at:,} follow")
        if kind in _REGULAR:
            members.append(Member(_path(name or _name(header)), at, size))
        if kind in _LONG_NAME + _PAX:
            name = _noted(file, kind, size)
        elif kind not in _PASSED_OVER:
            name = b""
        at += -(-stored // _BLOCK) * _BLOCK
        seen += 1
        if seen > _MOST_MEMBERS:
            raise ArchiveError(f"it has more than {_MOST_MEMBERS:,} members")
    if not seen:
        raise ArchiveError("it is no tar file")
    return members


def _checked(header: bytes, at: int) -> tuple[bytes, int]:
    """Kind and size of a member by its header. Raises ArchiveError."""
    blanked = header[:148] + b" " * 8 + header[156:]
    digits = header[148:156].split(b"\0")[0].strip()
    if len(header) < _BLOCK or not digits.isdigit() or _number(header[148:156]) != sum(blanked):
        raise ArchiveError("it is no tar file" if at == 0 else f"it is damaged at byte {at:,}")
    kind, size = header[156:157], _number(header[124:136])
    if kind not in _REGULAR + _EMPTY + _LONG_NAME + _PAX + _PASSED_OVER:
        raise ArchiveError(f"it holds a member of the kind {kind!r}, which is not read")
    if size < 0:
        raise ArchiveError(f"it has a member of {size:,} bytes")
    return kind, size


def _number(field: bytes) -> int:
    """In octal digits, or in base 256 with the first bit set. Raises ArchiveError."""
    if field[0] & 128:
        value = int.from_bytes(field, "big", signed=False) - (128 << 8 * (len(field) - 1))
        return value - (1 << 8 * len(field) - 1) if field[0] & 64 else value
    digits = field.split(b"\0")[0].strip()
    try:
        return int(digits or b"0", 8)
    except ValueError:
        raise ArchiveError(f"it has the number {digits!r}") from None


def _name(header: bytes) -> bytes:
    name = header[:100].split(b"\0")[0]
    prefix = header[345:500].split(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _path(name: bytes) -> PurePosixPath:
    return PurePosixPath(name.decode("utf-8", "replace"))


def _noted(file: IO[bytes], kind: bytes, size: int) -> bytes:
    """The name of the next member, from a member that is there to give it; empty if it does not."""
    if size > _LARGEST_NOTE:
        raise ArchiveError(f"it has a header of {size:,} bytes")
    note = file.read(size)
    if kind == _LONG_NAME:
        return note.split(b"\0")[0]
    path = b""
    while note:
        length, _, _ = note.partition(b" ")
        if not length.isdigit() or len(length) > 5 or not 0 < int(length) <= len(note):
            raise ArchiveError("it has a damaged pax header")
        key, _, value = note[len(length) + 1 : int(length) - 1].partition(b"=")
        if key == b"size" or key.startswith(b"GNU.sparse"):
            raise ArchiveError(f"it has a member with {key.decode()}, which is not read")
        path = value if key == b"path" else path
        note = note[int(length) :]
    return path


@contextmanager
def decompressed(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The file itself, or what gzip, bzip2 or xz unpack it to: on disk, since a tar is read in any
    order.

    Raises ArchiveError for what is damaged, grows out of proportion or does not fit on the disk.
    """
    head = file.read(6)
    packed = file.seek(0, io.SEEK_END)
    file.seek(0)
    opener = next((of for magic, of in _OPENERS.items() if head.startswith(magic)), None)
    if opener is None:
        yield file
        return
    with tempfile.TemporaryFile() as plain:
        _unpack(opener, file, plain, max(_FREE_SIZE, _MOST_RATIO * packed))
        plain.seek(0)
        yield plain


def _unpack(
    opener: Callable[[IO[bytes]], Any], file: IO[bytes], plain: IO[bytes], most: int
) -> None:
    folder = tempfile.gettempdir()
    room = shutil.disk_usage(folder).free - _LEAST_ROOM
    written = 0
    with opener(file) as stream:
        while True:
            try:
                block = stream.read(_STEP)
            except _DAMAGE as error:
                raise ArchiveError(f"it is damaged: {error}") from error
            if not block:
                return
            written += len(block)
            if written > most:
                raise ArchiveError(
                    f"it unpacks to more than {_MOST_RATIO} times its size, which weights do not"
                )
            if written > room:
                raise ArchiveError(
                    f"it does not fit into {folder}, where it has to be unpacked: make room, or "
                    f"set TMPDIR to a folder on another disk"
                )
            plain.write(block)


def member_window(file: IO[bytes], member: Member) -> Window:
    """A member to be read; the file must stay open meanwhile."""
    return Window(file, member.start, member.start + member.size)


def read_member(file: IO[bytes], member: Member, most: int) -> bytes:
    """All bytes of a member. Raises ArchiveError if there are more than `most`."""
    if member.size > most:
        raise ArchiveError(f"its {member.name} has {member.size:,} bytes, more than {most:,}")
    return member_window(file, member).read()
