"""The recordings that lie one after the other in a file, and how long each says it is.

Files are joined by `cat`, by recorders that go on in the same file, by radio stations. Decoders
stop at the end of the first recording, or take the header of the next one for sound. Here a file is
cut into its recordings, by the lengths that containers state or by the beginning of the next one.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from wheatear.audio import file_type as kinds
from wheatear.audio.byte_source import Window
from wheatear.audio.containers import mpeg, ogg
from wheatear.audio.containers.wav import WavReader, header_of
from wheatear.audio.file_type import Container, kind_of, past_tags
from wheatear.errors import AudioError

_MOST = 10_000  # recordings of one file
_BLOCK = 1 << 20
_OVERLAP = 64
_MP3_IN_WAV = (0x50, 0x55)
_PADDING = 4096  # bytes; fewer after the end of a container are not worth a word
_SLACK = 2  # frames by which the tags of encoders are wrong
_OWED = 0.02  # seconds by which headers may be wrong
_LONGEST_SILENCE = 60.0  # seconds


@dataclass(frozen=True)
class Part:
    """One recording: bytes of a file that are decoded by themselves."""

    kind: Container
    start: int
    end: int
    promised: float | None = None
    """Seconds, by its header or its frames; None where it tells nothing."""
    there: float | None = None
    """Seconds that are there, where that is known not to be what was promised."""
    skipped: int = 0
    """Samples at its beginning that an encoder put before the sound."""
    kept: int | None = None
    """Samples after those; None is all."""
    pause: float = 0.0
    """Seconds before it that are damaged: silence takes their place."""
    faults: tuple[str, ...] = ()
    """What is wrong with it, as far as its structure shows."""
    plain: bool = True
    """False where libsndfile would not find the sound among other streams."""

    @property
    def expected(self) -> float | None:
        """Seconds that a decoder should find."""
        return self.promised if self.there is None else self.there

    @property
    def owed(self) -> float:
        """Seconds that were promised, and that no decoder can find."""
        owed = 0.0 if self.there is None else (self.promised or 0.0) - self.there
        return owed if owed > _OWED else 0.0


@dataclass
class Layout:
    """What lies in a file."""

    parts: list[Part] = field(default_factory=list)
    lost: int = 0
    """Bytes that belong to no recording that is known."""
    refused: Container | None = None
    """What the file is, where it is known and not read."""

    @property
    def seconds(self) -> float | None:
        """Of all recordings, where all of them state theirs."""
        known = [part.expected for part in self.parts]
        if None in known:
            return None
        return sum(filter(None, known)) + sum(part.pause for part in self.parts)


def layout_of(window: Window, check: Callable[[float], None]) -> Layout:
    """Cuts a file into its recordings.  check: called with seconds, to stop what is too long."""
    layout, at, size = Layout(), 0, len(window)
    while at < size:
        at = past_tags(window.peek, at)
        rest = window.part(at, size)
        kind = kind_of(rest.peek) if at < size else None
        if kind is None or kind.refused:
            found = kinds.find(rest.peek) if at < size else None
            if found is None:
                layout.refused = kind if not layout.parts else None
                layout.lost += max(0, size - at)
                break
            layout.lost += found[0] if layout.parts else 0
            at, kind = at + found[0], found[1]
            rest = window.part(at, size)
        for part in _parts(kind, rest, check):
            layout.parts.append(replace(part, start=at + part.start, end=at + part.end))
            if len(layout.parts) > _MOST:
                raise AudioError(f"more than {_MOST} recordings are joined in one file")
        end = layout.parts[-1].end if layout.parts else size
        at = end if end > at else size
    return layout


def _parts(kind: Container, window: Window, check: Callable[[float], None]) -> Iterator[Part]:
    """The recordings of one kind that begin with a window; offsets are its own."""
    if kind is kinds.WAV:
        yield from _wav(window, check)
    elif kind is kinds.MPEG:
        yield from _mpeg(window, 0, check)
    elif kind is kinds.OGG:
        yield from _ogg(window)
    elif kind in _EXTENTS:
        stated, seconds = _EXTENTS[kind](window)
        end = _known_end(window, stated)
        rest = end - stated if stated > 8 else 0
        note = f"has a wrong header: {rest} bytes follow what it describes, and were not read"
        yield Part(kind, 0, end, seconds, faults=(note,) if rest >= _PADDING else ())
    elif kind in _STARTS:
        yield Part(kind, 0, _next(window, _STARTS[kind]))
    else:
        yield Part(kind, 0, len(window))


# -- WAV, MPEG audio and Ogg ---------------------------------------------------------------------


def _wav(window: Window, check: Callable[[float], None]) -> Iterator[Part]:
    form = header_of(window)
    if form is not None and form.encoding is not None and window.peek(0, 4) != b"RIFX":
        source = window.part(0, len(window))
        reader = WavReader(source, dry=True)
        for _ in reader.data():
            pass
        if source.at:
            tally = reader.tally
            yield Part(kinds.WAV, 0, source.at, tally.promised, there=tally.read)
            return
    start, size = _chunk(window, b"data")
    if form is not None and form.code in _MP3_IN_WAV and start:
        yield from _mpeg(window.part(0, min(len(window), start + size)), start, check)
        return
    end = 8 + int.from_bytes(window.peek(4, 4), "little")
    ended = start + size
    if not start or end < ended or kind_of(window.peek, end) is None:
        end = len(window)
    cut = form is not None and form.bytes_per_second and ended < 0x7FFF_0000
    missing = (ended - len(window)) / form.bytes_per_second if cut and form else 0.0
    faults = (f"is cut off: {missing:.1f} s are missing",) if missing > 0.05 else ()
    yield Part(kinds.WAV, 0, end, faults=faults)


def _chunk(window: Window, name: bytes) -> tuple[int, int]:
    """Where the body of a chunk of a RIFF file begins, and its size; zeros if there is none."""
    at = 12
    while len(head := window.peek(at, 8)) == 8:
        size = int.from_bytes(head[4:], "little")
        if head[:4] == name:
            return at + 8, size
        at += 8 + size + size % 2
    return 0, 0


def _mpeg(window: Window, start: int, check: Callable[[float], None]) -> Iterator[Part]:
    def tagged(at: int) -> int:
        return past_tags(window.peek, at)

    def other(at: int) -> bool:
        if window.peek(at, 1) == b"\xff":
            return False
        kind = kind_of(window.peek, at)
        return kind is not None and not kind.refused

    walk = mpeg.Walk(window.peek, tagged(start), tagged, other, check)
    group: list[tuple[mpeg.Stretch, Part]] = []
    for stretch in walk.stretches():
        if group and (stretch.tag is not None or stretch.frame.form != group[0][0].frame.form):
            yield from _settled(group, False)
            group = []
        begun = sum(part.promised or 0.0 for _, part in group)
        group.append((stretch, _mpeg_part(stretch, begun)))
    yield from _settled(group, walk.broken_off)


def _mpeg_part(stretch: mpeg.Stretch, begun: float) -> Part:
    """begun: seconds of the same recording that lie before."""
    frame, tag = stretch.frame, stretch.tag
    total = stretch.frames * frame.samples
    skipped, kept = 0, total
    if tag is not None and tag.delay is not None:
        skipped = min(total, tag.delay + mpeg.DECODER_DELAY)
        kept = total - skipped
        if tag.frames == stretch.frames:
            kept = min(kept, max(0, total - tag.delay - (tag.padding or 0)))
    faults: tuple[str, ...] = ()
    pause = 0.0
    if stretch.lost:
        faults = (f"is damaged at {begun:.1f} s: {stretch.lost} bytes there are no frames of mp3",)
        if begun:
            seconds = total / frame.rate
            pause = min(_LONGEST_SILENCE, stretch.lost * seconds / (stretch.end - stretch.start))
    return Part(
        kinds.MPEG,
        stretch.start,
        stretch.end,
        kept / frame.rate,
        skipped=skipped,
        kept=kept,
        pause=pause,
        faults=faults,
    )


def _settled(group: list[tuple[mpeg.Stretch, Part]], broken_off: bool) -> Iterator[Part]:
    """Parts of one recording; the last one is charged with the frames that a tag promised."""
    for _, part in group[:-1]:
        yield part
    if not group:
        return
    (first, _), (_, last) = group[0], group[-1]
    frames = sum(stretch.frames for stretch, _ in group)
    said = first.tag.frames if first.tag is not None else None
    if said is not None and said > frames + _SLACK:
        missing = (said - frames) * first.frame.samples / first.frame.rate
        there = last.promised or 0.0
        last = replace(last, promised=there + missing, there=there)
    elif broken_off and said is None:
        last = replace(last, faults=(*last.faults, "is cut off: its last frame is incomplete"))
    yield last


def _ogg(window: Window) -> Iterator[Part]:
    for link in ogg.links(window.peek, 0):
        faults = []
        if link.holes:
            faults.append(f"is damaged: pages are missing or damaged in {link.holes} places")
        if not link.ended:
            faults.append("is cut off: it ends without its last page")
        end = min(link.end, len(window))
        seconds = link.seconds if link.sound else None
        yield Part(kinds.OGG, link.start, end, seconds, faults=tuple(faults), plain=link.sound)


# -- containers that state their length ----------------------------------------------------------


def _aiff(window: Window) -> tuple[int, float | None]:
    size = int.from_bytes(window.peek(4, 4), "big")
    end, at, seconds = 8 + size + size % 2, 12, None
    while len(head := window.peek(at, 8)) == 8 and at < end:
        body = int.from_bytes(head[4:], "big")
        if head[:4] == b"COMM":
            data = window.peek(at + 8, 18)
            rate = _extended(data[8:18])
            frames = int.from_bytes(data[2:6], "big")
            seconds = frames / rate if rate and 0 < frames < 0x7FFF_0000 else None
        at += 8 + body + body % 2
        if head[:4] == b"SSND":
            end = max(end, at)
    return end, seconds


def _extended(data: bytes) -> float:
    """A floating point number of 80 bits."""
    if len(data) < 10:
        return 0.0
    exponent, mantissa = struct.unpack(">HQ", data)
    return mantissa * 2.0 ** ((exponent & 0x7FFF) - 16446) if exponent & 0x7FFF < 16446 else 0.0


_AU_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}


def _au(window: Window) -> tuple[int, float | None]:
    order = ">" if window.peek(0, 1) == b"." else "<"
    head = window.peek(4, 20)
    if len(head) < 20:
        return len(window), None
    start, size, encoding, rate, channels = struct.unpack(f"{order}5I", head)
    if size >= 0x7FFF_0000 or not size:
        return len(window), None
    second = _AU_WIDTHS.get(encoding, 0) * rate * channels
    return start + size, size / second if second else None


def _caf(window: Window) -> tuple[int, float | None]:
    at, rate, packets, frames = 8, 0.0, (0, 0), None
    seconds = None
    while len(head := window.peek(at, 12)) == 12 and re.match(rb"(?!caff)[a-zA-Z ]{4}", head):
        size = struct.unpack(">q", head[4:])[0]
        body = window.peek(at + 12, 32)
        if head[:4] == b"desc" and len(body) == 32:
            rate, packets = struct.unpack(">d", body[:8])[0], struct.unpack(">2I", body[16:24])
        if head[:4] == b"pakt" and len(body) >= 16:
            frames = struct.unpack(">q", body[8:16])[0]
        if size < 0:
            return len(window), None
        if head[:4] == b"data" and all(packets) and rate > 0:
            seconds = (size - 4) // packets[0] * packets[1] / rate
        at += 12 + size
    if frames and rate > 0:
        seconds = frames / rate
    return at, seconds


def _w64(window: Window) -> tuple[int, float | None]:
    end = int.from_bytes(window.peek(16, 8), "little")
    at, second = 40, 0
    while len(head := window.peek(at, 24)) == 24:
        size = int.from_bytes(head[16:], "little")
        if head[:4] == b"fmt ":
            second = int.from_bytes(window.peek(at + 32, 4), "little")
        if head[:4] == b"data":
            seconds = (size - 24) / second if second and 24 < size < 1 << 62 else None
            return end, seconds
        at += max(24, size + -size % 8)
    return end, None


def _known_end(window: Window, end: int) -> int:
    """The end that a container states, unless something unknown follows: then that of the file."""
    if 8 < end < len(window):
        after = past_tags(window.peek, end)
        if len(window) - after < 4 or kind_of(window.peek, after) is not None:
            return end
    return len(window)


def has_index(window: Window) -> bool:
    """True if an mp4, m4a or mov file has its index, or is made of fragments."""
    return any(name in (b"moov", b"moof") for name, _ in _atoms(window))


def _atoms(window: Window) -> Iterator[tuple[bytes, int]]:
    """Names of atoms and the offsets after them, which may lie beyond the end."""
    at = 0
    while len(head := window.peek(at, 16)) >= 8 and re.match(rb"[ -~\xa9]{4}", head[4:8]):
        size = int.from_bytes(head[:4], "big")
        size = int.from_bytes(head[8:16], "big") if size == 1 else size
        at = at + size if size >= 8 else len(window)
        yield head[4:8], at


def _mov(window: Window) -> tuple[int, float | None]:
    """From atom to atom: the next file begins with another `ftyp`."""
    at, sound = 0, False
    for name, end in _atoms(window):
        if name == b"ftyp" and sound:
            return at, None
        sound |= name in (b"moov", b"mdat")
        at = end
    return at, None


# -- containers that do not ----------------------------------------------------------------------

_STARTS: dict[Container, Any] = {
    kinds.MATROSKA: re.compile(rb"\x1aE\xdf\xa3.{1,40}?(?:webm|matroska)", re.DOTALL),
    kinds.ASF: re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa"),
    kinds.FLV: re.compile(rb"FLV\x01[\1\4\5]\0\0\0\x09"),
    kinds.AMR: re.compile(rb"#!AMR(?:-WB)?\n"),
}


def _next(window: Window, beginning: Any, at: int = 1) -> int:
    """Where the next file begins after an offset, or the end."""
    while data := window.peek(at, _BLOCK):
        for found in beginning.finditer(data):
            if kind_of(window.peek, at + found.start()) is not None:
                return at + found.start()
        if len(data) < _BLOCK:
            break
        at += len(data) - _OVERLAP
    return len(window)


def _flac(window: Window) -> tuple[int, float | None]:
    """Up to the next file of any kind; what lies in the metadata is no file."""
    at, last = 4, False
    while not last and len(head := window.peek(at, 4)) == 4:
        last = bool(head[0] & 0x80)
        at += 4 + int.from_bytes(head[1:], "big")
    return _next(window, kinds.BEGINNING, at), _flac_seconds(window.peek(0, 42))


def _flac_seconds(head: bytes) -> float | None:
    """What STREAMINFO tells; 0 is that the encoder did not know."""
    if len(head) < 26:
        return None
    rate = int.from_bytes(head[18:21], "big") >> 4
    total = int.from_bytes(head[21:26], "big") & (1 << 36) - 1
    return total / rate if rate and total else None


_EXTENTS: dict[Container, Callable[[Window], tuple[int, float | None]]] = {
    kinds.AIFF: _aiff,
    kinds.AU: _au,
    kinds.CAF: _caf,
    kinds.W64: _w64,
    kinds.MOV: _mov,
    kinds.FLAC: _flac,
}
