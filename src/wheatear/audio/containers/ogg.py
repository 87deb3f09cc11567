"""Ogg (RFC 3533): the links of a chain, page by page, and the duration that each states."""

from collections.abc import Iterator
from dataclasses import dataclass

from wheatear.audio.byte_source import Peek

_BLOCK = 1 << 20
_LONGEST_HEADER = 282  # bytes of a page's header
_LAST_POSITION = 1 << 63  # positions from here on mean that no packet ends on the page
_LATEST_START = 30.0  # seconds; a later first page means a recording that began midway


@dataclass(frozen=True, slots=True)
class Link:
    """One recording of a chain: the pages from one group of first pages to the next."""

    start: int
    end: int
    is_sound: bool
    """True if its only stream is Vorbis, Opus, Speex or FLAC."""
    seconds: float | None
    """Duration by the position of its last page; None if no page has one."""
    ended: bool
    """True if its last page is marked as the last."""
    holes: int
    """Places where pages are missing or damaged."""


@dataclass(slots=True)
class _Stream:
    """Pages of the first sound stream of a link."""

    serial: int
    rate: int
    skipped: int
    """Samples before the sound."""
    number: int = 0
    """Expected number of the next page."""
    first: int | None = None
    last: int | None = None
    """Positions of the first and the last page that have one."""
    ended: bool = False

    def follow(self, header: bytes) -> bool:
        """Takes a page; returns True if pages are missing before it."""
        number = int.from_bytes(header[18:22], "little")
        is_hole = number != self.number and not header[5] & 2
        self.number = number + 1 & 0xFFFFFFFF
        position = int.from_bytes(header[6:14], "little")
        if 0 < position < _LAST_POSITION:
            self.first = position if self.first is None else self.first
            self.last = position
        self.ended |= bool(header[5] & 4)
        return is_hole

    @property
    def seconds(self) -> float | None:
        """Duration by the positions of its pages."""
        if self.last is None or self.first is None:
            return None
        before = self.first if self.first > _LATEST_START * self.rate else self.skipped
        return max(0, self.last - before) / self.rate


def links(peek: Peek, at: int) -> Iterator[Link]:
    """Yields the links that begin at an offset, up to bytes that are not Ogg."""
    while peek(at, 4) == b"OggS":
        link = _link(peek, at)
        yield link
        if link.end <= at:
            return
        at = link.end


def _link(peek: Peek, start: int) -> Link:
    at, holes, streams, begun, stream = start, 0, 0, False, None
    buffer, base = b"", start
    while True:
        if at + _LONGEST_HEADER > base + len(buffer):
            buffer, base = peek(at, _BLOCK), at
        header = buffer[at - base : at - base + 27]
        if header[:4] != b"OggS" or len(header) < 27:
            found = _next_page(peek, at) if header else None
            if found is None:
                break
            holes, at = holes + 1, found
            continue
        lacing = buffer[at - base + 27 : at - base + 27 + header[26]]
        body = at + 27 + header[26]
        serial = int.from_bytes(header[14:18], "little")
        if header[5] & 2:  # the first page of a stream
            if begun:
                break  # the next link
            streams += 1
            stream = stream or _stream_of(serial, peek(body, 64))
        else:
            begun = True
        at = body + sum(lacing)
        if not peek(at - 1, 1):
            break  # the page is incomplete
        if stream is not None and stream.serial == serial:
            holes += stream.follow(header)
    if stream is None:
        return Link(start, at, False, None, True, holes)
    return Link(start, at, streams == 1, stream.seconds, stream.ended, holes)


def _stream_of(serial: int, packet: bytes) -> _Stream | None:
    """Returns the stream that a first packet announces, if it is sound."""

    def number(at: int, size: int) -> int:
        return int.from_bytes(packet[at : at + size], "little")

    rate, skipped = 0, 0
    if packet[:8] == b"OpusHead":
        rate, skipped = 48_000, number(10, 2)
    elif packet[:7] == b"\x01vorbis":
        rate = number(12, 4)
    elif packet[:8] == b"Speex   ":
        rate = number(36, 4)
    elif packet[:5] == b"\x7fFLAC":
        rate = int.from_bytes(packet[27:30], "big") >> 4
    return _Stream(serial, rate, skipped) if rate else None


def _next_page(peek: Peek, at: int) -> int | None:
    at += 1
    while data := peek(at, _BLOCK):
        if (found := data.find(b"OggS\0")) >= 0:
            return at + found
        if len(data) < _BLOCK:
            return None
        at += len(data) - 4
    return None
