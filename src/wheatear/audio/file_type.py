"""Types of audio files, recognized by their first bytes.

A file is opened only as the recognized type, because libsndfile and FFmpeg guess among many more
formats. Types without a decoder are rejected by name.
"""

import re
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from wheatear.audio.byte_source import Peek
from wheatear.audio.containers import frame_streams, mpeg
from wheatear.audio.containers.tags import past_tags
from wheatear.errors import AudioError

HEAD_BYTES = 8192
"""Bytes by which the type of a pipe is recognized."""
_SNDFILE_SUFFIXES = frozenset(
    [
        *(".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64"),
        *(".w64", ".wav"),
    ]
)
# Without .ts, the suffix of TypeScript.
_FFMPEG_SUFFIXES = frozenset(
    [
        *(".3gp", ".aac", ".amr", ".asf", ".avi", ".flv", ".m4a", ".m4b", ".m4v", ".mka", ".mkv"),
        *(".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wma", ".wmv"),
    ]
)
AUDIO_SUFFIXES = _SNDFILE_SUFFIXES | _FFMPEG_SUFFIXES
_FARTHEST = 1 << 18  # bytes of something else that may come before a file
_TEXT_BYTES = 512
_TAR_MARK = 257
_NOISE_VALUES = 512  # values of 16 bits by which noise is recognized


@dataclass(frozen=True)
class Container:
    """Type of a file."""

    demuxer: str
    """FFmpeg's name; empty if FFmpeg must not decode it."""
    about: str
    """Name in messages, with its article."""
    sndfile: tuple[str, ...] = ()
    """libsndfile's names; empty if libsndfile must not decode it."""
    head: bytes = b"(?!)"
    """Regular expression for the first 16 bytes."""
    mark: bytes = b"(?!)"
    """Longer one, which is searched for in bytes of something else and never matches by chance."""

    @property
    def is_rejected(self) -> bool:
        """True if it is known but not decoded."""
        return not self.demuxer and not self.sndfile

    def begins(self, head: bytes) -> bool:
        """True if a file of this type begins with these 16 bytes."""
        return re.match(self.head, head, re.DOTALL) is not None


