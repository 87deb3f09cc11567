"""WAV and RF64 files, read chunk by chunk in the same way from a file and through a pipe.

Sizes in headers are often wrong. Recorders that write into a pipe leave 0 or a very large number.
Four bytes cannot count past 4 GiB, and some writers count their own header. The bytes after the
samples decide: another chunk, another file, or more samples.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from wheatear.audio.byte_source import Peek, Source
from wheatear.audio.containers.chunks import UNKNOWN_SIZE, chunks
from wheatear.audio.containers.tags import past_tags
from wheatear.audio.file_type import container_at
from wheatear.audio.sample_encoding import size_of

_LONGEST_HEADER = 1 << 20
_FEW = 4  # bytes after the samples that mean nothing
_RIFFS = (b"RIFF", b"RF64", b"BW64")
_FILES = (*_RIFFS, b"ID3\2", b"ID3\3", b"ID3\4", b"TAG", b"APETAGEX", b"fLaC", b"OggS", b"FORM")
_ENCODINGS = {
    (1, 1): "u8", (1, 2): "s16", (1, 3): "s24", (1, 4): "s32",
    (3, 4): "f32", (3, 8): "f64", (6, 1): "alaw", (7, 1): "mulaw",
}  # fmt: skip
_NAMES = b"""
    data fmt_ LIST fact bext id3_ ID3_ cue_ smpl inst iXML PEAK DISP JUNK junk PAD_ FLLR minf elm1
    regn umid axml chna cart levl note labl plst afsp ds64 cset CSET dbmd acid strc slnt wavl clm_
"""
_CHUNKS = frozenset([*(name.replace(b"_", b" ") for name in _NAMES.split()), b"_PMX"])
_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_ ]{3}")
_NEXT_FILE = re.compile(rb"(?:RIFF|RF64|BW64)....WAVE[a-zA-Z0-9 ]{4}", re.DOTALL)
_NEXT_BYTES = 16


@dataclass(frozen=True, slots=True)
class WavFormat:
    """The `fmt ` chunk."""

    code: int
    """1 for PCM, 3 for floats, 6 and 7 for G.711's laws, 0x55 for mp3."""
    rate: int
    channels: int
    encoding: str | None
    """An encoding of `wheatear.audio.sample_encoding`; None if a decoder is needed."""
    bytes_per_second: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * size_of(self.encoding) if self.encoding else 1


def wav_chunks(peek: Peek) -> Iterator[tuple[bytes, int, int]]:
    """Yields name, offset and size of the bodies of a file's chunks."""
    return chunks(peek, 12, "<4sI")


def read_format(source: Source) -> WavFormat | None:
    """Reads ahead to the format of a WAV file; None if it has none or is big-endian."""
    if source.look(4) == b"RIFX":
        return None
    for name, at, size in wav_chunks(_peek(source)):
        if name == b"fmt ":
            return _parse_format(_peek(source)(at, min(size, 40)))
        if at + size > _LONGEST_HEADER:
            break
    return None


def _peek(source: Source) -> Peek:
    return lambda at, size: source.look(at + size)[at:]


def _parse_format(body: bytes) -> WavFormat | None:
    if len(body) < 14:
        return None

    def number(at: int, size: int) -> int:
        return int.from_bytes(body[at : at + size], "little")

    code, channels, rate, align = number(0, 2), number(2, 2), number(4, 4), number(12, 2)
    if code == 0xFFFE and len(body) >= 26:  # "extensible": the encoding follows further down
        code = number(24, 2)
    width = align // channels if channels else 0
    bits = number(14, 2)
    if code in (1, 3) and not (8 * width - 8 < bits <= 8 * width):
        width = (bits + 7) // 8  # the alignment is wrong; other readers use the bits
    return WavFormat(code, rate, channels, _ENCODINGS.get((code, width)), number(8, 4))


@dataclass
class Tally:
    """Seconds stated by the headers of a WAV file, and seconds read."""

    promised: float = 0.0
    read: float = 0.0
    beyond: float = 0.0
    """Seconds read after the end that the header states."""


