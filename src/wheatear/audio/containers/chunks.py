"""Files of chunks, which state where they end: AIFF, AU, CAF, Wave64, MP4; and FLAC's blocks."""

import re
import struct
from collections.abc import Iterator

from wheatear.audio.byte_source import Peek, Window

Extent = tuple[int, float | None]
"""Offset of a file's end, and its duration in seconds if the file states it."""
UNKNOWN_SIZE = 0x7FFF_0000
"""Sizes from here on are placeholders of writers that did not know."""
_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # of a value, by encoding
_ATOM = re.compile(rb"[ -~\xa9]{4}")
_CAF_CHUNK = re.compile(rb"(?!caff)[a-zA-Z ]{4}")


def chunks(
    peek: Peek, at: int, header: str, padding: int = 2, counted: int = 0
) -> Iterator[tuple[bytes, int, int]]:
    """Yields name, offset and size of the bodies of the chunks from an offset on.

    Args:
        peek: reads the file.
        at: offset of the first chunk.
        header: format of name and size, for `struct`.
        padding: bodies are padded to a multiple of this.
        counted: bytes of the header that its size includes.
    """
    head = struct.Struct(header)
    while len(data := peek(at, head.size)) == head.size:
        name, size = head.unpack(data)
        at, size = at + head.size, size - counted
        yield name, at, size
        at += max(0, size + -size % padding)


def aiff_extent(window: Window) -> Extent:
    size = int.from_bytes(window.peek(4, 4), "big")
    end, seconds = 8 + size + size % 2, None
    for name, at, body in chunks(window.peek, 12, ">4sI"):
        if at - 8 >= end:
            break
        if name == b"COMM":
            data = window.peek(at, 18)
            rate, frames = _extended(data[8:]), int.from_bytes(data[2:6], "big")
            seconds = frames / rate if rate and 0 < frames < UNKNOWN_SIZE else None
        if name == b"SSND":
            end = max(end, at + body + body % 2)
    return end, seconds


def _extended(data: bytes) -> float:
    """Decodes a floating point number of 80 bits."""
    if len(data) < 10:
        return 0.0
    exponent, mantissa = struct.unpack(">HQ", data)
    return mantissa * 2.0 ** ((exponent & 0x7FFF) - 16446) if exponent & 0x7FFF < 16446 else 0.0


def au_extent(window: Window) -> Extent:
    order = ">" if window.peek(0, 1) == b"." else "<"
    head = window.peek(4, 20)
    if len(head) < 20:
        return len(window), None
    start, size, encoding, rate, channels = struct.unpack(f"{order}5I", head)
    if size >= UNKNOWN_SIZE or not size:
        return len(window), None
    second = _AU_BYTES.get(encoding, 0) * rate * channels
    return start + size, size / second if second else None


def caf_extent(window: Window) -> Extent:
    end, seconds, rate, packet_bytes, packet_frames, frames = 8, None, 0.0, 0, 0, 0
    for name, at, size in chunks(window.peek, 8, ">4sq", padding=1):
        if not _CAF_CHUNK.match(name):
            break
        body = window.peek(at, 32)
        if name == b"desc" and len(body) == 32:
            rate, packet_bytes, packet_frames = struct.unpack(">d8x2I8x", body)
        if name == b"pakt" and len(body) >= 16:
            frames = struct.unpack(">8xq", body[:16])[0]
        if size < 0:
            return len(window), None
        if name == b"data" and packet_bytes and packet_frames and rate > 0:
            seconds = (size - 4) // packet_bytes * packet_frames / rate
        end = at + size
    return end, frames / rate if frames and rate > 0 else seconds


def w64_extent(window: Window) -> Extent:
    end, second = int.from_bytes(window.peek(16, 8), "little"), 0
    for name, at, size in chunks(window.peek, 40, "<16sQ", padding=8, counted=24):
        if name[:4] == b"fmt ":
            second = int.from_bytes(window.peek(at + 8, 4), "little")
        if name[:4] == b"data":
            return end, size / second if second and 0 < size < 1 << 62 else None
    return end, None


def mov_extent(window: Window) -> Extent:
    """Reads the extent of an MP4 file, up to another `ftyp` after its sound."""
    at, sound = 0, False
    for name, end in _atoms(window):
        if name == b"ftyp" and sound:
            break
        sound |= name in (b"moov", b"mdat")
        at = end
    return at, None


def has_index(window: Window) -> bool:
    """True if an MP4 file has its index, or is made of fragments."""
    return any(name in (b"moov", b"moof") for name, _ in _atoms(window))


def _atoms(window: Window) -> Iterator[tuple[bytes, int]]:
    """Yields names of atoms and the offsets after them, which may lie beyond the end."""
    at = 0
    while len(head := window.peek(at, 16)) >= 8 and _ATOM.match(head, 4):
        size = int.from_bytes(head[:4], "big")
        size = int.from_bytes(head[8:16], "big") if size == 1 else size
        at = at + size if size >= 8 else len(window)
        yield head[4:8], at


def flac_header(window: Window) -> Extent:
    """Reads the offset after the metadata of a FLAC file, and its duration."""
    at, last = 4, False
    while not last and len(head := window.peek(at, 4)) == 4:
        last = bool(head[0] & 0x80)
        at += 4 + int.from_bytes(head[1:], "big")
    rate = int.from_bytes(window.peek(18, 3), "big") >> 4
    samples = int.from_bytes(window.peek(21, 5).ljust(5, b"\0"), "big") & (1 << 36) - 1
    return at, samples / rate if rate and samples else None  # 0: the encoder did not know
