"""The kinds of files: told apart by their first bytes, and by whom each is read.

A file is opened as the kind that it was recognized as, and as no other: libsndfile and FFmpeg know
many more formats than these, and guess. What is listed without a reader is refused by its name.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from wheatear.audio.byte_source import Peek
from wheatear.audio.containers import mpeg
from wheatear.errors import AudioError

HEAD = 8192  # bytes by which a pipe is recognized
_FARTHEST = 1 << 18  # bytes of something else that may come before a file
_IN_A_ROW = 4  # frames or packets that make a stream
_TEXT_BYTES = 512
_TAR_MARK = 257
_NOISE_VALUES = 512  # values of 16 bits by which noise is recognized


@dataclass(frozen=True)
class Container:
    """What a file is, by its first bytes."""

    demuxer: str
    """FFmpeg's name for it; empty if FFmpeg is not to read it."""
    about: str
    library: tuple[str, ...] = ()
    """libsndfile's names for it; empty if libsndfile is not to read it."""

    @property
    def refused(self) -> bool:
        """True if it is known, and not read."""
        return not self.demuxer and not self.library


WAV = Container("wav", "a WAV file", ("WAV", "WAVEX", "RF64"))
MPEG = Container("mp3", "an mp3 file", ("MP3",))
OGG = Container("ogg", "an Ogg file", ("OGG",))
FLAC = Container("flac", "a FLAC file", ("FLAC",))
AIFF = Container("aiff", "an AIFF file", ("AIFF",))
AU = Container("au", "an AU file", ("AU",))
CAF = Container("caf", "a CAF file", ("CAF",))
W64 = Container("w64", "a Wave64 file", ("W64",))
MOV = Container("mov", "an mp4, m4a or mov file")
MATROSKA = Container("matroska", "a webm or Matroska file")
ASF = Container("asf", "a WMA or WMV file")
FLV = Container("flv", "a Flash video")
AMR = Container("amr", "an AMR recording")
AAC = Container("aac", "an AAC stream")
_LOAS = Container("loas", "an AAC stream")
_AC3, _EAC3 = Container("ac3", "an AC-3 stream"), Container("eac3", "an E-AC-3 stream")
_TS = Container("mpegts", "an MPEG transport stream")
_AVI = Container("avi", "an AVI file")

_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"moof", b"styp")
_BEGINNINGS = {
    b"fLaC": FLAC,
    b"OggS": OGG,
    b".snd": AU,
    b"dns.": AU,
    b"caff": CAF,
    b"riff\x2e\x91\xcf\x11": W64,
    b"\x1aE\xdf\xa3": MATROSKA,
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": ASF,
    b"FLV\x01": FLV,
    b"#!AMR": AMR,
    b"\x00\x00\x01\xba": Container("mpeg", "an MPEG file"),
    b"\x7f\xfe\x80\x01": Container("dts", "a DTS stream"),
}
_REFUSED = {
    b"wvpk": "a WavPack file",
    b"TTA1": "a TTA file",
    b"TTA2": "a TTA file",
    b"MAC ": "a Monkey's Audio file",
    b"MP+": "a Musepack file",
    b"MPCK": "a Musepack file",
    b"tBaK": "a TAK file",
    b"OFR ": "an OptimFROG file",
    b"ajkg": "a Shorten file",
    b"DSD ": "a DSD recording",
    b"FRM8": "a DSD recording",
    b".RMF": "a RealMedia file",
    b".ra\xfd": "a RealAudio file",
    b"Creative Voice": "a VOC file",
    b"NIST_1A": "a NIST SPHERE file",
    b"FORM": "an IFF file that is not AIFF",
    b"RIFF": "a RIFF file that is not WAV",
    b"MThd": "a MIDI file",
    b"2BIT": "an AVR file",
    b"\x64\xa3\x01\x00": "an IRCAM file",
    b"\x64\xa3\x02\x00": "an IRCAM file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"II*\x00": "a TIFF image",
    b"MM\x00*": "a TIFF image",
    b"%PDF": "a PDF document",
    b"{\\rtf": "an RTF document",
    b"\xd0\xcf\x11\xe0": "an Office document",
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "a zip archive",
    b"Rar!": "a rar archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\x1f\x8b\x08": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"\x7fELF": "a program",
    b"\xca\xfe\xba\xbe": "a program",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "a database",
    b"GGUF": "a model",
}
# What may be searched for after bytes of something else: long enough never to come by chance.
_LATER = re.compile(
    rb"RIFF....(?:WAVE|AVI )|RF64....WAVE|BW64....WAVE|FORM....AIF[FC]|\.snd\0\0\0[\x18-\xff]"
    rb"|OggS\0\x02|fLaC\0\0\0\x22|\0\0\0.ftyp|\x1aE\xdf\xa3[\x42\x93\xa3\x9f\x01]"
    rb"|caff\0[\1\2]\0\0desc|\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9|#!AMR(?:-WB)?\n"
    rb"|riff\x2e\x91\xcf\x11\xa5\xd6|FLV\x01[\1\4\5]\0\0\0\x09",
    re.DOTALL,
)
BEGINNING = re.compile(_LATER.pattern + rb"|ID3[\2-\4]\0", re.DOTALL)
"""The same, and tags before mp3: what may be searched for in the sound of another file."""
_SYNC = re.compile(
    rb"\xff[\xf0-\xf9\xfa-\xff\xe2-\xe7]|ID3[\2-\4]\0|\x0b\x77|\x56[\xe0-\xff]|G(?=.{187}G)",
    re.DOTALL,
)

