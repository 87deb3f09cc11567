"""Recordings that lie one after the other in a file, and the duration that each states.

Files are joined by `cat`, by recorders that continue a file, by radio stations. Decoders stop at
the end of the first recording, or decode the header of the next one as sound. Here a file is cut
into its recordings, by the lengths that containers state or by the beginning of the next one.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from wheatear.audio import file_type
from wheatear.audio.byte_source import Window
from wheatear.audio.containers import chunks, mpeg, ogg
from wheatear.audio.containers.tags import past_tags
from wheatear.audio.containers.wav import WavReader, read_format, wav_chunks
from wheatear.audio.file_type import Container, container_at, find_container
from wheatear.errors import AudioError

_MOST = 10_000  # recordings of one file
_BLOCK = 1 << 20
_OVERLAP = 64
_MP3_IN_WAV = (0x50, 0x55)
_PADDING = 4096  # bytes; fewer after the end of a container are not reported
_SLACK = 2  # frames by which the tags of encoders are wrong
_HEADER_ERROR = 0.02  # seconds by which headers may be wrong
_LONGEST_SILENCE = 60.0  # seconds


@dataclass(frozen=True)
class Recording:
    """Bytes of a file that are decoded by themselves."""

    container: Container
    start: int
    end: int
    promised: float | None = None
    """Seconds by its header or its frames; None if they state nothing."""
    present: float | None = None
    """Seconds that are present, if known to differ from those promised."""
    skipped: int = 0
    """Samples that an encoder put before the sound."""
    kept: int | None = None
    """Samples after those; None for all."""
    pause: float = 0.0
    """Seconds before it that are damaged and become silence."""
    faults: tuple[str, ...] = ()
    """Faults of its structure, each the rest of a sentence."""
    is_plain: bool = True
    """False if libsndfile would not find the sound among other streams."""

    @property
    def expected(self) -> float | None:
        """Seconds that a decoder should find."""
        return self.promised if self.present is None else self.present

    @property
    def missing(self) -> float:
        """Seconds that were promised and that no decoder can find."""
        missing = 0.0 if self.present is None else (self.promised or 0.0) - self.present
        return missing if missing > _HEADER_ERROR else 0.0


@dataclass
class Layout:
    """Recordings of a file."""

    recordings: list[Recording] = field(default_factory=list)
    lost: int = 0
    """Bytes that belong to no known recording."""
    rejected: Container | None = None
    """Type of the file, if it is known but not decoded."""

    @property
    def seconds(self) -> float | None:
        """Total duration; None if a recording does not state its duration."""
        known = [one.expected for one in self.recordings]
        if None in known:
            return None
        return sum(filter(None, known)) + sum(one.pause for one in self.recordings)


def layout_of(window: Window, check: Callable[[float], None]) -> Layout:
    """Cuts a file into its recordings. check: called with seconds, to stop at a limit."""
    layout, at, size = Layout(), 0, len(window)
    while at < size:
        at = past_tags(window.peek, at)
        rest = window.part(at, size)
        container = container_at(rest.peek)
        if container is None or container.is_rejected:
            found = find_container(rest.peek)
            if found is None:
                layout.rejected = container if not layout.recordings else None
                layout.lost += max(0, size - at)
                break
            layout.lost += found[0] if layout.recordings else 0
            at, container = at + found[0], found[1]
            rest = window.part(at, size)
        for one in _recordings(container, rest, check):
            layout.recordings.append(replace(one, start=at + one.start, end=at + one.end))
            if len(layout.recordings) > _MOST:
                raise AudioError(f"more than {_MOST} recordings are joined in one file")
        end = layout.recordings[-1].end if layout.recordings else size
        at = end if end > at else size
    return layout


def _recordings(
    container: Container, window: Window, check: Callable[[float], None]
) -> Iterator[Recording]:
    """Yields the recordings of one type that begin with a window, with its offsets."""
    if container is file_type.WAV:
        yield from _wav(window, check)
    elif container is file_type.MPEG:
        yield from _mpeg(window, 0, check)
    elif container is file_type.OGG:
        yield from _ogg(window)
    elif container is file_type.FLAC:
        start, seconds = chunks.flac_header(window)
        end = _next_file(window, file_type.MARK_OR_TAG, start)  # files in metadata do not count
        yield Recording(container, 0, end, seconds)
    elif container in _EXTENTS:
        stated, seconds = _EXTENTS[container](window)
        end = _known_end(window, stated)
        rest = end - stated if stated > 8 else 0
        note = f"has a wrong header: {rest} bytes follow what it describes, and were not read"
        yield Recording(container, 0, end, seconds, faults=(note,) if rest >= _PADDING else ())
    elif container in _WITHOUT_LENGTH:
        yield Recording(container, 0, _next_file(window, re.compile(container.mark, re.DOTALL)))
    else:
        yield Recording(container, 0, len(window))


_EXTENTS: dict[Container, Callable[[Window], chunks.Extent]] = {
    file_type.AIFF: chunks.aiff_extent,
    file_type.AU: chunks.au_extent,
    file_type.CAF: chunks.caf_extent,
    file_type.W64: chunks.w64_extent,
    file_type.MOV: chunks.mov_extent,
}
_WITHOUT_LENGTH = (file_type.MATROSKA, file_type.ASF, file_type.FLV, file_type.AMR)


def _known_end(window: Window, end: int) -> int:
    """Returns the end that a container states; that of the file if something unknown follows."""
    if 8 < end < len(window):
        after = past_tags(window.peek, end)
        if len(window) - after < 4 or container_at(window.peek, after) is not None:
            return end
    return len(window)


def _next_file(window: Window, mark: re.Pattern[bytes], at: int = 1) -> int:
    """Finds where the next file begins after an offset; the end if there is none."""
    while data := window.peek(at, _BLOCK):
        for found in mark.finditer(data):
            if container_at(window.peek, at + found.start()) is not None:
                return at + found.start()
        if len(data) < _BLOCK:
            break
        at += len(data) - _OVERLAP
    return len(window)


def _wav(window: Window, check: Callable[[float], None]) -> Iterator[Recording]:
    header = read_format(window)
    if header is not None and header.encoding is not None:
        reader = WavReader(window.part(0, len(window)), dry=True)
        for _ in reader.data():
            pass
        if reader.source.at:
            tally = reader.tally
            yield Recording(file_type.WAV, 0, reader.source.at, tally.promised, present=tally.read)
            return
    bodies = wav_chunks(window.peek)
    start, size = next(((at, size) for name, at, size in bodies if name == b"data"), (0, 0))
    if header is not None and header.code in _MP3_IN_WAV and start:
        yield from _mpeg(window.part(0, min(len(window), start + size)), start, check)
        return
    end = 8 + int.from_bytes(window.peek(4, 4), "little")
    ended = start + size
    if not start or end < ended or container_at(window.peek, end) is None:
        end = len(window)
    missing = 0.0
    if header is not None and header.bytes_per_second and ended < chunks.UNKNOWN_SIZE:
        missing = (ended - len(window)) / header.bytes_per_second
    faults = (f"is cut off: {missing:.1f} s are missing",) if missing > 0.05 else ()
    yield Recording(file_type.WAV, 0, end, faults=faults)


def _mpeg(window: Window, start: int, check: Callable[[float], None]) -> Iterator[Recording]:
    def is_other(at: int) -> bool:
        if window.peek(at, 1) == b"\xff":
            return False
        container = container_at(window.peek, at)
        return container is not None and not container.is_rejected

    scanner = mpeg.FrameScanner(window.peek, start, is_other, check)
    group: list[tuple[mpeg.Stretch, Recording]] = []
    for stretch in scanner.stretches():
        if group and (stretch.tag is not None or stretch.frame.form != group[0][0].frame.form):
            yield from _settled(group, False)
            group = []
        begun = sum(one.promised or 0.0 for _, one in group)
        group.append((stretch, _mpeg_recording(stretch, begun)))
    yield from _settled(group, scanner.broken_off)


def _mpeg_recording(stretch: mpeg.Stretch, begun: float) -> Recording:
    """begun: seconds of the same recording that lie before."""
    frame, tag = stretch.frame, stretch.tag
    total = stretch.frames * frame.samples
    skipped, kept = 0, total
    if tag is not None and tag.delay is not None:
        skipped = min(total, tag.delay + mpeg.DECODER_DELAY)
        kept = total - skipped
        if tag.frames == stretch.frames:
            kept = min(kept, max(0, total - tag.delay - (tag.padding or 0)))
    one = Recording(
        file_type.MPEG, stretch.start, stretch.end, kept / frame.rate, skipped=skipped, kept=kept
    )
    if not stretch.lost:
        return one
    fault = f"is damaged at {begun:.1f} s: {stretch.lost} bytes there are no frames of mp3"
    seconds = stretch.lost * (total / frame.rate) / (stretch.end - stretch.start)
    return replace(one, faults=(fault,), pause=min(_LONGEST_SILENCE, seconds) if begun else 0.0)


def _settled(group: list[tuple[mpeg.Stretch, Recording]], broken_off: bool) -> Iterator[Recording]:
    """Yields the parts of one recording; the last one misses the frames that a tag promised."""
    if not group:
        return
    yield from (one for _, one in group[:-1])
    (first, _), (_, last) = group[0], group[-1]
    frames = sum(stretch.frames for stretch, _ in group)
    promised = first.tag.frames if first.tag is not None else None
    if promised is not None and promised > frames + _SLACK:
        missing = (promised - frames) * first.frame.samples / first.frame.rate
        present = last.promised or 0.0
        last = replace(last, promised=present + missing, present=present)
    elif broken_off and promised is None:
        last = replace(last, faults=(*last.faults, "is cut off: its last frame is incomplete"))
    yield last


def _ogg(window: Window) -> Iterator[Recording]:
    for link in ogg.links(window.peek, 0):
        faults = []
        if link.holes:
            faults.append(f"is damaged: pages are missing or damaged in {link.holes} places")
        if not link.ended:
            faults.append("is cut off: it ends without its last page")
        yield Recording(
            file_type.OGG, link.start, min(link.end, len(window)),
            link.seconds if link.is_sound else None,
            faults=tuple(faults), is_plain=link.is_sound,
        )  # fmt: skip