WAV = Container(
    "wav", "a WAV file", ("WAV", "WAVEX", "RF64"),
    rb"(?:RIF[FX]|RF64|BW64)....WAVE", rb"(?:RIFF|RF64|BW64)....WAVE",
)  # fmt: skip
MPEG = Container("mp3", "an mp3 file", ("MP3",))
OGG = Container("ogg", "an Ogg file", ("OGG",), rb"OggS", rb"OggS\0\x02")
FLAC = Container("flac", "a FLAC file", ("FLAC",), rb"fLaC", rb'fLaC\0\0\0"')
AIFF = Container("aiff", "an AIFF file", ("AIFF",), rb"FORM....AIF[FC]", rb"FORM....AIF[FC]")
AU = Container("au", "an AU file", ("AU",), rb"\.snd|dns\.", rb"\.snd\0\0\0[\x18-\xff]")
CAF = Container("caf", "a CAF file", ("CAF",), rb"caff", rb"caff\0[\1\2]\0\0desc")
W64 = Container(
    "w64", "a Wave64 file", ("W64",), rb"riff\x2e\x91\xcf\x11", rb"riff\x2e\x91\xcf\x11\xa5\xd6"
)
MOV = Container(
    "mov", "an mp4, m4a or mov file", (),
    rb"....(?:ftyp|moov|mdat|wide|free|skip|pnot|moof|styp)", rb"\0\0\0.ftyp",
)  # fmt: skip
MATROSKA = Container(
    "matroska", "a webm or Matroska file", (),
    rb"\x1aE\xdf\xa3", rb"\x1aE\xdf\xa3.{1,40}?(?:webm|matroska)",
)  # fmt: skip
ASF = Container(
    "asf", "a WMA or WMV file", (),
    rb"0&\xb2u\x8ef\xcf\x11", rb"0&\xb2u\x8ef\xcf\x11\xa6\xd9\x00\xaa",
)  # fmt: skip
FLV = Container("flv", "a Flash video", (), rb"FLV\x01", rb"FLV\x01[\1\4\5]\0\0\0\x09")
AMR = Container("amr", "an AMR recording", (), rb"#!AMR", rb"#!AMR(?:-WB)?\n")
AVI = Container("avi", "an AVI file", (), rb"RIFF....AVI ", rb"RIFF....AVI ")
_OTHER = Container("mpeg", "an MPEG file", (), rb"\x00\x00\x01\xba")
_DTS = Container("dts", "a DTS stream", (), rb"\x7f\xfe\x80\x01")
_CONTAINERS = (WAV, AVI, AIFF, OGG, FLAC, AU, CAF, W64, MATROSKA, ASF, FLV, AMR, _OTHER, _DTS, MOV)
_TRANSPORT_STREAM = Container("mpegts", "an MPEG transport stream")
_FRAME_STREAMS = {
    Container("aac", "an AAC stream"): frame_streams.adts_size,
    Container("loas", "an AAC stream"): frame_streams.loas_size,
    Container("ac3", "an AC-3 stream"): frame_streams.ac3_size,
    Container("eac3", "an E-AC-3 stream"): frame_streams.eac3_size,
}
_REJECTED = {
    "a WavPack file": b"wvpk",
    "a TTA file": (b"TTA1", b"TTA2"),
    "a Monkey's Audio file": b"MAC ",
    "a Musepack file": (b"MP+", b"MPCK"),
    "a TAK file": b"tBaK",
    "an OptimFROG file": b"OFR ",
    "a Shorten file": b"ajkg",
    "a DSD recording": (b"DSD ", b"FRM8"),
    "a RealMedia file": b".RMF",
    "a RealAudio file": b".ra\xfd",
    "a VOC file": b"Creative Voice",
    "a NIST SPHERE file": b"NIST_1A",
    "an IFF file that is not AIFF": b"FORM",
    "a RIFF file that is not WAV": b"RIFF",
    "a MIDI file": b"MThd",
    "an AVR file": b"2BIT",
    "an IRCAM file": (b"\x64\xa3\x01\x00", b"\x64\xa3\x02\x00"),
    "a PNG image": b"\x89PNG",
    "a JPEG image": b"\xff\xd8\xff",
    "a GIF image": b"GIF8",
    "a TIFF image": (b"II*\x00", b"MM\x00*"),
    "a PDF document": b"%PDF",
    "an RTF document": b"{\\rtf",
    "an Office document": b"\xd0\xcf\x11\xe0",
    "a zip archive": (b"PK\x03\x04", b"PK\x05\x06"),
    "a rar archive": b"Rar!",
    "a 7z archive": b"7z\xbc\xaf\x27\x1c",
    "a gzip archive": b"\x1f\x8b\x08",
    "a bzip2 archive": b"BZh",
    "an xz archive": b"\xfd7zXZ",
    "a zstd archive": b"\x28\xb5\x2f\xfd",
    "a program": (b"\x7fELF", b"\xca\xfe\xba\xbe"),
    "a NumPy array": b"\x93NUMPY",
    "an HDF5 file": b"\x89HDF",
    "a database": b"SQLite format 3",
    "a model": b"GGUF",
}
_MARK = re.compile(b"|".join(one.mark for one in _CONTAINERS), re.DOTALL)
MARK_OR_TAG = re.compile(_MARK.pattern + rb"|ID3[\2-\4]\0", re.DOTALL)
"""Beginnings of files that are searched for in the sound of another one."""
_SYNC = re.compile(
    rb"\xff[\xf0-\xf9\xfa-\xff\xe2-\xe7]|ID3[\2-\4]\0|\x0b\x77|\x56[\xe0-\xff]|G(?=.{187}G)",
    re.DOTALL,
)


def has_ffmpeg() -> bool:
    """True if the extra `media` is installed."""
    return find_spec("av") is not None


def readable_suffixes() -> frozenset[str]:
    """Suffixes of the files that this installation decodes."""
    return AUDIO_SUFFIXES if has_ffmpeg() else _SNDFILE_SUFFIXES


def readable_formats() -> str:
    """A sentence for messages that lists the formats that this installation decodes."""
    more = "m4a, mp4, webm, aac, wma"
    more = more if has_ffmpeg() else f"with wheatear[media] also {more}"
    return f"Files that work: wav, flac, ogg, opus, mp3, aiff, au, caf; {more}"


