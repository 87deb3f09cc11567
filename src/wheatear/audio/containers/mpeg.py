"""Frames of MPEG audio (mp1, mp2, mp3), counted from header to header.

Sources: ISO 11172-3 2.4.2.3 and ISO 13818-3 (frame headers); the Xing and LAME tags as LAME writes
them, https://gabriel.mp3-tech.org/mp3infotag.html.

Decoders resynchronize at any two bytes that look like a header, and then decode bytes that are not
sound. Here a stream has many headers in a row, each at the end of the previous frame.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from wheatear.audio.byte_source import Peek
from wheatear.audio.containers.tags import past_tags

DECODER_DELAY = 529
"""Samples by which every decoder of layer III is late."""
_LEAST = {1: 32, 2: 8, 3: 8}  # frames in a row that make a stream, by layer
_FEW = 3  # frames that suffice where the file ends with them or sound came before
_TAGS = (b"Xing", b"Info")
_BLOCK = 1 << 20
_LONGEST = 2881  # bytes of a frame
_MARKS = re.compile(rb"\xff[\xe2-\xff]|ID3|TAG|APETAGEX|RIFF|fLaC|OggS|FORM")
_CHECKED = 1 << 16  # frames between two looks at a limit
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_LOW = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_KILOBITS = {
    (3, 1): tuple(range(32, 449, 32)),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): _LOW,
    (2, 3): _LOW,
}


@dataclass(frozen=True, slots=True)
class Frame:
    """Header of a frame."""

    layer: int
    rate: int
    channels: int
    samples: int
    """Samples of each channel."""
    size: int
    """Bytes, header included; 0 in the free format, whose headers do not state it."""
    padding: int
    """Bytes of padding, which `size` includes."""
    tag_at: int
    """Offset of a Xing or Info tag, if this frame is one."""

    @property
    def form(self) -> tuple[int, int, int]:
        """Properties that all frames of a recording share."""
        return self.layer, self.rate, self.channels


@dataclass(frozen=True, slots=True)
class Tag:
    """Content of a Xing or Info frame, which describes the frames after it."""

    frames: int | None
    delay: int | None = None
    """Samples that the encoder put before the sound; None without a LAME tag."""
    padding: int | None = None
    """Samples that the encoder put after the sound; None without a LAME tag."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Frames in a row of one form."""

    start: int
    """Offset of the first frame of sound."""
    end: int
    """Offset after the last frame."""
    frame: Frame
    """The first one."""
    frames: int
    tag: Tag | None
    lost: int
    """Bytes between the previous stretch and this one that are neither frames nor tags."""


