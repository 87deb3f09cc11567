"""Utterances: audio, a stretch of it, and its reference."""

import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import soxr

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.reader import RAW_SUFFIXES, open_audio
from wheatear.audio.samples import Samples
from wheatear.errors import AudioError

_SEEKABLE = frozenset({"AIFF", "AU", "CAF", "FLAC", "RF64", "W64", "WAV", "WAVEX"})
"""Formats that libsndfile can seek in without decoding from the start."""
_RAW: dict[str, Any] = {
    "samplerate": SAMPLE_RATE, "channels": 1, "format": "RAW", "subtype": "PCM_16",
    "endian": "LITTLE",
}  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """One utterance of a corpus."""

    id: str
    """Unique in its corpus."""
    audio: Path
    locale: str
    reference: str
    start: float = 0.0
    """Start in the file, in seconds."""
    seconds: float | None = None
    """Duration; None for the rest of the file."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Other fields of the corpus, such as the speaker."""

    def read(self) -> Samples:
        """Returns float32 samples [n] at 16 kHz, mono.  Raises AudioError."""
        start = round(self.start * SAMPLE_RATE)
        size = None if self.seconds is None else round(self.seconds * SAMPLE_RATE)
        return read_stretch(self.audio, start, size)


def read_stretch(path: Path, start: int, size: int | None) -> Samples:
    """Reads a stretch of a file.

    Args:
        path: Audio file.
        start: First sample, counted at 16 kHz.
        size: Number of samples at 16 kHz; None for the rest of the file.

    Returns:
        float32 samples [size]; fewer if the file ends before.

    Raises:
        AudioError: The file cannot be read, or the stretch holds no samples.
    """
    samples = None
    if start and size != 0 and (is_raw(path) or _can_seek(path)):
        samples = _seek(path, start, size)
        if not is_raw(path) and (size is None or len(samples) < size):
            samples = None  # the header may give too small a length
    if samples is None:
        samples = _decode(path, start, size)
    if start and not len(samples):
        raise AudioError(
            f"{path} has no audio at {start / SAMPLE_RATE:g} s: it ends at "
            f"{stored_seconds(path):.2f} s, or the stretch is empty"
        )
    return samples


def is_raw(path: Path) -> bool:
    """True if a file is PCM without a header: int16 little-endian, 16 kHz, mono."""
    return path.suffix.lower() in RAW_SUFFIXES


@lru_cache(maxsize=4096)
def stored_seconds(path: Path) -> float:
    """Seconds of audio in a file.  Raises AudioError."""
    with closing(open_audio(path)) as audio:
        if audio.duration is not None:
            return audio.duration
        return sum(map(len, audio)) / SAMPLE_RATE


@lru_cache(maxsize=4096)
def _can_seek(path: Path) -> bool:
    """True if libsndfile finds any sample of a file without decoding from the start."""
    try:
        return sf.info(path).format in _SEEKABLE
    except (OSError, RuntimeError):
        return False


def _seek(path: Path, start: int, size: int | None) -> Samples:
    try:
        with sf.SoundFile(path, **(_RAW if is_raw(path) else {})) as file:
            rate = file.samplerate
            first = round(start * rate / SAMPLE_RATE)
            if first >= file.frames:
                return np.zeros(0, np.float32)
            file.seek(first)
            frames = -1 if size is None else round(size * rate / SAMPLE_RATE)
            samples = file.read(frames, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise AudioError(f"cannot read {path}: {error}") from error
    mono = samples.mean(1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    return np.ascontiguousarray(mono, np.float32)


def _decode(path: Path, start: int, size: int | None) -> Samples:
    """A stretch of a file that is decoded from the start."""
    end = math.inf if size is None else start + size
    blocks, count = [np.zeros(0, np.float32)], 0
    with closing(open_audio(path)) as audio:
        for block in audio:
            first, last = max(0, start - count), min(len(block), end - count)
            if first < last:
                blocks.append(block[first : int(last)])
            count += len(block)
            if count >= end:
                break
    return np.concatenate(blocks)


_LOUD = 0.03  # share of the loudest sample


def speech_span(samples: Samples) -> tuple[float, float]:
    """Seconds of the first and after the last loud sample.

    Loud is above a thirtieth of the loudest sample: background noise must be 30 dB below it.
    """
    loud = np.flatnonzero(np.abs(samples) > _LOUD * np.abs(samples).max(initial=0))
    if not len(loud):
        return 0.0, len(samples) / SAMPLE_RATE
    return float(loud[0]) / SAMPLE_RATE, float(loud[-1] + 1) / SAMPLE_RATE
