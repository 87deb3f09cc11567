"""Ogg (RFC 3533): the links of a chain, from page to page, and how much sound each promises."""

from collections.abc import Iterator
from dataclasses import dataclass

from wheatear.audio.byte_source import Peek

_BLOCK = 1 << 20
_NOWHERE = (1 << 64) - 1  # the position of a page on which no packet ends
_LONGEST_START = 30.0  # seconds; a stream that begins later was recorded in the middle


@dataclass(frozen=True, slots=True)
class Link:
    """One recording of a chain: the pages from one set of beginnings to the next."""

    start: int
    end: int
    sound: bool
    """True if one of its streams is Vorbis, Opus, Speex or FLAC, and there is no other."""
    seconds: float | None
    """What the position of its last page promises; None where no page has one."""
    ended: bool
    """True if its last page says that it is the last."""
    holes: int
    """Pages that are missing, or damaged beyond recognition."""


@dataclass(slots=True)
class _Stream:
    """The pages of the first sound stream of a link."""

    serial: int
    rate: int
    skipped: int
    number: int = 0
    first: int | None = None
    last: int | None = None
    ended: bool = False


def links(peek: Peek, start: int) -> Iterator[Link]:
    """Yields the links that begin at an offset, up to what is no Ogg."""
    at = start
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
        if at + 282 > base + len(buffer):
            buffer, base = peek(at, _BLOCK), at
        head = buffer[at - base : at - base + 27]
        if head[:4] != b"OggS" or len(head) < 27:
            found = _next_page(peek, at) if head else None
            if found is None:
                break
            holes, at = holes + 1, found
            continue
        lacing = buffer[at - base + 27 : at - base + 27 + head[26]]
        end = at + 27 + head[26] + sum(lacing)
        flags, serial = head[5], int.from_bytes(head[14:18], "little")
        if flags & 2:
            if begun:
                break  # the next link
            streams += 1
            stream = stream or _stream_of(serial, peek(at + 27 + head[26], 64))
        else:
            begun = True
        if not peek(end - 1, 1):
            at = end  # the last page is incomplete
            break
        if stream is not None and stream.serial == serial:
            holes += _follow(stream, head)
        at = end
    if stream is None:
        return Link(start, at, False, None, True, holes)
    return Link(start, at, streams == 1, _seconds(stream), stream.ended, holes)


def _follow(stream: _Stream, head: bytes) -> int:
    """Takes a page of the stream; returns 1 if pages are missing before it."""
    number = int.from_bytes(head[18:22], "little")
    hole = number != stream.number and not head[5] & 2
    stream.number = number + 1 & 0xFFFFFFFF
    position = int.from_bytes(head[6:14], "little")
    if 0 < position < _NOWHERE >> 1:
        stream.first = position if stream.first is None else stream.first
        stream.last = position
    stream.ended |= bool(head[5] & 4)
    return int(hole)


def _seconds(stream: _Stream) -> float | None:
    if stream.last is None or stream.first is None:
        return None
    before = stream.first if stream.first > _LONGEST_START * stream.rate else stream.skipped
    return max(0, stream.last - before) / stream.rate


def _stream_of(serial: int, packet: bytes) -> _Stream | None:
    """The stream that a first packet announces, if it is sound."""

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
