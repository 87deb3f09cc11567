"""Reads any audio as float32 samples at 16 kHz, in blocks, in constant memory.

Files are split into their recordings (`containers.recordings`) and decoded (`decoding`), and
missing audio is reported (`completeness`). The first bytes of a pipe show if it is a file or PCM.
Channels are averaged, and other rates resampled, block by block (`resampler`).
"""

import math
import os
import re
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wheatear.audio import file_type
from wheatear.audio.byte_source import Pipe, Window, size_of_file
from wheatear.audio.completeness import Account
from wheatear.audio.containers.recordings import Layout, Recording, layout_of
from wheatear.audio.containers.tags import past_tags
from wheatear.audio.containers.wav import read_format
from wheatear.audio.decoding import Decoders, WavDecoder, spool
from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.pcm import RawFormat, raw_blocks
from wheatear.audio.resampler import BlockConverter
from wheatear.audio.samples import Block, Samples, as_samples
from wheatear.common.arguments import check_number
from wheatear.errors import AudioError, AudioTruncatedWarning

RAW_SUFFIXES = (".raw", ".pcm", ".s16")
"""Suffixes of headerless 16 kHz mono 16-bit PCM."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,3}[^/]|data:[a-z]+/")


class BinaryFile(Protocol):
    """Binary file object or pipe."""

    def read(self, size: int, /) -> bytes:
        """Returns at most `size` bytes; none at the end."""


AudioSource = str | os.PathLike[str] | BinaryFile | NDArray[np.floating] | NDArray[np.int16]
"""Audio that `open_audio` reads: a path, "-", a binary file, or an array of 16 kHz samples."""


@dataclass(frozen=True)
class AudioLimits:
    """Limits on the audio of one source, which may be small on disk."""

    seconds: float | None = None
    """Maximum duration. More is an AudioError, at once if the source states its duration."""
    bytes: int | None = None
    """Maximum size of decoded samples: 4 bytes for each of all channels at their own rate."""

    def __post_init__(self) -> None:
        for name in ("seconds", "bytes"):
            if (value := getattr(self, name)) is not None:
                check_number(f"{name} of the limits", value, 0, math.inf, error=AudioError)


@dataclass(frozen=True)
class _SourceOptions:
    """Name of a source and options of `open_audio`."""

    name: str
    separate_channels: bool
    limits: AudioLimits
    on_damage: Callable[[str], None]
    closing: ExitStack = field(default_factory=ExitStack)
    """Resources that the reader closes."""
    damage: list[str] = field(default_factory=list)

    def report(self, message: str) -> None:
        """Keeps a sentence about damage and passes it on."""
        self.damage.append(message)
        self.on_damage(message)

    def check_seconds(self, seconds: float | None) -> None:
        """Raises AudioError for more than the limit."""
        most = self.limits.seconds
        if most is not None and seconds is not None and seconds > most:
            raise AudioError(f"{self.name} is longer than {most:g} s, the limit that is set")

    def check_bytes(self, size: int) -> None:
        """Raises AudioError for more than the limit."""
        if self.limits.bytes is not None and size > self.limits.bytes:
            raise AudioError(
                f"{self.name} unpacks to more than {self.limits.bytes} bytes of samples, the limit "
                f"that is set: fewer channels, or a lower rate, will do"
            )


class AudioReader:
    """Iterable over blocks of float32 samples at 16 kHz. Can be read once.

    Blocks are [n] with channels averaged, or [n, channels] with channels kept separate.
    """

    def __init__(
        self, blocks: Iterator[Samples], duration: float | None, options: _SourceOptions, live: bool
    ) -> None:
        self._blocks: Iterator[Samples] | None = blocks
        self._options = options
        self.duration = duration
        """Duration in seconds, if known in advance; None for live audio and pipes."""
        self.live = live
        """True if the audio may still be recorded while it is read, as through a pipe."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about missing or doubtful audio; complete after the end."""
        return tuple(self._options.damage)

    def __iter__(self) -> Iterator[Samples]:
        if self._blocks is None:
            raise AudioError("this audio has been read already; open it again")
        blocks, self._blocks = self._blocks, None
        with self._options.closing:
            yield from blocks

    def watch(self, callback: Callable[[], None]) -> None:
        """Calls a function before each block; an exception of it ends the reading."""
        if self._blocks is not None:
            self._blocks = _watched(self._blocks, callback)

    def close(self) -> None:
        """Closes what `open_audio` opened; reading to the end does so too."""
        self._options.closing.close()


def _watched(blocks: Iterator[Samples], callback: Callable[[], None]) -> Iterator[Samples]:
    while True:
        callback()
        try:
            block = next(blocks)
        except StopIteration:
            callback()  # a signal may look like the end
            return
        yield block


