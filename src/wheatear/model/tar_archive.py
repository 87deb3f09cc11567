"""Reads untrusted tar files: every size is checked before anything is read or written.

Python's tarfile trusts the headers: a member of negative size is read again and again, and a sparse
member of a kilobyte is a terabyte of zeros. Here a member is a name and a range of the file. Links,
devices and folders are skipped, other kinds refused. No file is written under a name of an archive.
"""

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

from wheatear.audio.byte_source import Window

_BLOCK = 512
_MAX_MEMBERS = 10_000
_MAX_EXTENSION_BYTES = 1 << 16  # of a long name or pax header
_REGULAR, _EMPTY, _LONG_NAME, _PAX = b"0\07", b"123456", b"L", b"x"
_SKIPPED = b"Kg"  # long name of a link; pax header of all members
_FREE_BYTES = 1 << 28  # that stay free on a disk
SMALL_BYTES, _MAX_RATIO = 1 << 26, 50  # unpacked size without a limit, and by packed size
_STEP = 1 << 20
_OPENERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)


class ArchiveError(ValueError):
    """A damaged archive, or one with unsupported or disproportionate content."""


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
    """Returns the regular files of an uncompressed tar. Raises ArchiveError."""
    end = file.seek(0, io.SEEK_END)
    members, at, count, name = list[Member](), 0, 0, ""
    while at < end:
        file.seek(at)
        header = file.read(_BLOCK)
        if not header.strip(b"\0"):
            break
        info = _read_header(header, at)
        kind, size = info.type, info.size
        at += _BLOCK
        stored = 0 if kind in _EMPTY else size
        if stored > end - at:
            raise ArchiveError(f"it is cut short: a member has {size:,} bytes, {end - at:,} follow")
        if kind in _REGULAR:
            members.append(Member(PurePosixPath(name or info.name), at, size))
        if kind in _LONG_NAME + _PAX:
            name = _extended_name(file, kind, size)
        elif kind not in _SKIPPED:
            name = ""
        at += -(-stored // _BLOCK) * _BLOCK
        count += 1
        if count > _MAX_MEMBERS:
            raise ArchiveError(f"it has more than {_MAX_MEMBERS:,} members")
    if not count:
        raise ArchiveError("it is no tar file")
    return members


def _read_header(header: bytes, at: int) -> tarfile.TarInfo:
    """Returns the checked header of a member. Raises ArchiveError."""
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
    except tarfile.TarError as error:
        reason = "it is no tar file" if at == 0 else f"it is damaged at byte {at:,}"
        raise ArchiveError(reason) from error
    if member.type not in _REGULAR + _EMPTY + _LONG_NAME + _PAX + _SKIPPED:
        raise ArchiveError(f"it holds a member of the kind {member.type!r}, which is not read")
    if member.size < 0:
        raise ArchiveError(f"it has a member of {member.size:,} bytes")
    return member


def _extended_name(file: IO[bytes], kind: bytes, size: int) -> str:
    """Returns the name that a GNU or pax member gives to the next one; empty if it has none."""
    if size > _MAX_EXTENSION_BYTES:
        raise ArchiveError(f"it has a header of {size:,} bytes")
    data = file.read(size)
    if kind == _LONG_NAME:
        return data.split(b"\0")[0].decode("utf-8", "replace")
    path = b""
    while data:
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or len(length) > 5 or not 0 < int(length) <= len(data):
            raise ArchiveError("it has a damaged pax header")
        key, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        if key == b"size" or key.startswith(b"GNU.sparse"):
            raise ArchiveError(f"it has a member with {key.decode()}, which is not read")
        path = value if key == b"path" else path
        data = data[int(length) :]
    return path.decode("utf-8", "replace")


@contextmanager
def decompressed(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Yields a file itself, or its content unpacked from gzip, bzip2 or xz to a temporary file.

    Raises:
        ArchiveError: It is damaged, unpacks to a disproportionate size, or does not fit on the
            disk.
    """
    head = file.read(6)
    packed_size = file.seek(0, io.SEEK_END)
    file.seek(0)
    opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
    if opener is None:
        yield file
        return
    with tempfile.TemporaryFile() as plain:
        _unpack(opener, file, plain, max(SMALL_BYTES, _MAX_RATIO * packed_size))
        plain.seek(0)
        yield plain


def _unpack(
    opener: Callable[[IO[bytes]], Any], file: IO[bytes], plain: IO[bytes], limit: int
) -> None:
    folder = tempfile.gettempdir()
    room = shutil.disk_usage(folder).free - _FREE_BYTES
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
            if written > limit:
                raise ArchiveError(
                    f"it unpacks to more than {_MAX_RATIO} times its size, which weights do not"
                )
            if written > room:
                raise ArchiveError(
                    f"it does not fit into {folder}, where it has to be unpacked: make room, or "
                    f"set TMPDIR to a folder on another disk"
                )
            plain.write(block)


def member_window(file: IO[bytes], member: Member) -> Window:
    """Returns a readable window on a member; the file must stay open."""
    return Window(file, member.start, member.start + member.size)


def read_member(file: IO[bytes], member: Member, limit: int) -> bytes:
    """Returns the bytes of a member. Raises ArchiveError if there are more than `limit`."""
    if member.size > limit:
        raise ArchiveError(f"its {member.name} has {member.size:,} bytes, more than {limit:,}")
    return member_window(file, member).read()