def check_readable(container: Container, name: str) -> None:
    """Raises AudioError for a type that is not decoded, or only with the missing extra."""
    if container.is_rejected:
        raise AudioError(
            f"cannot decode {name}: it is {container.about}, which is not read. "
            f"{readable_formats()}"
        )
    if not container.sndfile and not has_ffmpeg():
        raise AudioError(
            f"{name} is {container.about}: pip install 'wheatear[media]' to read it, or convert it "
            f"to wav or flac first"
        )


def container_at(peek: Peek, at: int = 0) -> Container | None:
    """Returns the type of the file that begins at an offset; None if it is unknown."""
    head = peek(at, 16)
    for container in _CONTAINERS:
        if container.begins(head):
            return container
    if head[:3] == b"ID3" and (after := past_tags(peek, at)) != at:
        return container_at(peek, after) or (
            MPEG if _find_stream(peek, after, HEAD_BYTES) else None
        )
    return _stream_at(peek, at) or _rejected_at(peek, at)


def _rejected_at(peek: Peek, at: int) -> Container | None:
    if peek(at + _TAR_MARK, 5) == b"ustar":
        return Container("", "a tar archive")
    head = peek(at, 16)
    known = (Container("", about) for about, magic in _REJECTED.items() if head.startswith(magic))
    return next(known, None)


def _stream_at(peek: Peek, at: int) -> Container | None:
    """Returns the type of consecutive frames from an offset on."""
    if peek(at, 1) == b"\xff" and mpeg.is_stream(peek, at):
        return MPEG
    for container, frame_size in _FRAME_STREAMS.items():
        if frame_streams.is_frame_stream(peek, at, frame_size):
            return container
    return _TRANSPORT_STREAM if frame_streams.is_transport_stream(peek, at) else None


def find_container(peek: Peek, farthest: int = _FARTHEST) -> tuple[int, Container] | None:
    """Finds the first file that begins within some bytes of something else."""
    mark = _MARK.search(peek(0, farthest))
    stream = _find_stream(peek, 0, mark.start() if mark else farthest)
    at = stream if stream is not None else mark.start() if mark else None
    if at is None or (container := container_at(peek, at)) is None or container.is_rejected:
        return None
    return at, container


def _find_stream(peek: Peek, at: int, size: int) -> int | None:
    """Returns where frames, or a tag before them, begin within `size` bytes from an offset."""
    data = peek(at, size)
    for match in _SYNC.finditer(data):
        place = at + match.start()
        if _stream_at(peek, place) not in (None, MPEG):
            return place
        if match[0].startswith(b"ID3"):
            after = past_tags(peek, place)
            if after != place and container_at(peek, after) is not None:
                return place
        elif mpeg.is_stream(peek, place) and not mpeg.repeats(peek, place):
            return place
    return None


def is_text(head: bytes) -> bool:
    """True if bytes are text in UTF-8 or UTF-16."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = head[: _TEXT_BYTES & ~1].decode("utf-16", errors="replace")
        plain = sum(letter.isascii() and letter.isprintable() for letter in text)
        return len(text) >= 16 and plain > 0.9 * len(text)
    if len(head) < 12 or re.search(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]", head[:_TEXT_BYTES]):
        return False
    try:
        head[:_TEXT_BYTES].decode()
    except UnicodeDecodeError as error:
        return error.start > _TEXT_BYTES - 4
    return True


def is_noise(head: bytes) -> bool:
    """True if bytes are too random for 16-bit PCM: compressed, encrypted or not audio.

    White noise at full scale is included.
    """
    values = np.frombuffer(head[: len(head) & ~1], "<i2").astype(np.float32)
    if len(values) < _NOISE_VALUES:
        return False
    loudness = float(np.abs(values).mean())
    roughness = float(np.abs(np.diff(values)).mean())
    shares = np.bincount((values.astype(np.int32) + 32768) >> 12, minlength=16) / len(values)
    even = shares.min() > 0.25 / 16 and shares.max() < 3 / 16
    return even and loudness > 0.3 * 32768 and roughness > loudness