# What such files are called; without .ts, which programs are called as well.
SUFFIXES = frozenset(
    [
        *(".3gp", ".aac", ".amr", ".asf", ".avi", ".flv", ".m4a", ".m4b", ".m4v", ".mka", ".mkv"),
        *(".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wma", ".wmv"),
    ]
)


def is_installed() -> bool:
    """True if the extra `media` is there."""
    return find_spec("av") is not None


def readable() -> str:
    """A list of the files that work, for messages."""
    more = "m4a, mp4, webm, aac, wma"
    more = more if is_installed() else f"with wheatear[media] also {more}"
    return f"Files that work: wav, flac, ogg, opus, mp3, aiff, au, caf; {more}"


def require(kind: Container, name: str) -> None:
    """Raises AudioError for a kind that is not read, or only with the extra that is missing."""
    if kind.refused:
        raise AudioError(
            f"cannot decode {name}: it is {kind.about}, which is not read. {readable()}"
        )
    if not kind.library and not is_installed():
        raise AudioError(
            f"{name} is {kind.about}: pip install 'wheatear[media]' to read it, or convert it to "
            f"wav or flac first"
        )


def kind_of(peek: Peek, at: int = 0) -> Container | None:
    """The kind of file that begins at an offset; None for what is not known."""
    head = peek(at, 16)
    if (kind := _riff(head) or _container(head)) is not None:
        return kind
    if head[:3] == b"ID3" and (after := past_tags(peek, at)) != at:
        return kind_of(peek, after) or (MPEG if _found_stream(peek, after, HEAD) else None)
    return _stream(peek, at) or _refused(peek, at)


def _refused(peek: Peek, at: int) -> Container | None:
    """What is known and not read; None for what is not known."""
    if peek(at + _TAR_MARK, 5) == b"ustar":
        return Container("", "a tar archive")
    head = peek(at, 16)
    return next(
        (Container("", about) for name, about in _REFUSED.items() if head.startswith(name)), None
    )


def _container(head: bytes) -> Container | None:
    found = (kind for name, kind in _BEGINNINGS.items() if head.startswith(name))
    return next(found, MOV if head[4:8] in _ATOMS else None)


def find(peek: Peek, farthest: int = _FARTHEST) -> tuple[int, Container] | None:
    """The first file that begins within some bytes of something else, and where."""
    data = peek(0, farthest)
    marks = [match.start() for match in _LATER.finditer(data)][:1]
    stream = _found_stream(peek, 0, min([farthest, *marks]))
    at = stream if stream is not None else marks[0] if marks else None
    if at is None or (kind := kind_of(peek, at)) is None or kind.refused:
        return None
    return at, kind