class WavReader:
    """Reads the samples of a WAV file, and of files joined to it, from a source.

    Stops at the end, at bytes that are not WAV, and before a joined file of compressed samples.
    """

    def __init__(self, source: Source, dry: bool = False) -> None:
        """dry: skips the samples and only counts them."""
        self.source, self._dry = source, dry
        self._peek = _peek(source)
        self._riff_end = 0
        self.tally = Tally()

    def data(self) -> Iterator[tuple[WavFormat, bytes]]:
        """Yields the bytes of whole frames; none in a dry run."""
        while (form := self._open()) is not None:
            wide: int | None = None
            seen = False
            while self._is_chunk(head := self.source.look(_NEXT_BYTES), strict=seen):
                name, size = head[:4], int.from_bytes(head[4:8], "little")
                if name == b"ds64":
                    wide = int.from_bytes(self._peek(16, 8), "little")
                if name == b"fmt ":
                    form = _parse_format(self._peek(8, min(size, 40))) or form
                if name != b"data":
                    self._skip_chunk(size)
                    continue
                self.source.skip(8)
                known = 0 < size < UNKNOWN_SIZE
                if wide is not None and size in (0, 0xFFFF_FFFF):
                    size, known, wide = wide, 0 < wide < 1 << 62, None
                seen = True
                yield from self._samples(form, size, known)

    def _open(self) -> WavFormat | None:
        """Takes the beginning of the next file, if it can be read here."""
        self.source.skip(past_tags(self._peek, 0))
        head = self.source.look(12)
        if head[:4] not in _RIFFS or head[8:] != b"WAVE":
            return None
        form = read_format(self.source)
        if form is None or form.encoding is None or not form.channels or not form.rate:
            return None
        size = int.from_bytes(head[4:8], "little")
        self._riff_end = self.source.at + 8 + size if 0 < size < UNKNOWN_SIZE else 0
        self.source.skip(12)
        return form

    def _skip_chunk(self, size: int) -> None:
        """Skips a chunk without samples; some writers leave out the padding of odd sizes."""
        self.source.skip(8 + size)
        if size % 2:
            head = self.source.look(5)
            self.source.skip(int(head[:4] not in _CHUNKS or head[1:] in _CHUNKS))

    def _samples(
        self, form: WavFormat, size: int, known: bool
    ) -> Iterator[tuple[WavFormat, bytes]]:
        """Takes a data chunk and the samples that follow it."""
        if size == 0 and self._is_settled(0):
            return
        second, tally, begun = form.rate * form.frame_bytes, self.tally, self.source.at
        if known:
            yield from self._take(form, size)
        took = self.source.at - begun
        tally.read += took / second
        if known and took < size:
            whole = took == 0 and self.source.look(1)  # a whole file in place of samples
            tally.promised += 0 if whole else size / second
            return
        tally.promised += took / second
        if self._is_settled(size):
            return
        begun = self.source.at
        yield from self._take(form, None)
        beyond = (self.source.at - begun) / second
        tally.read += beyond
        tally.promised += beyond
        tally.beyond += beyond if known else 0

    def _take(self, form: WavFormat, size: int | None) -> Iterator[tuple[WavFormat, bytes]]:
        """Takes `size` bytes, or all if None, but stops at the start of another file."""
        if self._dry:
            self.source.skip(self.source.left or 0 if size is None else size)
            return
        rest = b""
        for data in self._up_to_next_file(size, form.frame_bytes * max(1, form.rate // 2)):
            data = rest + data  # noqa: PLW2901
            whole = len(data) // form.frame_bytes * form.frame_bytes
            rest = data[whole:]
            if whole:
                yield form, data[:whole]

    def _up_to_next_file(self, size: int | None, most: int) -> Iterator[bytes]:
        while data := self.source.read(most if size is None else min(most, size)):
            found = _NEXT_FILE.search(data)
            place = found.start() if found else _partial_mark(data)
            is_next = found is not None
            if place is not None:
                self.source.unread(data[place:])
                if found is None:  # the beginning of a mark, or bytes that look like it
                    is_next = _NEXT_FILE.match(self.source.look(_NEXT_BYTES)) is not None
                    if not is_next:
                        self.source.skip(len(data) - place)
            kept = data[:place] if is_next else data
            if kept:
                yield kept
            if is_next:
                return
            size = None if size is None else size - len(data)

    def _is_settled(self, size: int) -> bool:
        """True if no more samples follow; takes the bytes by which the size was wrong."""
        head = self.source.look(_NEXT_BYTES + 3)
        if len(head) < _FEW:
            self.source.skip(len(head))
            return True
        for skipped in (1, 0, 2, 3) if size % 2 else (0, 1, 2, 3):
            there = head[skipped:]
            frames = there[:1] == b"\xff" and container_at(self._peek, skipped) is not None
            if (
                frames
                or there.startswith(_FILES)
                or self._is_chunk(there, strict=True, sure=skipped > 0)
            ):
                self.source.skip(skipped)
                return True
        return False

    def _is_chunk(self, head: bytes, strict: bool, sure: bool = False) -> bool:
        """True if a chunk begins. strict: samples may follow too. sure: only known names."""
        if len(head) < 8:
            return False
        if head[:4] in _CHUNKS or not strict:
            return head[:4] not in _RIFFS or head[8:12] != b"WAVE"
        end = self.source.at + 8 + int.from_bytes(head[4:8], "little")
        return not sure and end <= self._riff_end + 1 and bool(_NAME.match(head))


def _partial_mark(data: bytes) -> int | None:
    """Finds where the mark of another file may begin that the end of the data cuts off."""
    tail = max(0, len(data) - _NEXT_BYTES + 1)
    for at in range(tail, len(data)):
        if any(name.startswith(data[at : at + 4]) for name in _RIFFS):
            return at
    return None
