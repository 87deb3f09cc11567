"""The decoders of a recording, in the order in which they are tried: libsndfile, then FFmpeg.

PCM in WAV files is read here; all else by one of them. libsndfile is opened for the kinds that are
meant for it and must find what the first bytes said; FFmpeg runs in a process of its own.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
import soundfile

from wheatear.audio import ffmpeg as media
from wheatear.audio import file_type as kinds
from wheatear.audio import sample_encoding as encodings
from wheatear.audio.byte_source import Source, Window, is_on_disk
from wheatear.audio.completeness import TOLERANCE, Block, Decoder, Opening, Outcome
from wheatear.audio.containers.recordings import Part, has_index
from wheatear.audio.containers.wav import WavFormat, WavReader, header_of
from wheatear.audio.file_type import Container
from wheatear.audio.samples import Samples
from wheatear.errors import AudioError, SpoolError

HIGHEST_RATE = 768_000
MOST_CHANNELS = 64
_BLOCK_SECONDS = 0.5
_LARGEST_BLOCK = 1 << 21  # values; what many channels at high rates are kept to
_UNKNOWN_FRAMES = 1 << 62  # libsndfile's number for a length that the file does not state
_GOES_ON = ("MP3",)  # what libsndfile reads on after an error
_FAR = 1000  # more than the frames of an mp3 file differ in size
_PATIENCE = 3  # errors in a row, with nothing decoded between them


def decoders_of(part: Part, window: Window, name: str, closing: ExitStack) -> list[Opening]:
    """The decoders of a recording, whose bytes are those of `window`."""
    kind = part.kind
    form = header_of(window) if kind is kinds.WAV else None
    if form is not None and form.encoding and window.peek(0, 4) != b"RIFX":
        return [lambda: WavDecoder(window, form, name)]
    found: list[Opening] = []
    if kind.library:
        found.append(lambda: _Trimmed(_Library(part, window, name, closing), part))
    if kind.demuxer and (kinds.is_installed() or not kind.library):
        found.append(lambda: _Trimmed(_Foreign(kind, window, name, closing), part))
    return found if part.plain else found[::-1]


@dataclass
class _Trimmed:
    """A decoder, without the samples that an encoder put before and after the sound."""

    decoder: Decoder
    part: Part

    def blocks(self) -> Iterator[Block]:
        skipped, kept = self.part.skipped, self.part.kept
        for samples, rate in self.decoder.blocks():
            block = samples[skipped:]
            skipped -= len(samples) - len(block)
            if kept is not None:
                block = block[:kept]
                kept -= len(block)
            if len(block):
                yield block, rate

    def outcome(self) -> Outcome:
        return self.decoder.outcome()

    @property
    def duration(self) -> float | None:
        """Seconds that the decoder found promised."""
        return getattr(self.decoder, "duration", None)


def check_form(rate: int, channels: int, name: str) -> None:
    """Raises AudioError for rates and channels that no recording has."""
    if not 1 <= channels <= MOST_CHANNELS:
        raise AudioError(f"{name} has {channels} channels; 1 to {MOST_CHANNELS} work")
    if not 1000 <= rate <= HIGHEST_RATE:
        raise AudioError(f"{name} has a sample rate of {rate} Hz; 1000 to {HIGHEST_RATE} Hz work")


def block_size(rate: int, channels: int) -> int:
    """Frames of a block."""
    return min(int(rate * _BLOCK_SECONDS), _LARGEST_BLOCK // channels)


def spooled(file: Any, closing: ExitStack) -> BinaryIO:
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


class WavDecoder:
    """PCM in WAV files."""

    def __init__(self, source: Source, form: WavFormat, name: str) -> None:
        check_form(form.rate, form.channels, name)
        self._reader, self._name = WavReader(source), name

    def blocks(self) -> Iterator[Block]:
        for form, data in self._reader.data():
            check_form(form.rate, form.channels, self._name)
            samples = encodings.decoded(data, str(form.encoding))
            yield samples.reshape(-1, form.channels), form.rate

    def outcome(self) -> Outcome:
        tally, note = self._reader.tally, None
        if tally.beyond > TOLERANCE:
            said = tally.read - tally.beyond
            note = (
                f"has a wrong header: by it the sound ends at {said:.1f} s; "
                f"{tally.beyond:.1f} s that follow were read as well"
            )
        return Outcome(tally.promised, tolerance=0.02, note=note)


class _Library:
    """What libsndfile decodes."""

    def __init__(self, part: Part, window: Window, name: str, closing: ExitStack) -> None:
        if part.kind is kinds.MPEG:
            window = Window(window.file, window.start, window.end, _FAR * len(window))
        self._part, self._window = part, window
        try:
            self._file = closing.enter_context(soundfile.SoundFile(_handle(window)))
        except (soundfile.LibsndfileError, TypeError, OSError) as error:
            _reraise(window)
            reason = str(getattr(error, "error_string", error)).rstrip(".")
            raise AudioError(
                f"cannot decode {name}: {reason}. {kinds.readable()}; raw PCM with its format given"
            ) from error
        if self._file.format not in part.kind.library:
            raise AudioError(f"cannot decode {name}: it is no {part.kind.about[2:].strip()}")
        check_form(self._file.samplerate, self._file.channels, name)
        # soundfile seeks after every block that it reads from a file that can; a decoder that has
        # to find its place again loses samples (mp3) or fails (flac of unknown length).
        self._file.seekable = lambda: False  # type: ignore[method-assign]
        self._fault: str | None = None

    @property
    def _promised(self) -> float | None:
        frames, rate = self._file.frames, self._file.samplerate
        estimated = self._file.format == "MP3" or self._part.kind is kinds.WAV
        return None if estimated or frames >= _UNKNOWN_FRAMES else frames / rate

    def blocks(self) -> Iterator[Block]:
        for samples in self._samples():
            yield samples, self._file.samplerate

    def _samples(self) -> Iterator[Samples]:
        """All that comes; after an error, what it was decoded before it, and what comes later."""
        file, stuck = self._file, 0
        size = block_size(file.samplerate, file.channels)
        while stuck < _PATIENCE:
            block = np.full((size, file.channels), np.nan, np.float32)
            try:
                block = cast("Samples", file.read(dtype="float32", always_2d=True, out=block))
                if not len(block):
                    break
            except soundfile.LibsndfileError as error:
                self._fault = self._fault or error.error_string.rstrip(".")
                unset = np.flatnonzero(np.isnan(block[:, 0]))
                block = block[: unset[0]] if len(unset) else block
                stuck = 0 if len(block) else stuck + 1
                if file.format not in _GOES_ON:
                    stuck = _PATIENCE
            finally:
                _reraise(self._window)
            yield block

    def outcome(self) -> Outcome:
        return Outcome(self._promised, fault=self._fault)


class _Foreign:
    """What FFmpeg decodes."""

    def __init__(self, kind: Container, window: Window, name: str, closing: ExitStack) -> None:
        file, start, end = window.file, window.start, window.end
        if not is_on_disk(file):  # it needs a file of the system's
            window.seek(0)
            file, start, end = spooled(window, closing), 0, len(window)
        try:
            self._unpacked = media.FfmpegReader(file, kind, name, (start, end))
        except AudioError as error:
            if kind is kinds.MOV and not has_index(window):
                raise AudioError(
                    f"cannot decode {name}: it is cut off before its index (moov), without which "
                    f"nothing of it can be read"
                ) from error
            raise
        closing.callback(self._unpacked.close)
        check_form(self._unpacked.rate, self._unpacked.channels, name)
        self.duration = self._unpacked.duration

    def blocks(self) -> Iterator[Block]:
        unpacked = self._unpacked
        yield from unpacked.blocks(block_size(unpacked.rate, unpacked.channels))

    def outcome(self) -> Outcome:
        return self._unpacked.outcome()


def _handle(window: Window) -> Any:
    """What libsndfile opens: where that is possible the system's file, which calls no Python."""
    if is_on_disk(window.file) and window.seek(0, os.SEEK_END) == len(window):
        number = window.file.fileno()
        if window.start == 0 and window.end == os.fstat(number).st_size:
            os.lseek(number, 0, os.SEEK_SET)
            return os.dup(number)
    window.seek(0)
    return window


def _reraise(window: Window) -> None:
    fault, window.fault = window.fault, None
    if fault is not None:
        raise fault