@lru_cache(maxsize=4096)
def frame_of(head: bytes) -> Frame | None:
    """Reads a header of four bytes."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bits == 15 or rate == 3 or head[3] & 3 == 2:
        return None
    hertz = _RATES[version][rate]
    bit_rate = 1000 * _KILOBITS[3 if version == 3 else 2, layer][bits - 1] if bits else 0
    padding = (head[2] >> 1 & 1) * (4 if layer == 1 else 1)
    samples = {1: 384, 2: 1152, 3: 1152 if version == 3 else 576}[layer]
    unit = 4 if layer == 1 else 1  # bytes in which sizes are counted
    size = samples // 8 // unit * bit_rate // hertz * unit + padding
    mono = head[3] >> 6 == 3
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    return Frame(layer, hertz, 1 if mono else 2, samples, size if bits else 0, padding, 4 + side)


def is_stream(peek: Peek, at: int) -> bool:
    """True if MPEG audio begins at an offset: many frames in a row, or frames up to the end."""
    first = frame_of(peek(at, 4))
    if first is None:
        return False
    count, ended = _count_frames(peek, at, _LEAST[first.layer])
    if ended:
        tagged = first.layer == 3 and tag_of(peek(at, _LONGEST), first) is not None
        return count >= (1 if tagged else 8 if first.layer == 1 else _FEW)
    return count >= _LEAST[first.layer]


def repeats(peek: Peek, at: int) -> bool:
    """True if frames are equal, which are periods of a tone that look like frames."""
    frame = frame_of(peek(at, 4))
    if frame is None or not frame.size:
        return True
    data = peek(at, 8 * frame.size)
    return data == data[: frame.size] * 8


def _frames_from(peek: Peek, at: int) -> Iterator[tuple[int, Frame, int]]:
    """Yields offset, header and size of the frames of one form that follow each other.

    The last one may be incomplete.
    """
    first = frame_of(peek(at, 4))
    if first is None:
        return
    free = 0 if first.size else _free_size(peek, at)
    frame: Frame | None = first
    while frame is not None and frame.form == first.form and bool(frame.size) != bool(free):
        size = frame.size or free + frame.padding
        yield at, frame, size
        at += size
        frame = frame_of(peek(at, 4))


def _count_frames(peek: Peek, at: int, most: int) -> tuple[int, bool]:
    """Counts the frames that follow each other, and returns True if the bytes end with them."""
    count = 0
    for start, _, size in islice(_frames_from(peek, at), most):
        count, at = count + 1, start + size
    return count, count < most and len(peek(at, 4)) < 4


def _free_size(peek: Peek, at: int) -> int:
    """Bytes of a frame of the free format without padding: the distance to the next header."""
    data = peek(at, 2 * _LONGEST)
    first = frame_of(data[:4])
    found = data.find(data[:2], 24)
    while first is not None and found > 0:
        frame = frame_of(data[found : found + 4])
        if frame and not frame.size and data[found + 2] & 0xFD == data[2] & 0xFD:
            return found - first.padding
        found = data.find(data[:2], found + 1)
    return 0


def tag_of(data: bytes, frame: Frame) -> Tag | None:
    """Reads the tag in a frame that holds a tag instead of sound."""
    at = frame.tag_at
    if data[at : at + 4] not in _TAGS:
        return Tag(int.from_bytes(data[50:54], "big")) if data[36:40] == b"VBRI" else None
    flags, at = int.from_bytes(data[at + 4 : at + 8], "big"), at + 8
    frames = int.from_bytes(data[at : at + 4], "big") if flags & 1 else None
    at += 4 * bool(flags & 1) + 4 * bool(flags & 2) + 100 * bool(flags & 4) + 4 * bool(flags & 8)
    lame = data[at : at + 24]
    if len(lame) < 24 or not lame[:4].isalnum():
        return Tag(frames)
    delays = int.from_bytes(lame[21:24], "big")
    return Tag(frames, delays >> 12, delays & 0xFFF)


class FrameScanner:
    """Goes through the frames of a file, past tags and damage, up to a file of another type."""

    def __init__(
        self,
        peek: Peek,
        start: int,
        is_other: Callable[[int], bool],
        check: Callable[[float], None],
    ) -> None:
        """Starts at the first header after tags.

        Args:
            peek: Returns bytes at an offset.
            start: Offset of the stream.
            is_other: Returns True if a file of another type begins at an offset.
            check: Called with the seconds passed, and raises at a limit.
        """
        self._peek, self._is_other, self._check = peek, is_other, check
        self._buffer, self._buffer_at = b"", 0
        self._start = past_tags(peek, start)
        self.broken_off = False
        """True if the last frame is incomplete."""

    def stretches(self) -> Iterator[Stretch]:
        """Yields the stretches of frames in their order."""
        at, lost, seconds = self._start, 0, 0.0
        while True:
            before, stretch = at, self._stretch(at, lost, seconds)
            if stretch is not None:
                seconds += stretch.frames * stretch.frame.samples / stretch.frame.rate
                self._check(seconds)
                if stretch.frames:
                    yield stretch
                    lost = 0
                at = max(stretch.end, at)
            if (tagged := past_tags(self._peek, at)) != at:
                at = tagged
                continue
            if self._is_other(at) or not self._bytes(at, 1):
                return
            if at > before and self._begins(at):
                continue  # another form follows at once
            found = self._resync(at + 1)
            if found is None:
                frame = frame_of(self._bytes(at, 4))
                if stretch is not None and frame is not None:
                    self.broken_off = len(self._peek(at, frame.size)) < frame.size
                return
            lost += found - at
            at = found

    def _stretch(self, at: int, lost: int, seconds: float) -> Stretch | None:
        first = frame_of(self._bytes(at, 4))
        if first is None or not self._begins(at):
            return None
        tag = tag_of(self._bytes(at, _LONGEST), first) if first.layer == 3 else None
        start = end = at
        count = 0
        for place, frame, size in _frames_from(self._bytes, at):
            if place == at and tag is not None:
                start = end = place + size
                continue
            if not self._bytes(place + size - 1, 1):
                break  # it is incomplete
            if count and self._bytes(place + frame.tag_at, 4) in _TAGS:
                break  # a joined file begins
            end, count = place + size, count + 1
            if count % _CHECKED == 0:
                self._check(seconds + count * frame.samples / frame.rate)
        return Stretch(start, end, first, count, tag, lost)

    def _begins(self, at: int) -> bool:
        count, ended = _count_frames(self._bytes, at, _FEW)
        return count >= _FEW or (ended and count > 0)

    def _resync(self, at: int) -> int | None:
        """Finds the next offset where frames follow each other, or another file or tag begins."""
        while data := self._peek(at, _BLOCK):
            for mark in _MARKS.finditer(data):
                place = at + mark.start()
                if (
                    self._begins(place)
                    or past_tags(self._peek, place) != place
                    or self._is_other(place)
                ):
                    return place
            if len(data) < _BLOCK:
                return None
            at += len(data)
        return None

    def _bytes(self, at: int, size: int) -> bytes:
        """Reads as `peek` does, from a buffer."""
        begin = at - self._buffer_at
        if begin < 0 or begin + size > len(self._buffer):
            self._buffer, self._buffer_at, begin = self._peek(at, _BLOCK), at, 0
        return self._buffer[begin : begin + size]
