"""Any audio -> float32 mono samples at 16 kHz, in blocks, so that length costs no memory.

Files are cut into the recordings in them (`wheatear.audio.containers.recordings`) and decoded
(`wheatear.audio.decoding`),
under an account of what is missing (`wheatear.audio.completeness`). Raw PCM is taken as it is;
pipes are
looked into to tell which of these it is. Channels are averaged and other rates resampled block by
block (`wheatear.audio.resampler`), with the same result as in one go.
"""

import math
import os
import re
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from numbers import Integral
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wheatear.audio import file_type as kinds
from wheatear.audio import sample_encoding as encodings
from wheatear.audio.byte_source import Pipe, Source, Window, size_of_file
from wheatear.audio.completeness import Account, Block, Decoder, Opening
from wheatear.audio.containers.recordings import Layout, Part, layout_of
from wheatear.audio.containers.wav import header_of
from wheatear.audio.decoding import WavDecoder, block_size, check_form, decoders_of, spooled
from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.resampler import Converter
from wheatear.audio.samples import Samples, as_samples
from wheatear.common.arguments import check_kind, check_number, shown
from wheatear.errors import AudioError, AudioTruncatedWarning


class BinaryFile(Protocol):
    """Binary file object or pipe."""

    def read(self, size: int, /) -> bytes:
        """Returns at most `size` bytes; none at the end."""


AudioSource = str | os.PathLike[str] | BinaryFile | NDArray[np.floating] | NDArray[np.int16]
"""Arguments of `open_audio`: a path, "-", a binary file, or an array of 16 kHz samples."""

_RAW_ENCODINGS = ("s16", "f32", "s16be", "mulaw", "alaw")
_RAW_SUFFIXES = (".raw", ".pcm", ".s16")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,3}[^/]|data:[a-z]+/")


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
    """Headerless audio, channels interleaved: s16 and f32 (16-bit integers and 32-bit floats,
    little-endian), s16be (big-endian), mulaw and alaw (G.711).
    """

    rate: int = SAMPLE_RATE
    channels: int = 1
    encoding: str = "s16"

    def __post_init__(self) -> None:
        for name in ("rate", "channels"):
            check_kind(
                f"{name} of raw audio", getattr(self, name), Integral, "a whole number", AudioError
            )
        if self.encoding not in _RAW_ENCODINGS:
            known = ", ".join(_RAW_ENCODINGS)
            raise AudioError(f"raw audio is one of {known}, not {shown(self.encoding)}")
        check_form(self.rate, self.channels, "raw audio")

    @property
    def frame(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * encodings.size_of(self.encoding)


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
    source: AudioSource,
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

    def report(message: str) -> None:
        damage.append(message)
        on_damage(message)

    def asked_of(name: str) -> _Asked:
        return _Asked(name, apart, limits, report, damage)

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
            refuse_address(os.fsdecode(source))
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


def sample_speech(name: str = "en-US") -> Samples:
    """The short recording of a human voice that comes with Wheatear, at 16 kHz."""
    with (files("wheatear") / "data" / "samples" / f"{name}.flac").open("rb") as file:
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
    """The sentences that `on_damage` was called with."""

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


def refuse_address(name: str) -> None:
    """Raises AudioError for what is an address rather than a path."""
    if _ADDRESS.match(name) and not os.path.exists(name):
        raise AudioError(
            f"{name} is a URL, and URLs are not read: download the file first, and give its path"
        )


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
        size = size_of_file(file)
        duration = None if size is None else size // raw.frame / raw.rate
        return _reader(_raw_blocks(file, raw), duration, Account(asked.name), asked, closing)
    return _open_file(file, asked, closing)


def _open_file(file: Any, asked: _Asked, closing: ExitStack) -> AudioReader:
    """Audio of a file format, from a file that can seek."""
    file.seek(0)
    window = Window(file, 0, size_of_file(file) or 0)
    account = Account(asked.name)
    layout = _layout(window, asked)
    asked.check(layout.seconds)
    opened = _decoders(window, layout.parts[0], asked, closing)
    duration = layout.seconds
    if len(layout.parts) == 1:
        opened, stated = _opened(opened)
        duration = stated if duration is None else duration
    blocks = _recordings(window, layout, opened, account, asked, closing)
    return _reader(blocks, duration, account, asked, closing)


def _decoders(window: Window, part: Part, asked: _Asked, closing: ExitStack) -> "_Decoders":
    stack = ExitStack()
    closing.callback(stack.close)  # by whom the audio is closed meanwhile
    return _Decoders(decoders_of(part, window.part(part.start, part.end), asked.name, stack), stack)


@dataclass(frozen=True)
class _Decoders:
    """The decoders of a recording, and what is to be closed after them."""

    openings: list[Opening]
    stack: ExitStack


def _same(decoder: Decoder) -> Decoder:
    return decoder


def _opened(decoders: _Decoders) -> tuple[_Decoders, float | None]:
    """Opens the first decoder that can be, so that what can't be read is known early; and the
    duration that it tells.  Raises AudioError if none can.
    """
    refusal: AudioError | None = None
    for number, opening in enumerate(decoders.openings):
        try:
            decoder = opening()
        except AudioError as error:
            refusal = refusal or error
            continue
        openings = [partial(_same, decoder), *decoders.openings[number + 1 :]]
        return _Decoders(openings, decoders.stack), getattr(decoder, "duration", None)
    raise refusal or AudioError("there is no decoder")


def _layout(window: Window, asked: _Asked) -> Layout:
    """The recordings in a file.  Raises AudioError if there are none."""
    layout = layout_of(window, asked.check)
    if not layout.parts:
        if layout.refused is not None:
            kinds.require(layout.refused, asked.name)
        reason = "it is empty" if not len(window) else "it is no kind of audio file that is known"
        if text := kinds.about_text(window.peek(0, kinds.HEAD)):
            reason = f"it is {text}, not audio"
        raise AudioError(
            f"cannot decode {asked.name}: {reason}. {kinds.readable()}; raw PCM with its format "
            f"given"
        )
    return layout


def _recordings(
    window: Window,
    layout: Layout,
    opened: _Decoders | None,
    account: Account,
    asked: _Asked,
    closing: ExitStack,
) -> Iterator[Block]:
    """The sound of all recordings in a file.  opened: the decoders of the first one."""
    account.lost += layout.lost
    for part in layout.parts:
        decoders, opened = opened or _decoders(window, part, asked, closing), None
        with decoders.stack:
            blocks = account.decoded(decoders.openings, part.expected, part.faults)
            for number, (samples, rate) in enumerate(blocks):
                if number == 0 and part.pause:
                    yield np.zeros((round(part.pause * rate), samples.shape[1]), np.float32), rate
                yield samples, rate
        account.missing += part.owed


def _open_pipe(file: Any, raw: RawFormat | None, asked: _Asked, closing: ExitStack) -> AudioReader:
    """Audio from something that cannot seek: PCM as it comes, with or without a WAV header.

    Other formats have decoders that seek; what is piped in then goes to disk, not to memory.
    """
    pipe, account, live = Pipe(file), Account(asked.name), not _is_regular(file)
    if raw is None and kinds.is_wav(pipe.look(12)):
        form = header_of(pipe)
        if form is not None and form.encoding:
            blocks = _piped_wav(pipe, WavDecoder(pipe, form, asked.name), account, asked, closing)
            return _reader(blocks, None, account, asked, closing, live)
    if raw is None and _is_file(pipe.look(kinds.HEAD), asked.name):
        return _open_file(spooled(pipe, closing), asked, closing)
    blocks = _raw_blocks(pipe, raw or RawFormat())
    return _reader(blocks, None, account, asked, closing, live)


def _is_regular(file: Any) -> bool:
    """True for a file on disk, such as standard input that was redirected from one."""
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):
        return False