def about_text(head: bytes) -> str | None:
    """Says that bytes are text, if they are."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = head[: _TEXT_BYTES & ~1].decode("utf-16", errors="replace")
        plain = sum(letter.isascii() and letter.isprintable() for letter in text)
        return "text" if len(text) >= 16 and plain > 0.9 * len(text) else None
    if len(head) < 12 or re.search(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]", head[:_TEXT_BYTES]):
        return None
    try:
        head[:_TEXT_BYTES].decode()
    except UnicodeDecodeError as error:
        return "text" if error.start > _TEXT_BYTES - 4 else None
    return "text"


def is_noise(head: bytes) -> bool:
    """True if bytes are too random for 16-bit PCM: they are compressed, encrypted or no audio.

    Full-scale white noise is refused with them.
    """
    values = np.frombuffer(head[: len(head) & ~1], "<i2").astype(np.float32)
    if len(values) < _NOISE_VALUES:
        return False
    loudness = float(np.abs(values).mean())
    roughness = float(np.abs(np.diff(values)).mean())
    shares = np.bincount((values.astype(np.int32) + 32768) >> 12, minlength=16) / len(values)
    even = shares.min() > 0.25 / 16 and shares.max() < 3 / 16
    return even and loudness > 0.3 * 32768 and roughness > loudness


def past_tags(peek: Peek, at: int) -> int:
    """The offset after the tags (ID3, APE, Lyrics3) that begin at one."""
    while size := _tag_size(peek, at):
        at += size
    return at


def _tag_size(peek: Peek, at: int) -> int:
    head = peek(at, 32)
    if (
        head[:3] == b"ID3"
        and len(head) >= 10
        and head[3] < 0xFF
        and not any(byte & 0x80 for byte in head[6:10])
    ):
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        return 10 + size + (10 if head[5] & 0x10 else 0)
    if head[:3] == b"TAG" and len(peek(at, 128)) == 128:
        return 227 if head[:4] == b"TAG+" else 128
    if head[:8] == b"APETAGEX":
        return 32 + (int.from_bytes(head[12:16], "little") if head[23] & 0x20 else 0)
    if head[:11] == b"LYRICSBEGIN":
        ends = [
            n for mark in (b"LYRICS200", b"LYRICSEND") if (n := peek(at, 1 << 16).find(mark)) > 0
        ]
        return min(ends) + 9 if ends else 0
    return 0


def is_wav(head: bytes) -> bool:
    """True if a WAV file begins with these 12 bytes."""
    return head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE"


def _riff(head: bytes) -> Container | None:
    if is_wav(head):
        return WAV
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _AVI
    return AIFF if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC") else None


def _found_stream(peek: Peek, at: int, size: int) -> int | None:
    """Where frames, or a tag before them, begin within `size` bytes from an offset."""
    data = peek(at, size)
    for match in _SYNC.finditer(data):
        place = at + match.start()
        if _stream(peek, place) not in (None, MPEG):
            return place
        if data[match.start() : match.start() + 3] == b"ID3":
            after = past_tags(peek, place)
            if after != place and kind_of(peek, after) is not None:
                return place
        elif mpeg.is_stream(peek, place) and not _repeats(peek, place):
            return place
    return None


def _repeats(peek: Peek, at: int) -> bool:
    """True if frames are equal, as the periods of a tone are that was taken for frames."""
    frame = mpeg.frame_of(peek(at, 4))
    if frame is None or not frame.size:
        return True
    data = peek(at, 8 * frame.size)
    return data == data[: frame.size] * 8


# -- streams of frames ---------------------------------------------------------------------------


def _stream(peek: Peek, at: int) -> Container | None:
    """The kind of frames that follow each other from an offset on."""
    if peek(at, 1) == b"\xff" and mpeg.is_stream(peek, at):
        return MPEG
    found = (kind for kind, size_of in _STREAMS if _in_a_row(peek, at, size_of))
    return next(found, _TS if _is_transport(peek, at) else None)


def _in_a_row(peek: Peek, at: int, size_of: Callable[[bytes], int]) -> bool:
    """True if frames follow each other; size_of: bytes of a frame by its first ones, 0 for none."""
    for count in range(_IN_A_ROW):
        head = peek(at, 8)
        if len(head) < 8:
            return count >= 2 and (not head or size_of(head + bytes(8 - len(head))) > 0)
        if not (size := size_of(head)):
            return False
        at += size
    return True


def _adts(head: bytes) -> int:
    """ISO 14496-3, 1.A.2.2."""
    if head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size if size > 7 else 0


def _loas(head: bytes) -> int:
    """ISO 14496-3, 1.7.2."""
    size = (head[1] & 0x1F) << 8 | head[2]
    return size + 3 if head[0] == 0x56 and head[1] & 0xE0 == 0xE0 and size > 2 else 0


_AC3_KILOBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576)


def _ac3(head: bytes) -> int:
    """ATSC A/52, 5.4.1."""
    rate, code = head[4] >> 6, head[4] & 63
    if head[:2] != b"\x0bw" or head[5] >> 3 > 10 or rate == 3 or code > 37:
        return 0
    bits = 640 if code > 35 else _AC3_KILOBITS[code // 2]
    hertz = (48000, 44100, 32000)[rate]
    return (bits * 96000 // hertz + (code & 1 if rate == 1 else 0)) * 2


def _eac3(head: bytes) -> int:
    """ATSC A/52, annex E."""
    return (
        (((head[2] & 7) << 8 | head[3]) + 1) * 2
        if (head[:2] == b"\x0bw" and 10 < head[5] >> 3 <= 16)
        else 0
    )


_STREAMS = ((AAC, _adts), (_LOAS, _loas), (_AC3, _ac3), (_EAC3, _eac3))


def _is_transport(peek: Peek, at: int) -> bool:
    """True for packets of 188 bytes, or of 192 with a time before each."""
    for first, size in ((0, 188), (4, 192)):
        if peek(at + first, 1) == b"G":
            data = peek(at + first, 4 * size + 1)[::size]
            if len(data) >= 3 and data == b"G" * len(data):
                return True
    return False