def _warn(message: str) -> None:
    warnings.warn(message, AudioTruncatedWarning, stacklevel=3)


def open_audio(
    source: AudioSource,
    raw: RawFormat | None = None,
    separate_channels: bool = False,
    limits: AudioLimits | None = None,
    on_damage: Callable[[str], None] = _warn,
) -> AudioReader:
    """Opens audio for reading.

    Args:
        source: a path, "-" for standard input, a binary file object, or samples [n] at 16 kHz.
        raw: format of headerless PCM. Without it, paths that end in .raw, .pcm or .s16, and pipes
            of no known file format, are 16 kHz mono 16-bit PCM.
        separate_channels: yield blocks [n, channels] instead of the average.
        limits: bounds on duration and size.
        on_damage: called with a sentence for each missing or damaged part, after all that is left
            has been read. By default these are warnings of the class AudioTruncatedWarning.

    Returns:
        A reader, to be iterated over or closed.

    Raises:
        AudioError: the source cannot be read or decoded, or exceeds the limits. It may also be
            raised while blocks are read.
    """

    opening: Callable[[RawFormat | None, _SourceOptions], AudioReader]
    if isinstance(source, np.ndarray):
        name, opening = "the audio", partial(_open_samples, as_samples(source))
    elif isinstance(source, str) and source == "-":
        name, opening = "standard input", partial(_open_pipe, _standard_input())
    elif isinstance(source, str | os.PathLike):
        reject_address(os.fsdecode(source))
        name, opening = str(source), partial(_open_path, Path(source))
    elif hasattr(source, "read"):
        name, opening = "the audio", partial(_open_stream, source)
    else:
        raise AudioError(
            f"audio must be a path, '-', a binary file or a numpy array of samples, "
            f"not {type(source).__name__}"
        )
    options = _SourceOptions(name, separate_channels, limits or AudioLimits(), on_damage)
    try:
        return opening(raw, options)
    except BaseException:
        options.closing.close()
        raise


def sample_speech(name: str = "en-US") -> Samples:
    """Returns the short recording of speech that Wheatear includes, at 16 kHz."""
    with (files("wheatear") / "data" / "samples" / f"{name}.flac").open("rb") as file:
        return np.concatenate(list(open_audio(file)))


def reject_address(name: str) -> None:
    """Raises AudioError for a URL in place of a path."""
    if _ADDRESS.match(name) and not os.path.exists(name):
        raise AudioError(
            f"{name} is a URL, and URLs are not read: download the file first, and give its path"
        )


def _standard_input() -> Any:
    if sys.stdin is None:
        raise AudioError("there is no standard input to read from")
    return sys.stdin.buffer


def _open_samples(samples: Samples, _raw: RawFormat | None, options: _SourceOptions) -> AudioReader:
    seconds = len(samples) / SAMPLE_RATE
    options.check_seconds(seconds)
    samples = samples[:, None] if options.separate_channels else samples
    blocks = (samples[i : i + SAMPLE_RATE] for i in range(0, len(samples), SAMPLE_RATE))
    return AudioReader(blocks, seconds, options, live=False)


def _open_path(path: Path, raw: RawFormat | None, options: _SourceOptions) -> AudioReader:
    try:
        is_folder = path.is_dir()
        file = None if is_folder else options.closing.enter_context(path.open("rb"))
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise AudioError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from error
    if is_folder:
        raise AudioError(f"{path} is a folder, not an audio file")
    if raw is None and path.suffix.lower() in RAW_SUFFIXES:
        raw = RawFormat()
    return _open_stream(file, raw, options)


def _open_stream(file: Any, raw: RawFormat | None, options: _SourceOptions) -> AudioReader:
    if not getattr(file, "seekable", lambda: True)():
        return _open_pipe(file, raw, options)
    if raw is None:
        return _open_file(file, options)
    size = size_of_file(file)
    duration = None if size is None else size // raw.frame_bytes / raw.rate
    return _reader(raw_blocks(file, raw), duration, Account(options.name), options)


def _open_file(file: Any, options: _SourceOptions) -> AudioReader:
    """Opens a file that can seek, of any type."""
    file.seek(0)
    window = Window(file, 0, size_of_file(file) or 0)
    layout = layout_of(window, options.check_seconds)
    if not layout.recordings:
        _reject(window, layout, options.name)
    options.check_seconds(layout.seconds)
    first, duration = _decoders(layout.recordings[0], window, options), layout.seconds
    if len(layout.recordings) == 1:
        stated = first.open_first()
        duration = stated if duration is None else duration
    account = Account(options.name)
    blocks = _decode(window, layout, first, account, options)
    return _reader(blocks, duration, account, options)