def _is_file(head: bytes, name: str) -> bool:
    """True if the first bytes of a pipe are a file's.  Raises AudioError for what is no audio."""

    def peek(at: int, size: int) -> bytes:
        return head[at : at + size]

    kind = kinds.kind_of(peek) or (kinds.MPEG if kinds.past_tags(peek, 0) else None)
    if kind is None and (found := kinds.find(peek, len(head))):
        kind = found[1]
    if kind is None and (text := kinds.about_text(head)):
        raise AudioError(f"{name} is {text}, not audio; raw PCM can be declared with --raw")
    if kind is None and kinds.is_noise(head):
        raise AudioError(
            f"{name} is no kind of audio file that is known, and its bytes are too random for "
            f"16-bit PCM; declare raw PCM with --raw"
        )
    if kind is not None:
        kinds.require(kind, name)
    return kind is not None


def _piped_wav(
    pipe: Pipe, decoder: WavDecoder, account: Account, asked: _Asked, closing: ExitStack
) -> Iterator[Block]:
    """A WAV file as it comes, and the files that may be joined to it."""
    yield from account.decoded([partial(_same, decoder)], None)
    if pipe.look(kinds.HEAD):
        rest = spooled(pipe, closing)
        window = Window(rest, 0, size_of_file(rest) or 0)
        layout = layout_of(window, asked.check)
        yield from _recordings(window, layout, None, account, asked, closing)


# -- blocks --------------------------------------------------------------------------------------


def _raw_blocks(file: Source | Any, raw: RawFormat) -> Iterator[Block]:
    """Blocks [n, channels] of headerless PCM, as soon as they arrive.

    Bytes at the end that make no whole frame are not audio.
    """
    block = block_size(raw.rate, raw.channels) * raw.frame
    read = getattr(file, "read1", file.read)
    rest = b""
    while data := read(block):
        data = rest + data
        whole = len(data) // raw.frame * raw.frame
        rest = data[whole:]
        samples = encodings.decoded(data[:whole], raw.encoding)
        yield samples.reshape(-1, raw.channels), raw.rate


def _reader(
    blocks: Iterator[Block],
    duration: float | None,
    account: Account,
    asked: _Asked,
    closing: ExitStack,
    live: bool = False,
) -> AudioReader:
    """Blocks of any form as they are asked for.  duration: what the file says."""
    asked.check(duration)
    reader = AudioReader(_converted(blocks, account, asked), duration, closing, asked.damage)
    reader.live = live
    return reader


def _converted(blocks: Iterator[Block], account: Account, asked: _Asked) -> Iterator[Samples]:
    """Blocks at 16 kHz; at their end what is missing is reported."""
    converter = Converter(asked.name, asked.apart)
    yield from converter.convert(_limited(blocks, asked))
    account.read = account.read or converter.seconds  # of what needs no decoder
    account.faults += converter.notes
    account.close(asked.on_damage)


def _limited(blocks: Iterator[Block], asked: _Asked) -> Iterator[Block]:
    seconds, size = 0.0, 0
    for samples, rate in blocks:
        size += 4 * samples.size
        asked.check_size(size)
        seconds += len(samples) / rate
        asked.check(seconds)
        yield samples, rate
