"""Any audio -> float32 mono samples at 16 kHz, in blocks, so that length costs no memory.

Files and file objects are decoded by libsndfile (wav, flac, ogg, opus, mp3, aiff, ...) or, with the
extra `media`, by FFmpeg (m4a, mp4, webm, wma, ...: the first sound track). Raw PCM is taken as it
is; standard input is looked at to tell which of these it is. Channels are averaged; other sample
rates are resampled block by block, with the same result as in one go.
"""

import io
import math
import os
import shutil
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import files
from numbers import Integral
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from wheatear.checks import check_kind, check_number
from wheatear.errors import AudioError, AudioTruncatedWarning, SpoolError
from wheatear.features import SAMPLE_RATE
from wheatear.media import Kind, Unpacked, is_installed, kind_of, require

Samples = NDArray[np.float32]
LOUDEST = 100  # no float audio is louder; integers that someone forgot to scale are

_BLOCK_SECONDS = 0.5
_HIGHEST_RATE = 768_000
_MOST_CHANNELS = 64
_LARGEST_BLOCK = 1 << 21  # values; what many channels at high rates are kept to
_UNKNOWN_FRAMES = 1 << 62  # libsndfile's number for a length that the file does not tell
_WAV_HEADER = 44
_LONGEST_WAV_HEADER = 1 << 20
_TEXT = frozenset(b"\t\n\r" + bytes(range(32, 127)))
_RAW_SUFFIXES = (".raw", ".pcm", ".s16")
_CONTAINERS = {b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM", b".snd", b"caff", b"riff"}
_SHARED = ("wav", "ogg", "caf")  # what FFmpeg reads where libsndfile does not know the codec


@dataclass(frozen=True)
class AudioLimits:
    """How much audio may come out of a source, however small it is packed."""

    seconds: float | None = None
    """More is an AudioError: at once where the source tells its length, else when it is decoded."""
    bytes: int | None = None
    """Of samples, 4 for each of all channels at their own rate; more is an AudioError."""

    def __post_init__(self) -> None:
        for name in ("seconds", "bytes"):
            if (value := getattr(self, name)) is not None:
                check_number(f"{name} of the limits", value, 0, math.inf, error=AudioError)


@dataclass(frozen=True)
class RawFormat:
    """Headerless PCM: little-endian signed 16-bit or 32-bit float, channels interleaved."""

    rate: int = SAMPLE_RATE
    channels: int = 1
    encoding: str = "s16"

    def __post_init__(self) -> None:
        for name in ("rate", "channels"):
            check_kind(
                f"{name} of raw audio", getattr(self, name), Integral, "a whole number", AudioError
            )
        _check_channels(self.channels, "raw audio")
        if self.encoding not in ("s16", "f32"):
            raise AudioError(f"raw audio is 's16' or 'f32', not {self.encoding!r}")
        _check_rate(self.rate)

    @property
    def frame(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * (2 if self.encoding == "s16" else 4)


class AudioReader:
    """Audio being read: iterate for blocks of float32 samples at 16 kHz. Can be read once.

    Blocks are [n], channels averaged, or [n, channels] where they were asked for apart.
    """

    def __init__(
        self,
        blocks: Iterator[Samples],
        duration: float | None,
        closing: ExitStack,
        damage: list[str],
    ) -> None:
        self._blocks: Iterator[Samples] | None = blocks
        self._closing = closing
        self._damage = damage
        self.duration = duration
        """Seconds, where it is known beforehand; live audio and pipes have None."""
        self.live = False
        """True if the audio may still be spoken while it is read, as through a pipe."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each thing found missing or doubtful so far; complete after the end."""
        return tuple(self._damage)

    def __iter__(self) -> Iterator[Samples]:
        if self._blocks is None:
            raise AudioError("this audio has been read already; open it again")
        blocks, self._blocks = self._blocks, None
        with self._closing:
            yield from blocks

    def watch(self, look: Callable[[], None]) -> None:
        """Calls `look` before each block is read; what it raises ends the reading."""
        if self._blocks is not None:
            self._blocks = _watched(self._blocks, look)

    def close(self) -> None:
        """Closes what `open_audio` opened; reading to the end does so too."""
        self._closing.close()


def _watched(blocks: Iterator[Samples], look: Callable[[], None]) -> Iterator[Samples]:
    while True:
        look()
        try:
            block = next(blocks)
        except StopIteration:
            look()  # what looked like the end may have been a signal
            return
        yield block


def _warn(message: str) -> None:
    warnings.warn(message, AudioTruncatedWarning, stacklevel=3)


def open_audio(
    source: Any,
    raw: RawFormat | None = None,
    apart: bool = False,
    limits: AudioLimits | None = None,
    on_damage: Callable[[str], None] = _warn,
) -> AudioReader:
    """Opens a path, "-" (standard input), a binary file object or an array of 16 kHz samples.

    `raw` says that the source is PCM without a header; paths ending in .raw, .pcm or .s16, and
    what comes through a pipe and is no file format, are taken for 16 kHz mono 16-bit PCM without
    being told. `apart` keeps the channels apart. Raises AudioError if it cannot be read or decoded,
    and, here or while it is read, if it is more than `limits` allow.

    `on_damage` is called with a sentence for each thing that is missing of a source that is cut off
    or damaged, after all that is there has been read; if left out, an AudioTruncatedWarning is
    raised as Python raises warnings. `AudioReader.warnings` has the same sentences.
    """
    limits = limits or AudioLimits()
    damage: list[str] = []

    def tell(message: str) -> None:
        damage.append(message)
        on_damage(message)

    def asked_of(name: str) -> _Asked:
        return _Asked(name, apart, limits, tell, damage)

    if isinstance(source, np.ndarray):
        samples = as_samples(source)
        samples = samples[:, None] if apart else samples
        asked = asked_of("the audio")
        asked.check(len(samples) / SAMPLE_RATE)
        blocks = (samples[i : i + SAMPLE_RATE] for i in range(0, len(samples), SAMPLE_RATE))
        return AudioReader(blocks, len(samples) / SAMPLE_RATE, ExitStack(), damage)
    closing = ExitStack()
    try:
        if isinstance(source, str) and source == "-":
            return _open_pipe(_stdin(), raw, asked_of("standard input"), closing)
        if isinstance(source, str | os.PathLike):
            return _open_path(Path(source), raw, asked_of(str(source)), closing)
        if hasattr(source, "read"):
            return _open_stream(source, raw, asked_of("the audio"), closing)
    except BaseException:
        closing.close()
        raise
    raise AudioError(
        f"audio must be a path, '-', a binary file or a numpy array of samples, "
        f"not {type(source).__name__}"
    )


def as_samples(samples: Any) -> Samples:
    """Checks samples handed over by a program: [n], 16 kHz mono, int16 or float in -1 .. 1.

    Returns them as float32. Raises AudioError for anything else, NaN and infinity included.
    """
    if isinstance(samples, bytes | bytearray | memoryview):
        raise AudioError("samples are bytes; for 16-bit PCM use np.frombuffer(data, np.int16)")
    try:
        array = np.asarray(samples)
    except ValueError as error:
        raise AudioError(f"samples do not make an array: {error}") from error
    if array.ndim != 1:
        raise AudioError(
            f"samples must be a one-dimensional array of 16 kHz mono audio, not of the shape "
            f"{list(array.shape)}"
        )
    if array.dtype == np.int16:
        return array.astype(np.float32) / np.float32(32768)
    if array.size == 0:
        return np.zeros(0, np.float32)
    if not np.issubdtype(array.dtype, np.floating):
        raise AudioError(f"samples must be float32 or int16, not {array.dtype}")
    array = array.astype(np.float32, copy=False)
    if not (largest := np.abs(array).max()) < LOUDEST:
        if np.isfinite(largest):
            raise AudioError(
                f"samples reach {largest:g}: floats lie in -1 .. 1; hand over 16-bit integers as "
                f"int16, or divided by 32768"
            )
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise AudioError(f"sample {at} is {array[at]}: samples must be finite numbers in -1 .. 1")
    return array


def sample_speech(name: str = "en-US") -> Samples:
    """The short recording of a human voice that comes with Wheatear, at 16 kHz."""
    with (files("wheatear") / "samples" / f"{name}.flac").open("rb") as file:
        return np.concatenate(list(open_audio(file)))


# -- sources -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    """How a source is called and what is wanted of it."""

    name: str
    apart: bool
    limits: AudioLimits
    on_damage: Callable[[str], None]
    damage: list[str]
    """What `on_damage` was called with."""

    def check(self, seconds: float | None) -> None:
        """Raises AudioError if this is longer than may be."""
        most = self.limits.seconds
        if most is not None and seconds is not None and seconds > most:
            raise AudioError(f"{self.name} is longer than {most:g} s, the limit that is set")

    def check_size(self, size: int) -> None:
        """Raises AudioError if these are more bytes of samples than may be."""
        if self.limits.bytes is not None and size > self.limits.bytes:
            raise AudioError(
                f"{self.name} unpacks to more than {self.limits.bytes} bytes of samples, the limit "
                f"that is set: fewer channels, or a lower rate, will do"
            )


def _stdin() -> Any:
    if sys.stdin is None:
        raise AudioError("there is no standard input to read from")
    return sys.stdin.buffer


def _open_path(path: Path, raw: RawFormat | None, asked: _Asked, closing: ExitStack) -> AudioReader:
    try:
        folder = path.is_dir()
        file = None if folder else closing.enter_context(path.open("rb"))
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise AudioError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from error
    if folder:
        raise AudioError(f"{path} is a folder, not an audio file")
    if raw is None and path.suffix.lower() in _RAW_SUFFIXES:
        raw = RawFormat()
    return _open_stream(file, raw, asked, closing)


def _open_stream(
    file: Any, raw: RawFormat | None, asked: _Asked, closing: ExitStack
) -> AudioReader:
    if not getattr(file, "seekable", lambda: True)():
        return _open_pipe(file, raw, asked, closing)
    if raw is not None:
        size = _size(file)
        duration = None if size is None else size // raw.frame / raw.rate
        asked.check(duration)
        return _reader(_raw_blocks(file, raw), raw.rate, duration, asked, closing)
    return _open_file(file, asked, closing)


def _open_file(file: Any, asked: _Asked, closing: ExitStack) -> AudioReader:
    """Audio of a file format, from a file that can seek."""
    size = _size(file)
    try:
        decoded = closing.enter_context(soundfile.SoundFile(file))
    except (soundfile.LibsndfileError, TypeError, OSError) as error:
        if size and (kind := _media_kind(file)):
            return _open_media(file, kind, asked, closing)
        reason = "it is empty" if size == 0 else str(getattr(error, "error_string", error))
        raise AudioError(
            f"cannot decode {asked.name}: {reason.rstrip('.')}. Files that work: wav, flac, ogg, "
            f"opus, mp3; with wheatear[media] also m4a, mp4, webm, aac, wma; raw PCM with its "
            f"format given"
        ) from error
    _check_channels(decoded.channels, asked.name)
    _check_rate(decoded.samplerate)
    if decoded.frames == 0 and decoded.format == "WAV" and (size or 0) > 2 * _WAV_HEADER:
        # A recording that was never closed says that it is empty: take what is there.
        file.seek(0)
        pipe = _Pipe(file)
        raw, length = _wav_header(pipe)
        if raw is None:
            raise AudioError(
                f"{asked.name} says that it holds no audio, as recordings do that were never "
                f"closed; repair its header, or give its format as raw PCM"
            )
        return _reader(_raw_blocks(pipe, raw, length), raw.rate, None, asked, closing)
    # soundfile seeks after every block that it reads from a file that can; a decoder that has to
    # find its place again loses samples (mp3) or fails (flac of unknown length).
    decoded.seekable = lambda: False  # type: ignore[method-assign]
    duration = None
    if decoded.frames < _UNKNOWN_FRAMES:
        duration = decoded.frames / decoded.samplerate
        if decoded.format != "MP3":  # of which it is an estimate
            asked.check(duration)
    blocks = _decoded_blocks(decoded, asked)
    return _reader(blocks, decoded.samplerate, duration, asked, closing)


def _media_kind(file: Any) -> Kind | None:
    """What FFmpeg is to read a file as, if it is to."""

    def look(size: int) -> bytes:
        file.seek(0)
        return file.read(size)

    kind = kind_of(look)
    return None if kind and kind.demuxer in _SHARED and not is_installed() else kind


def _open_media(file: Any, kind: Kind, asked: _Asked, closing: ExitStack) -> AudioReader:
    """Audio that FFmpeg decodes."""
    require(kind, asked.name)
    if not isinstance(getattr(file, "raw", file), io.FileIO):  # it needs a file of the system's
        file.seek(0)
        file = _spooled(file, closing)
    unpacked = Unpacked(file, kind, asked.name, asked.on_damage)
    closing.callback(unpacked.close)
    _check_channels(unpacked.channels, asked.name)
    _check_rate(unpacked.rate)
    asked.check(unpacked.duration)
    blocks = unpacked.blocks(_block_size(unpacked.rate, unpacked.channels))
    return _reader(blocks, unpacked.rate, unpacked.duration, asked, closing)


def _open_pipe(file: Any, raw: RawFormat | None, asked: _Asked, closing: ExitStack) -> AudioReader:
    """Audio from something that cannot seek: PCM as it comes, with or without a WAV header.

    Other formats have decoders that seek; what is piped in then goes to disk, not to memory.
    """
    pipe = _Pipe(file)
    length = None
    if raw is None:
        head = pipe.look(12)
        if head[:4] == b"RIFF" and head[8:] == b"WAVE":
            raw, length = _wav_header(pipe)
        elif head[:4] in _CONTAINERS or head[:3] == b"ID3" or _is_mp3_frame(head[:4]):
            raw = None
        elif kind := kind_of(pipe.look):
            require(kind, asked.name)
        elif len(head) == 12 and all(byte in _TEXT for byte in head):
            raise AudioError(f"{asked.name} is text, not audio; raw PCM can be declared with --raw")
        else:
            raw = RawFormat()
        if raw is None:
            return _open_file(_spooled(pipe, closing), asked, closing)
    reader = _reader(_raw_blocks(pipe, raw, length), raw.rate, None, asked, closing)
    reader.live = not _is_regular(file)
    return reader


def _is_regular(file: Any) -> bool:
    """True for a file on disk, such as standard input that was redirected from one."""
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):
        return False


def _spooled(file: Any, closing: ExitStack) -> BinaryIO:
    """The rest of a file, as one on disk that is gone when it is closed."""
    try:
        spool = closing.enter_context(tempfile.TemporaryFile())
        shutil.copyfileobj(file, spool, 1 << 20)
        spool.seek(0)
    except OSError as error:
        raise SpoolError(
            f"cannot copy the audio to disk to decode it: {error.strerror or error}; set TMPDIR to "
            f"a folder with room"
        ) from error
    return spool


class _Pipe:
    """A stream that can be looked into: bytes looked at are read again."""

    def __init__(self, file: Any) -> None:
        self._read = getattr(file, "read1", file.read)
        self._seen = b""

    def look(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end."""
        while len(self._seen) < size and (data := self._read(size - len(self._seen))):
            self._seen += data
        return self._seen[:size]

    def read(self, size: int) -> bytes:
        """Some bytes, as soon as there are any; none at the end."""
        if self._seen:
            data, self._seen = self._seen[:size], self._seen[size:]
            return data
        return self._read(size)


def _wav_header(pipe: _Pipe) -> tuple[RawFormat | None, int | None]:
    """Reads past the header of a WAV file of 16-bit or float PCM: its format and data bytes.

    (None, None), with nothing read, for other encodings. The length is None where the writer did
    not know it: recorders and converters leave 0 or a very large number when they write to a pipe.
    """
    raw, at = None, 12
    while len(head := pipe.look(at + 8)) == at + 8 and at < _LONGEST_WAV_HEADER:
        kind, size = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        at += 8
        if kind == b"data" and raw is not None:
            pipe.read(at)
            return raw, size if 0 < size < 0x7FFF_0000 else None
        body = pipe.look(at + min(size, 40))[at:]
        if kind == b"fmt ":
            encoding = int.from_bytes(body[:2], "little")
            if encoding == 0xFFFE:  # "extensible": the encoding follows further down
                encoding = int.from_bytes(body[24:26], "little")
            bits = int.from_bytes(body[14:16], "little")
            name = {(1, 16): "s16", (3, 32): "f32"}.get((encoding, bits))
            if name is None:
                break
            rate, channels = (
                int.from_bytes(body[4:8], "little"),
                int.from_bytes(body[2:4], "little"),
            )
            raw = RawFormat(rate, channels, name)
        at += size + size % 2
    return None, None


def _is_mp3_frame(head: bytes) -> bool:
    """An MPEG audio frame: eleven sync bits, layer III, neither rate nor bit rate reserved."""
    return (
        len(head) == 4
        and head[0] == 0xFF
        and head[1] & 0xE6 == 0xE2
        and head[2] & 0xF0 != 0xF0
        and head[2] & 0x0C != 0x0C
        and head[1] & 0x18 != 0x08
    )


def _size(file: Any) -> int | None:
    """Bytes from here to the end of a file."""
    try:
        here = file.tell()
        end = file.seek(0, io.SEEK_END)
        file.seek(here)
    except (OSError, AttributeError):
        return None
    return end - here


# -- blocks --------------------------------------------------------------------------------------


def _block_size(rate: int, channels: int) -> int:
    """Frames of a block."""
    return min(int(rate * _BLOCK_SECONDS), _LARGEST_BLOCK // channels)


def _raw_blocks(file: Any, raw: RawFormat, length: int | None = None) -> Iterator[Samples]:
    """Blocks [n, channels] of headerless PCM, as soon as they arrive, up to `length` bytes.

    Bytes at the end that make no whole frame are not audio.
    """
    dtype = np.dtype("<i2" if raw.encoding == "s16" else "<f4")
    block = _block_size(raw.rate, raw.channels) * raw.frame
    read = getattr(file, "read1", file.read)
    rest = b""
    while data := read(block if length is None else min(block, length)):
        if length is not None:
            length -= len(data)
        data = rest + data
        whole = len(data) // raw.frame * raw.frame
        rest = data[whole:]
        samples = np.frombuffer(data[:whole], dtype).astype(np.float32)
        if raw.encoding == "s16":
            samples /= 32768
        yield samples.reshape(-1, raw.channels)


def _decoded_blocks(decoded: soundfile.SoundFile, asked: _Asked) -> Iterator[Samples]:
    block = _block_size(decoded.samplerate, decoded.channels)
    count = 0
    while True:
        try:
            samples = decoded.read(block, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            at = count / decoded.samplerate
            raise AudioError(
                f"{asked.name} is damaged: decoding stops at {at:.1f} s ({error.error_string})"
            ) from error
        if not len(samples):
            break
        count += len(samples)
        yield np.asarray(samples, np.float32)
    promised = _promised_frames(decoded)
    if count < promised:
        asked.on_damage(
            f"{asked.name} is cut off: its header promises {promised / decoded.samplerate:.1f} s, "
            f"{count / decoded.samplerate:.1f} s are there and were read"
        )


def _promised_frames(decoded: soundfile.SoundFile) -> int:
    """Frames according to the header; libsndfile corrects it silently where a file is cut off."""
    if decoded.format == "MP3" or decoded.frames >= _UNKNOWN_FRAMES:
        return 0  # an estimate, or not told
    promised = decoded.frames
    for line in decoded.extra_info.splitlines():
        head, _, correction = line.partition("(should be")
        if head.strip().startswith("data") and correction:
            said = int("".join(filter(str.isdigit, head.split(":")[-1])) or 0)
            found = int("".join(filter(str.isdigit, correction)) or 0)
            # A very large number is what a writer leaves that did not know the length beforehand.
            if found and found < said < 0x7FFF_0000:
                promised = promised * said // found
    return promised


def _reader(
    blocks: Iterator[Samples], rate: int, duration: float | None, asked: _Asked, closing: ExitStack
) -> AudioReader:
    """Blocks [n, channels] at any rate as they are asked for.  duration: what the file says."""
    return AudioReader(_resampled(blocks, rate, asked), duration, closing, asked.damage)


def _resampled(blocks: Iterable[Samples], rate: int, asked: _Asked) -> Iterator[Samples]:
    """Blocks [n, channels] at any rate -> blocks at 16 kHz, channels averaged or apart."""
    resampler, shape = None, (0,)
    seconds, size = 0.0, 0
    for block in blocks:
        size += 4 * block.size
        asked.check_size(size)
        if len(block) and not np.abs(block).max() < LOUDEST:
            raise AudioError(
                f"{asked.name} holds values that are no audio (not numbers, or beyond "
                f"+-{LOUDEST}), from {seconds:.1f} s on: write it again as 16-bit PCM"
            )
        seconds += len(block) / rate
        asked.check(seconds)
        if not asked.apart:
            block = block.mean(axis=1, dtype=np.float32)  # noqa: PLW2901
        if rate != SAMPLE_RATE and resampler is None:
            width = block.shape[1] if asked.apart else 1
            resampler = soxr.ResampleStream(rate, SAMPLE_RATE, width, "float32", quality="HQ")
            shape = (0, *block.shape[1:])
        out = block if resampler is None else resampler.resample_chunk(block)
        if len(out):
            yield out
    if resampler is not None:
        out = resampler.resample_chunk(np.zeros(shape, np.float32), last=True)
        if len(out):
            yield out


def _check_channels(channels: int, name: str) -> None:
    if not 1 <= channels <= _MOST_CHANNELS:
        raise AudioError(f"{name} has {channels} channels; 1 to {_MOST_CHANNELS} work")


def _check_rate(rate: int) -> None:
    if not 1000 <= rate <= _HIGHEST_RATE:
        raise AudioError(f"a sample rate of {rate} Hz; 1000 to {_HIGHEST_RATE} Hz work")