def _reject(window: Window, layout: Layout, name: str) -> None:
    """Raises AudioError for a file without recordings."""
    if layout.rejected is not None:
        file_type.check_readable(layout.rejected, name)
    reason = "it is empty" if not len(window) else "it is no kind of audio file that is known"
    if file_type.is_text(window.peek(0, file_type.HEAD_BYTES)):
        reason = "it is text, not audio"
    formats = file_type.readable_formats()
    raise AudioError(f"cannot decode {name}: {reason}. {formats}; raw PCM with its format given")


def _decoders(recording: Recording, window: Window, options: _SourceOptions) -> Decoders:
    decoders = Decoders(recording, window, options.name)
    options.closing.callback(decoders.close)
    return decoders


def _decode(
    window: Window,
    layout: Layout,
    first: Decoders | None,
    account: Account,
    options: _SourceOptions,
) -> Iterator[Block]:
    """Yields the sound of all recordings in a file. first: decoders of the first one."""
    account.lost_bytes += layout.lost
    for recording in layout.recordings:
        decoders, first = first or _decoders(recording, window, options), None
        with closing(decoders):
            yield from account.decode(recording, decoders.openings)


def _open_pipe(file: Any, raw: RawFormat | None, options: _SourceOptions) -> AudioReader:
    """Opens a source that cannot seek: PCM as it arrives, with or without a WAV header.

    Decoders of other formats seek; these are copied to disk first.
    """
    pipe, account, live = Pipe(file), Account(options.name), not _is_regular(file)
    if raw is None and file_type.WAV.begins(pipe.look(12)):
        form = read_format(pipe)
        if form is not None and form.encoding:
            blocks = _decode_wav(pipe, WavDecoder(pipe, form, options.name), account, options)
            return _reader(blocks, None, account, options, live)
    if raw is None and _is_file(pipe.look(file_type.HEAD_BYTES), options.name):
        return _open_file(spool(pipe, options.closing), options)
    blocks = raw_blocks(pipe, raw or RawFormat())
    return _reader(blocks, None, account, options, live)


def _is_regular(file: Any) -> bool:
    """True for a file on disk, such as redirected standard input."""
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):
        return False


def _is_file(head: bytes, name: str) -> bool:
    """True if a pipe begins as a file does. Raises AudioError if it is not audio."""

    def peek(at: int, size: int) -> bytes:
        return head[at : at + size]

    container = file_type.container_at(peek)
    if container is None and past_tags(peek, 0):
        container = file_type.MPEG
    if container is None and (found := file_type.find_container(peek, len(head))):
        container = found[1]
    if container is not None:
        file_type.check_readable(container, name)
        return True
    if file_type.is_text(head):
        raise AudioError(f"{name} is text, not audio; raw PCM can be declared with --raw")
    if file_type.is_noise(head):
        raise AudioError(
            f"{name} is no kind of audio file that is known, and its bytes are too random for "
            f"16-bit PCM; declare raw PCM with --raw"
        )
    return False


def _decode_wav(
    pipe: Pipe, decoder: WavDecoder, account: Account, options: _SourceOptions
) -> Iterator[Block]:
    """Yields a WAV file as it arrives, and the files that may be joined to it."""
    yield from account.decode(Recording(file_type.WAV, 0, 0), [lambda: decoder])
    if pipe.look(file_type.HEAD_BYTES):
        rest = spool(pipe, options.closing)
        window = Window(rest, 0, size_of_file(rest) or 0)
        layout = layout_of(window, options.check_seconds)
        yield from _decode(window, layout, None, account, options)


def _reader(
    blocks: Iterator[Block],
    duration: float | None,
    account: Account,
    options: _SourceOptions,
    live: bool = False,
) -> AudioReader:
    options.check_seconds(duration)
    return AudioReader(_converted(blocks, account, options), duration, options, live)


def _converted(
    blocks: Iterator[Block], account: Account, options: _SourceOptions
) -> Iterator[Samples]:
    """Yields blocks at 16 kHz, and reports missing audio at the end."""
    converter = BlockConverter(options.name, options.separate_channels)
    yield from converter.convert(_limited(blocks, options))
    account.read_seconds = account.read_seconds or converter.seconds  # PCM needs no decoder
    account.faults += converter.notes
    account.close(options.report)


def _limited(blocks: Iterator[Block], options: _SourceOptions) -> Iterator[Block]:
    seconds, size = 0.0, 0
    for samples, rate in blocks:
        size += 4 * samples.size
        options.check_bytes(size)
        seconds += len(samples) / rate
        options.check_seconds(seconds)
        yield samples, rate
