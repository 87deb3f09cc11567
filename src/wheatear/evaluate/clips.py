"""What is evaluated: an utterance, its audio, and what was said in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf
import soxr

from wheatear.audio import Samples, open_audio
from wheatear.errors import AudioError
from wheatear.features import SAMPLE_RATE


@dataclass(frozen=True)
class Clip:
    """One utterance of a corpus."""

    id: str
    """Unique in its corpus."""
    audio: Path
    locale: str
    reference: str
    start: float = 0.0
    """Seconds into the file."""
    seconds: float | None = None
    """None is to the end of the file."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What else the corpus tells of it, such as the speaker."""

    def read(self) -> Samples:
        """float32 samples [n] at 16 kHz, mono.  Raises AudioError."""
        if self.start == 0:
            return self._from_the_beginning()
        try:
            stored = stored_audio(self.audio)[1]
            seconds = stored - self.start if self.seconds is None else self.seconds
            start, size = (round(n * SAMPLE_RATE) for n in (self.start, seconds))
            if size < 1:
                raise AudioError(f"{self.audio} ends at {stored:g} s, before {self.start:g} s")
            return read_stretch(self.audio, start, size)
        except (OSError, RuntimeError) as error:
            raise AudioError(f"cannot read {self.audio}: {error}") from error

    def _from_the_beginning(self) -> Samples:
        wanted = math.inf if self.seconds is None else round(self.seconds * SAMPLE_RATE)
        blocks, count = [np.zeros(0, np.float32)], 0
        with closing(open_audio(self.audio)) as audio:
            for block in audio:
                blocks.append(block)
                count += len(block)
                if count >= wanted:
                    break
        samples = np.concatenate(blocks)
        return samples if count <= wanted else samples[: int(wanted)]


def read_stretch(path: Path, start: int, size: int) -> Samples:
    """float32 samples [size] of a file, start and size counted at 16 kHz.

    `.pcm` is int16 little-endian, 16 kHz, mono; everything else is what libsndfile reads.
    """
    if path.suffix == ".pcm":
        return np.asarray(_mapped(path)[start : start + size] / np.float32(32768), np.float32)
    rate = stored_audio(path)[0]
    first, frames = (round(n * rate / SAMPLE_RATE) for n in (start, size))
    samples, _ = sf.read(path, frames=frames, start=first, dtype="float32", always_2d=True)
    mono = samples.mean(1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    return np.ascontiguousarray(mono, np.float32)


@cache
def _mapped(path: Path) -> npt.NDArray[np.int16]:
    return np.memmap(path, "<i2", "r")


@lru_cache(maxsize=4096)
def stored_audio(path: Path) -> tuple[int, float]:
    """Rate and seconds of an audio file."""
    if path.suffix == ".pcm":
        return SAMPLE_RATE, path.stat().st_size / 2 / SAMPLE_RATE
    about = sf.info(path)
    return about.samplerate, about.frames / about.samplerate


_LOUD = 0.03  # of the loudest sample


def speech_span(samples: Samples) -> tuple[float, float]:
    """Seconds at which it becomes loud for the first time and ceases to be for the last.

    Loud is a thirtieth of the loudest sample, so the noise of the room must lie 30 dB below.
    """
    loud = np.flatnonzero(np.abs(samples) > _LOUD * np.abs(samples).max(initial=0))
    if not len(loud):
        return 0.0, len(samples) / SAMPLE_RATE
    return float(loud[0]) / SAMPLE_RATE, float(loud[-1] + 1) / SAMPLE_RATE
