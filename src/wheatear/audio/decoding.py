"""Decoders of a recording, in the order in which they are tried.

PCM in WAV files is read here. libsndfile is opened for its types and must find what the first bytes
showed. FFmpeg runs in a separate process.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache, partial
from typing import Any, BinaryIO, cast

import numpy as np
import soundfile

from wheatear.audio import file_type
from wheatear.audio.byte_source import Source, Window, is_on_disk
from wheatear.audio.completeness import TOLERANCE, Decoder, Opening, Outcome
from wheatear.audio.containers.chunks import has_index
from wheatear.audio.containers.recordings import Recording
from wheatear.audio.containers.wav import WavFormat, WavReader, read_format
from wheatear.audio.ffmpeg import FfmpegReader
from wheatear.audio.pcm import block_frames, check_format
from wheatear.audio.sample_encoding import decode_samples
from wheatear.audio.samples import Block, Samples
from wheatear.errors import AudioError, SpoolError

_UNKNOWN_FRAMES = 1 << 62  # libsndfile's number for a length that the file does not state
_RESUMED = ("MP3",)  # formats that libsndfile continues to read after an error
_FAR = 1000  # more than the ratio of sizes between frames of an mp3 file
_PATIENCE = 3  # errors in a row, with nothing decoded between them


class Decoders:
    """Decoders of one recording, with the files and processes that they hold."""

    def __init__(self, recording: Recording, file: Window, name: str) -> None:
        self._stack = ExitStack()
        window = file.part(recording.start, recording.end)
        container = recording.container
        self.openings: list[Opening] = []
        form = read_format(window) if container is file_type.WAV else None
        if form is not None and form.encoding:
            self.openings.append(cache(partial(WavDecoder, window, form, name)))
            return
        if container.sndfile:
            self.openings.append(
                cache(partial(_SndfileDecoder, recording, window, name, self._stack))
            )
        if container.demuxer and (file_type.has_ffmpeg() or not container.sndfile):
            self.openings.append(cache(partial(_open_ffmpeg, recording, window, name, self._stack)))
        if not recording.is_plain:
            self.openings.reverse()

    def open_first(self) -> float | None:
        """Opens the first decoder that can be, so that errors come early; returns its duration."""
        error: AudioError | None = None
        for opening in list(self.openings):
            try:
                return opening().duration
            except AudioError as refusal:
                error = error or refusal
                self.openings.remove(opening)
        raise error or AudioError("there is no decoder")

    def close(self) -> None:
        """Closes what the decoders opened."""
        self._stack.close()


def spool(file: Any, closing: ExitStack) -> BinaryIO:
    """Copies the rest of a file to a temporary one on disk."""
    try:
        copy = closing.enter_context(tempfile.TemporaryFile())
        shutil.copyfileobj(file, copy, 1 << 20)
        copy.seek(0)
    except OSError as error:
        raise SpoolError(
            f"cannot copy the audio to disk to decode it: {error.strerror or error}; set TMPDIR to "
            f"a folder with room"
        ) from error
    return copy


class WavDecoder:
    """Decoder of PCM in WAV files."""

    duration = None

    def __init__(self, source: Source, form: WavFormat, name: str) -> None:
        check_format(form.rate, form.channels, name)
        self._reader, self._name = WavReader(source), name

    def blocks(self) -> Iterator[Block]:
        for form, data in self._reader.data():
            check_format(form.rate, form.channels, self._name)
            samples = decode_samples(data, str(form.encoding))
            yield samples.reshape(-1, form.channels), form.rate

    def outcome(self) -> Outcome:
        tally, note = self._reader.tally, None
        if tally.beyond > TOLERANCE:
            note = (
                f"has a wrong header: by it the sound ends at {tally.read - tally.beyond:.1f} s; "
                f"{tally.beyond:.1f} s that follow were read as well"
            )
        return Outcome(tally.promised, tolerance=0.02, note=note)


class _SndfileDecoder:
    """Decoder by libsndfile."""

    def __init__(self, recording: Recording, window: Window, name: str, closing: ExitStack) -> None:
        container = recording.container
        if container is file_type.MPEG:
            window = Window(window.file, window.start, window.end, _FAR * len(window))
        self._window = window
        try:
            file = closing.enter_context(soundfile.SoundFile(_handle(window)))
        except (soundfile.LibsndfileError, TypeError, OSError) as error:
            _reraise(window)
            reason = str(getattr(error, "error_string", error)).rstrip(".")
            raise AudioError(
                f"cannot decode {name}: {reason}. {file_type.readable_formats()}; raw PCM with its "
                f"format given"
            ) from error
        if file.format not in container.sndfile:
            raise AudioError(f"cannot decode {name}: it is no {container.about[2:].strip()}")
        check_format(file.samplerate, file.channels, name)
        # soundfile seeks after each block of a file that can. A decoder that has to find its place
        # again loses samples (mp3) or fails (flac of unknown length).
        file.seekable = lambda: False  # type: ignore[method-assign]
        is_estimate = file.format == "MP3" or container is file_type.WAV
        is_known = not is_estimate and file.frames < _UNKNOWN_FRAMES
        self.duration = file.frames / file.samplerate if is_known else None
        self._file = file
        self._fault: str | None = None

    def blocks(self) -> Iterator[Block]:
        """Yields the sound; if an error occurs, the samples before and after it."""
        file, stuck = self._file, 0
        size = block_frames(file.samplerate, file.channels)
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
                if file.format not in _RESUMED:
                    stuck = _PATIENCE
            finally:
                _reraise(self._window)
            yield block, file.samplerate

    def outcome(self) -> Outcome:
        return Outcome(self.duration, fault=self._fault)


def _open_ffmpeg(recording: Recording, window: Window, name: str, closing: ExitStack) -> Decoder:
    file, start, end = window.file, window.start, window.end
    if not is_on_disk(file):  # the process needs a file of the system
        window.seek(0)
        file, start, end = spool(window, closing), 0, len(window)
    try:
        reader = FfmpegReader(file, recording.container, name, (start, end))
    except AudioError as error:
        if recording.container is file_type.MOV and not has_index(window):
            raise AudioError(
                f"cannot decode {name}: it is cut off before its index (moov), without which "
                f"nothing of it can be read"
            ) from error
        raise
    closing.callback(reader.close)
    check_format(reader.rate, reader.channels, name)
    return reader


def _handle(window: Window) -> Any:
    """Returns a file for libsndfile: the system's where possible, which calls no Python."""
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
