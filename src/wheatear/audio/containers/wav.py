"""WAV and RF64, read from chunk to chunk: the same from a file as through a pipe.

Headers are often wrong: recorders that write into a pipe leave 0 or a very large number, four bytes
cannot count past 4 GiB, some writers count their own header. What decides is what follows the
samples: another chunk, another file, or more samples.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from wheatear.audio.byte_source import Source
from wheatear.audio.file_type import kind_of, past_tags
from wheatear.audio.sample_encoding import size_of

_UNKNOWN = 0x7FFF_0000  # sizes from here on are left by writers that did not know
_LONGEST_HEADER = 1 << 20
_FEW = 4  # bytes after the samples that are nothing
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
_NEXT = re.compile(rb"(?:RIFF|RF64|BW64)....WAVE[a-zA-Z0-9 ]{4}", re.DOTALL)
_NEXT_BYTES = 16


@dataclass(frozen=True, slots=True)
class WavFormat:
    """The `fmt ` chunk."""

    code: int
    """1 is PCM, 3 floats, 6 and 7 are G.711's laws, 0x55 is mp3."""
    rate: int
    channels: int
    encoding: str | None
    """One of `wheatear.audio.sample_encoding`; None where a decoder is needed."""
    bytes_per_second: int

    @property
    def frame(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * size_of(self.encoding) if self.encoding else 1


def header_of(source: Source) -> WavFormat | None:
    """The format of a WAV file that comes next, of which nothing is taken; None if it has none.

    Files whose samples are compressed are told apart by `encoding`.
    """
    at = 12
    while len(head := source.look(at + 8)) == at + 8 and at < _LONGEST_HEADER:
        name, size = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        if name == b"fmt ":
            return _format(source.look(at + 8 + min(size, 40))[at + 8 :])
        at += 8 + size + size % 2
    return None


def _format(body: bytes) -> WavFormat | None:
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
        width = (bits + 7) // 8  # the alignment is wrong; bits are what everybody reads
    return WavFormat(code, rate, channels, _ENCODINGS.get((code, width)), number(8, 4))


@dataclass
class Tally:
    """Seconds that the headers of a WAV file promised, and what there was."""

    promised: float = 0.0
    read: float = 0.0
    beyond: float = 0.0
    """Read, though by the header the samples had ended."""


class WavReader:
    """The samples of a WAV file, and of those joined to it, as they come from a source.

    Stops at the end, at what is no WAV, and before a joined file whose samples are compressed.
    """

    def __init__(self, source: Source, dry: bool = False) -> None:
        """dry: passes over the samples to see how many there are."""
        self._source, self._dry = source, dry
        self._riff_end = 0
        self.tally = Tally()

    def data(self) -> Iterator[tuple[WavFormat, bytes]]:
        """Yields the bytes of the samples, in whole frames; none where it runs dry."""
        while (form := self._open()) is not None:
            wide: int | None = None
            while self._is_chunk(head := self._source.look(_NEXT_BYTES), strict=form.seen):
                name, size = head[:4], int.from_bytes(head[4:8], "little")
                if name == b"ds64":
                    wide = int.from_bytes(self._source.look(24)[16:], "little")
                if name == b"fmt ":
                    form.now = _format(self._source.look(8 + min(size, 40))[8:]) or form.now
                if name != b"data":
                    self._skip(size)
                    continue
                self._source.skip(8)
                known = 0 < size < _UNKNOWN
                if wide is not None and size in (0, 0xFFFF_FFFF):
                    size, known, wide = wide, 0 < wide < 1 << 62, None
                form.seen = True
                yield from self._samples(form.now, size, known)

    def _open(self) -> "_Open | None":
        """Takes the beginning of the next file, if it can be read here."""
        self._source.skip(past_tags(self._peek, 0))
        head = self._source.look(12)
        if head[:4] not in _RIFFS or head[8:] != b"WAVE":
            return None
        form = header_of(self._source)
        if form is None or form.encoding is None or not form.channels or not form.rate:
            return None
        size = int.from_bytes(head[4:8], "little")
        self._riff_end = self._source.at + 8 + size if 0 < size < _UNKNOWN else 0
        self._source.skip(12)
        return _Open(form)

    def _skip(self, size: int) -> None:
        """Passes a chunk that is no sound; of odd sizes, some writers leave out the padding."""
        self._source.skip(8 + size)
        if size % 2:
            head = self._source.look(5)
            self._source.skip(int(head[:4] not in _CHUNKS or head[1:] in _CHUNKS))

    def _samples(
        self, form: WavFormat, size: int, known: bool
    ) -> Iterator[tuple[WavFormat, bytes]]:
        """Takes a data chunk and what follows it, as long as that is sound."""
        if size == 0 and self._settled(0):
            return
        second, tally, begun = form.rate * form.frame, self.tally, self._source.at
        if known:
            yield from self._taken(form, size)
        took = self._source.at - begun
        tally.read += took / second
        if known and took < size:
            whole = took == 0 and self._source.look(1)  # a whole file in place of samples
            tally.promised += 0 if whole else size / second
            return
        tally.promised += took / second
        if self._settled(size):
            return
        begun = self._source.at
        yield from self._taken(form, None)
        beyond = (self._source.at - begun) / second
        tally.read += beyond
        tally.promised += beyond
        tally.beyond += beyond if known else 0

    def _taken(self, form: WavFormat, size: int | None) -> Iterator[tuple[WavFormat, bytes]]:
        """Takes `size` bytes, or all there are, but for another file among them."""
        if self._dry:
            self._source.skip(self._source.left or 0 if size is None else size)
            return
        rest = b""
        for data in self._up_to_next_file(size, form.frame * max(1, form.rate // 2)):
            data = rest + data  # noqa: PLW2901
            whole = len(data) // form.frame * form.frame
            rest = data[whole:]
            if whole:
                yield form, data[:whole]

    def _up_to_next_file(self, size: int | None, most: int) -> Iterator[bytes]:
        while data := self._source.read(most if size is None else min(most, size)):
            found = _NEXT.search(data)
            place = found.start() if found else _beginning(data)
            if found is None and place is not None:  # its beginning, or bytes that look so
                self._source.unread(data[place:])
                if _NEXT.match(self._source.look(_NEXT_BYTES)):
                    found = True
                else:
                    self._source.skip(len(data) - place)
                    place = len(data)
            elif found:
                self._source.unread(data[place:])
            if data[:place]:
                yield data[:place]
            if found:
                return
            size = None if size is None else size - len(data)

    def _settled(self, size: int) -> bool:
        """True if no more samples follow; takes the bytes by which the size was wrong."""
        head = self._source.look(_NEXT_BYTES + 3)
        if len(head) < _FEW:
            self._source.skip(len(head))
            return True
        for skipped in (1, 0, 2, 3) if size % 2 else (0, 1, 2, 3):
            there = head[skipped:]
            frames = there[:1] == b"\xff" and kind_of(self._peek, skipped) is not None
            if (
                frames
                or there.startswith(_FILES)
                or self._is_chunk(there, strict=True, sure=skipped > 0)
            ):
                self._source.skip(skipped)
                return True
        return False

    def _is_chunk(self, head: bytes, strict: bool, sure: bool = False) -> bool:
        """True if a chunk begins. strict: samples may come too. sure: only known names."""
        if len(head) < 8:
            return False
        if head[:4] in _CHUNKS or not strict:
            return head[:4] not in _RIFFS or head[8:12] != b"WAVE"
        end = self._source.at + 8 + int.from_bytes(head[4:8], "little")
        return not sure and end <= self._riff_end + 1 and bool(_NAME.match(head))

    def _peek(self, at: int, size: int) -> bytes:
        return self._source.look(at + size)[at:]


@dataclass
class _Open:
    """A file whose chunks are being passed."""

    now: WavFormat
    seen: bool = False
    """True once samples have come."""


def _beginning(data: bytes) -> int | None:
    """Where the beginning of another file may lie, cut off by the end of the data."""
    tail = max(0, len(data) - _NEXT_BYTES + 1)
    for at in range(tail, len(data)):
        if any(name.startswith(data[at : at + 4]) for name in _RIFFS):
            return at
    return None
