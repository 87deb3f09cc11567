"""MPEG audio (mp1, mp2, mp3): its frames, counted from header to header.

Sources: ISO 11172-3 2.4.2.3 and ISO 13818-3 (frame headers); the Xing and LAME tags as LAME writes
them, https://gabriel.mp3-tech.org/mp3infotag.html.

A decoder resynchronizes wherever two bytes look like a header, and takes raw samples for sound.
Here a stream is what has many headers in a row, each where the one before ends.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from wheatear.audio.byte_source import Peek

DECODER_DELAY = 529  # samples that every decoder of layer III is late
_LEAST = {1: 32, 2: 8, 3: 8}  # frames in a row that make a stream, by layer
_FEW = 3  # frames in a row that do, where the file ends with them or sound came before
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
    """The header of a frame."""

    layer: int
    rate: int
    channels: int
    samples: int
    """Of each channel."""
    size: int
    """Bytes, header included; 0 in the free format, which does not tell."""
    tag: int
    """Where a Xing or Info tag lies, if this frame is one."""

    @property
    def form(self) -> tuple[int, int, int]:
        """What all frames of a recording have in common."""
        return self.layer, self.rate, self.channels


@dataclass(frozen=True, slots=True)
class Tag:
    """What a Xing or Info frame says of the frames after it."""

    frames: int | None
    delay: int | None = None
    """Samples that the encoder put before the sound, and after it; None where no LAME tag is."""
    padding: int | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Frames in a row of one form."""

    start: int
    """Bytes, from the first frame of sound to the end of the last one."""
    end: int
    frame: Frame
    """The first one."""
    frames: int
    tag: Tag | None
    lost: int
    """Bytes between the stretch before and this one that were neither frames nor tags."""


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
    padding = head[2] >> 1 & 1
    samples = {1: 384, 2: 1152, 3: 1152 if version == 3 else 576}[layer]
    if layer == 1:
        size = (12 * bit_rate // hertz + padding) * 4
    else:
        size = samples // 8 * bit_rate // hertz + padding
    mono = head[3] >> 6 == 3
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    return Frame(layer, hertz, 1 if mono else 2, samples, size if bits else 0, 4 + side)


def is_stream(peek: Peek, at: int) -> bool:
    """True if MPEG audio begins at an offset: many frames in a row, or all to the end."""
    first = frame_of(peek(at, 4))
    if first is None:
        return False
    count, ended = frames_in_a_row(peek, at, _LEAST[first.layer])
    if ended:
        tagged = first.layer == 3 and tag_of(peek(at, _LONGEST), first) is not None
        return count >= (1 if tagged else 8 if first.layer == 1 else _FEW)
    return count >= _LEAST[first.layer]


def frames_in_a_row(peek: Peek, at: int, most: int) -> tuple[int, bool]:
    """The frames of one form that follow each other, and True if the bytes end with them."""
    first, count, free = frame_of(peek(at, 4)), 0, 0
    if first is None:
        return 0, False
    if not first.size and not (free := _free_size(peek, at)):
        return 0, False
    while count < most:
        head = peek(at, 4)
        if len(head) < 4:
            return count, True
        frame = frame_of(head)
        if frame is None or frame.form != first.form or bool(frame.size) == bool(free):
            return count, False
        size = frame.size or free + (head[2] >> 1 & 1) * (4 if frame.layer == 1 else 1)
        at, count = at + size, count + 1
    return count, False


def _free_size(peek: Peek, at: int) -> int:
    """Bytes of a frame of the free format, without its padding: the distance to the next header."""
    data = peek(at, 2 * _LONGEST)
    padding = data[2] >> 1 & 1
    found = data.find(data[:2], 24)
    while found > 0:
        frame = frame_of(data[found : found + 4])
        if frame and not frame.size and data[found + 2] & 0xFD == data[2] & 0xFD:
            return found - padding * (4 if frame.layer == 1 else 1)
        found = data.find(data[:2], found + 1)
    return 0


def tag_of(data: bytes, frame: Frame) -> Tag | None:
    """The tag in a frame, if it is one that holds a tag instead of sound."""
    at = frame.tag
    if data[at : at + 4] not in (b"Xing", b"Info"):
        return Tag(int.from_bytes(data[50:54], "big")) if data[36:40] == b"VBRI" else None
    flags, at = int.from_bytes(data[at + 4 : at + 8], "big"), at + 8
    frames = int.from_bytes(data[at : at + 4], "big") if flags & 1 else None
    at += 4 * bool(flags & 1) + 4 * bool(flags & 2) + 100 * bool(flags & 4) + 4 * bool(flags & 8)
    lame = data[at : at + 24]
    if len(lame) < 24 or not lame[:4].isalnum():
        return Tag(frames)
    delays = int.from_bytes(lame[21:24], "big")
    return Tag(frames, delays >> 12, delays & 0xFFF)


class Walk:
    """Goes through the frames of a file, past tags and damage.

    `end` is where it stopped, once all stretches have been taken: at the end of the bytes, or where
    a file of another kind begins.
    """

    def __init__(
        self,
        peek: Peek,
        start: int,
        past_tags: Callable[[int], int],
        other: Callable[[int], bool],
        check: Callable[[float], None],
    ) -> None:
        """past_tags: from an offset past the tags there; other: True if another kind of file begins
        at an offset; check: called with seconds as they add up, to stop what is too long.
        """
        self._peek, self._past_tags, self._other, self._check = peek, past_tags, other, check
        self._buffer, self._from = b"", 0
        self.end = start
        self.lost = 0
        """Bytes at the end that are neither frames nor tags, nor the beginning of a frame."""
        self.broken_off = False
        """True if the last frame is incomplete."""

    def stretches(self) -> Iterator[Stretch]:
        at, lost, seconds = self.end, 0, 0.0
        while True:
            self.broken_off = False
            before, stretch = at, self._stretch(at, lost, seconds)
            if stretch is not None:
                seconds += stretch.frames * stretch.frame.samples / stretch.frame.rate
                self._check(seconds)
                if stretch.frames:
                    yield stretch
                    lost = 0
                at = self.end = max(stretch.end, at)
            tagged = self._past_tags(at)
            if tagged != at:
                at = self.end = tagged
                continue
            if self._other(at) or not self._bytes(at, 1):
                return
            if at > before and self._begins(at):
                continue  # another form follows at once
            found = self._resync(at + 1)
            if found is None:
                rest = self._rest(at)
                frame = frame_of(self._bytes(at, 4))
                self.broken_off = stretch is not None and frame is not None and rest < frame.size
                self.lost = lost + (0 if self.broken_off else rest)
                self.end = at + rest
                return
            lost += found - at
            at = self.end = found

    def _stretch(self, at: int, lost: int, seconds: float) -> Stretch | None:
        first = frame_of(self._bytes(at, 4))
        if first is None or not self._begins(at):
            return None
        free = 0 if first.size else _free_size(self._bytes, at)
        tag = tag_of(self._bytes(at, _LONGEST), first) if first.layer == 3 else None
        if tag is not None:
            at += first.size or free
        start, count, form = at, 0, first.form
        while True:
            head = self._bytes(at, 4)
            frame = frame_of(head)
            if frame is None or frame.form != form or bool(frame.size) == bool(free):
                break
            size = frame.size or free + (head[2] >> 1 & 1) * (4 if frame.layer == 1 else 1)
            if len(self._bytes(at + size - 1, 1)) < 1:
                break  # it is broken off
            if count and frame.tag and self._tagged(at, frame):
                break  # a joined file begins
            at, count = at + size, count + 1
            if count % _CHECKED == 0:
                self._check(seconds + count * frame.samples / frame.rate)
        return Stretch(start, at, first, count, tag, lost)

    def _begins(self, at: int) -> bool:
        count, ended = frames_in_a_row(self._bytes, at, _FEW)
        return count >= _FEW or (ended and count > 0)

    def _tagged(self, at: int, frame: Frame) -> bool:
        place = at + frame.tag - self._from
        return self._buffer[place : place + 4] in (b"Xing", b"Info")

    def _resync(self, at: int) -> int | None:
        """The next offset where frames follow each other, or another file or a tag begins."""
        while data := self._peek(at, _BLOCK):
            for mark in map(re.Match.start, _MARKS.finditer(data)):
                if self._begins(at + mark) or self._past_tags(at + mark) != at + mark:
                    return at + mark
                if self._other(at + mark):
                    return at + mark
            if len(data) < _BLOCK:
                return None
            at += len(data)
        return None

    def _rest(self, at: int) -> int:
        size = 0
        while data := self._peek(at + size, _BLOCK):
            size += len(data)
        return size

    def _bytes(self, at: int, size: int) -> bytes:
        """As `peek`, from a buffer."""
        begin = at - self._from
        if begin < 0 or begin + size > len(self._buffer):
            self._buffer, self._from, begin = self._peek(at, _BLOCK), at, 0
        return self._buffer[begin : begin + size]
