"""Any audio -> float32 mono samples at 16 kHz, in blocks, so that length costs no memory.

Files and file objects are decoded by libsndfile (wav, flac, ogg, opus, mp3, aiff, ...), raw PCM is
taken as it is, standard input is looked at to tell which of the two it is. Channels are averaged;
other sample rates are resampled block by block, with the same result as in one go.
"""

import io
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from wheatear.errors import AudioError
from wheatear.features import SAMPLE_RATE

Samples = NDArray[np.float32]

_BLOCK_SECONDS = 0.5
_HIGHEST_RATE = 768_000
_RAW_SUFFIXES = (".raw", ".pcm", ".s16")
_CONTAINERS = {b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM", b".snd", b"caff", b"riff"}


class AudioTruncatedWarning(UserWarning):
    """A file ended before its header said it would; what was there has been transcribed."""


@dataclass(frozen=True)
class RawFormat:
    """Headerless PCM: little-endian signed 16-bit or 32-bit float, channels interleaved."""

    rate: int = SAMPLE_RATE
    channels: int = 1
    encoding: str = "s16"

    def __post_init__(self) -> None:
        if not 1 <= self.channels <= 64:
            raise AudioError(f"raw audio of {self.channels} channels; 1 to 64 work")
        if self.encoding not in ("s16", "f32"):
            raise AudioError(f"raw audio is 's16' or 'f32', not {self.encoding!r}")
        _check_rate(self.rate)


class AudioReader:
    """Audio being read: iterate for blocks of float32 samples [n] at 16 kHz. Read it once."""

    def __init__(
        self, blocks: Iterator[Samples], duration: float | None, closing: ExitStack
    ) -> None:
        self._blocks = blocks
        self._closing = closing
        self.duration = duration
        """Seconds, where it is known beforehand."""

    def __iter__(self) -> Iterator[Samples]:
        with self._closing:
            yield from self._blocks

    def close(self) -> None:
        """Closes what `open_audio` opened; reading to the end does so too."""
        self._closing.close()


def open_audio(source: Any, raw: RawFormat | None = None) -> AudioReader:
    """Opens a path, "-" (standard input), a binary file object or an array of 16 kHz samples.

    `raw` says that the source is PCM without a header; paths ending in .raw, .pcm or .s16, and
    standard input that no decoder knows, are taken for 16 kHz mono 16-bit PCM without being told.
    Raises AudioError if it cannot be read or decoded.
    """
    if isinstance(source, np.ndarray):
        samples = as_samples(source)
        return AudioReader(iter([samples]), len(samples) / SAMPLE_RATE, ExitStack())
    closing = ExitStack()
    try:
        if isinstance(source, str) and source == "-":
            return _open_stdin(sys.stdin.buffer, raw, closing)
        if isinstance(source, str | os.PathLike):
            return _open_path(Path(source), raw, closing)
        if hasattr(source, "read"):
            return _open_file(source, "the audio", raw, closing)
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
    array = np.asarray(samples)
    if array.ndim != 1:
        raise AudioError(
            f"samples must be a one-dimensional array of 16 kHz mono audio, not of the shape "
            f"{list(array.shape)}"
        )
    if array.dtype == np.int16:
        return array.astype(np.float32) / np.float32(32768)
    if not np.issubdtype(array.dtype, np.floating):
        if array.size == 0:
            return np.zeros(0, np.float32)
        raise AudioError(f"samples must be float32 or int16, not {array.dtype}")
    array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise AudioError(f"sample {at} is {array[at]}: samples must be finite numbers in -1 .. 1")
    return array


def sample_speech(name: str = "en-US") -> Samples:
    """The short recording of a human voice that comes with Wheatear, at 16 kHz."""
    with (files("wheatear") / "samples" / f"{name}.flac").open("rb") as file:
        return np.concatenate(list(open_audio(file)))


# -- sources -------------------------------------------------------------------------------------


def _open_path(path: Path, raw: RawFormat | None, closing: ExitStack) -> AudioReader:
    if path.is_dir():
        raise AudioError(f"{path} is a folder, not an audio file")
    try:
        file = closing.enter_context(path.open("rb"))
    except OSError as error:
        raise AudioError(f"cannot read {path}: {error.strerror}") from error
    if raw is None and path.suffix.lower() in _RAW_SUFFIXES:
        raw = RawFormat()
    return _open_file(file, str(path), raw, closing)


def _open_file(file: Any, name: str, raw: RawFormat | None, closing: ExitStack) -> AudioReader:
    if raw is not None:
        size = _size(file)
        frame = raw.channels * (2 if raw.encoding == "s16" else 4)
        duration = None if size is None else size // frame / raw.rate
        return AudioReader(_resampled(_raw_blocks(file, raw), raw.rate, name), duration, closing)
    try:
        decoded = closing.enter_context(soundfile.SoundFile(file))
    except (soundfile.LibsndfileError, TypeError, OSError) as error:
        empty = "it is empty" if _size(file) == 0 else str(getattr(error, "error_string", error))
        raise AudioError(
            f"cannot decode {name}: {empty.rstrip('.')}. Files that work: wav, flac, ogg, opus, "
            f"mp3; raw PCM with its format given"
        ) from error
    _check_rate(decoded.samplerate)
    blocks = _resampled(_decoded_blocks(decoded, name), decoded.samplerate, name)
    return AudioReader(blocks, decoded.frames / decoded.samplerate, closing)


def _open_stdin(stream: IO[bytes], raw: RawFormat | None, closing: ExitStack) -> AudioReader:
    name = "standard input"
    if raw is None:
        head = stream.read(4)
        if head in _CONTAINERS or head[:3] == b"ID3" or _is_mp3_frame(head):
            # Decoders seek; a pipe cannot. What is piped in goes to disk, not to memory.
            spool = closing.enter_context(tempfile.TemporaryFile())
            spool.write(head)
            shutil.copyfileobj(stream, spool)
            spool.seek(0)
            return _open_file(spool, name, None, closing)
        raw, rejoined = RawFormat(), _Rejoined(head, stream)
        return AudioReader(_resampled(_raw_blocks(rejoined, raw), raw.rate, name), None, closing)
    return AudioReader(_resampled(_raw_blocks(stream, raw), raw.rate, name), None, closing)


class _Rejoined(io.RawIOBase):
    """A stream with the bytes that were looked at put back in front."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head, self._rest = head, rest

    def read1(self, size: int) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        return self._rest.read1(size)  # type: ignore[attr-defined]


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


def _size(file: IO[bytes]) -> int | None:
    try:
        here = file.tell()
        end = file.seek(0, io.SEEK_END)
        file.seek(here)
    except (OSError, AttributeError):
        return None
    return end - here


# -- blocks --------------------------------------------------------------------------------------


def _raw_blocks(file: Any, raw: RawFormat) -> Iterator[Samples]:
    """Mono blocks of headerless PCM, as soon as they arrive; an odd last byte is not a sample."""
    dtype = np.dtype("<i2" if raw.encoding == "s16" else "<f4")
    frame = dtype.itemsize * raw.channels
    block = int(raw.rate * _BLOCK_SECONDS) * frame
    read = getattr(file, "read1", file.read)
    rest = b""
    while data := read(block):
        data = rest + data
        whole = len(data) // frame * frame
        rest = data[whole:]
        samples = np.frombuffer(data[:whole], dtype).astype(np.float32)
        if raw.encoding == "s16":
            samples /= 32768
        yield samples.reshape(-1, raw.channels).mean(axis=1, dtype=np.float32)


def _decoded_blocks(decoded: soundfile.SoundFile, name: str) -> Iterator[Samples]:
    block = int(decoded.samplerate * _BLOCK_SECONDS)
    count = 0
    while True:
        try:
            samples = decoded.read(block, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            at = count / decoded.samplerate
            raise AudioError(
                f"{name} is damaged: decoding stops at {at:.1f} s ({error.error_string})"
            ) from error
        if not len(samples):
            break
        count += len(samples)
        yield samples.mean(axis=1, dtype=np.float32)
    promised = _promised_frames(decoded)
    if count < promised:
        warnings.warn(
            f"{name} is cut off: its header promises {promised / decoded.samplerate:.1f} s, "
            f"{count / decoded.samplerate:.1f} s are there and were read",
            AudioTruncatedWarning,
            stacklevel=2,
        )


def _promised_frames(decoded: soundfile.SoundFile) -> int:
    """Frames according to the header; libsndfile corrects it silently where a file is cut off."""
    if decoded.format == "MP3":
        return 0  # an estimate there
    promised = decoded.frames
    for line in decoded.extra_info.splitlines():
        head, _, correction = line.partition("(should be")
        if head.strip().startswith("data") and correction:
            said = int("".join(filter(str.isdigit, head.split(":")[-1])) or 0)
            found = int("".join(filter(str.isdigit, correction)) or 0)
            # 0 and 2^32 - 1 are what a writer leaves that did not know the length beforehand.
            if found and found < said < 0xFFFF_FF00:
                promised = promised * said // found
    return promised


def _resampled(blocks: Iterable[Samples], rate: int, name: str) -> Iterator[Samples]:
    resampler = None
    if rate != SAMPLE_RATE:
        resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    seconds = 0.0
    for block in blocks:
        if not np.isfinite(block).all():
            raise AudioError(
                f"{name} holds values that are not numbers, from {seconds:.1f} s on: "
                f"write it again as 16-bit PCM"
            )
        seconds += len(block) / rate
        out = block if resampler is None else resampler.resample_chunk(block)
        if len(out):
            yield out
    if resampler is not None:
        out = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        if len(out):
            yield out


def _check_rate(rate: int) -> None:
    if not 1000 <= rate <= _HIGHEST_RATE:
        raise AudioError(f"a sample rate of {rate} Hz; 1000 to {_HIGHEST_RATE} Hz work")
