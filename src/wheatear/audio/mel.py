"""Log-mel features equal to NeMo's AudioToMelSpectrogramPreprocessor, computed incrementally.

Pre-emphasis, a symmetric Hann window of 25 ms centered on its frame, a hop of 10 ms. Then power
spectrum of 512 points, 128 Slaney mel bands, natural logarithm of (power + 2^-24). Without
normalization a frame depends only on its own 400 samples. Frame t is centered on sample 160 t; a
signal of n samples has floor(n / 160) frames.

Frames are computed eight at a time, on a grid fixed to the start of the signal: the same matrix
products in the same shapes for any cut of the samples, and therefore the same bits. One
encoder frame adds one such group (1..8, 9..16, ...); frame 0 is a group by itself.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
MEL_PER_FRAME = 8
"""Mel frames per encoder frame: the encoder's subsampling factor."""
FRAME_MS = 80
"""Duration of an encoder frame."""
LOG_GUARD = 2.0**-24


@dataclass(frozen=True)
class MelSettings:
    """Front end of a checkpoint, with lengths in samples."""

    n_mels: int = 128
    n_fft: int = 512
    win_length: int = 400
    hop_length: int = 160
    preemphasis: float = 0.97


@dataclass
class MelState:
    """Past of an unfinished signal that later frames need."""

    tail: NDArray[np.float32]
    """Pre-emphasized samples from the first sample of the next frame's window on."""
    last_sample: float = 0.0
    samples: int = 0
    frames: int = 0


@dataclass(frozen=True)
class MelSpectrogram:
    """Computes log-mel frames; immutable, shared by all streams."""

    settings: MelSettings
    _window: NDArray[np.float64] = field(init=False, repr=False)
    _bank: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_window", np.hanning(self.settings.win_length))
        object.__setattr__(self, "_bank", slaney_bank(self.settings).astype(np.float64))

    def start(self) -> MelState:
        """Returns the state before the first sample."""
        # The group that ends with frame 0 begins at frame -7, whose window begins here.
        first = (1 - MEL_PER_FRAME) * self.settings.hop_length - self.settings.win_length // 2
        return MelState(tail=np.zeros(-first, np.float32))

    def push(self, state: MelState, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes samples [n] in -1..1 and returns the frames [m, n_mels] that they complete."""
        state.tail = np.concatenate([state.tail, self._emphasize(state, samples)])
        state.samples += len(samples)
        hop, length = self.settings.hop_length, self.settings.win_length
        frames = (len(state.tail) - length) // hop + 1 if len(state.tail) >= length else 0
        return self._take_groups(state, frames // MEL_PER_FRAME)

    def samples_for(self, state: MelState, frames: int) -> int:
        """Returns the number of further samples after which `push` has returned `frames` more."""
        if not state.frames:
            frames += MEL_PER_FRAME - 1  # only the last frame of the first group exists
        groups = -(-frames // MEL_PER_FRAME)
        return max(0, self._window_end(groups) - len(state.tail))

    def finish(self, state: MelState) -> NDArray[np.float32]:
        """Returns the last frames [m, n_mels], as if silence followed the signal."""
        total = state.samples // self.settings.hop_length
        groups = max(0, -(-(total - state.frames) // MEL_PER_FRAME))
        if groups:
            silence = np.zeros(max(0, self._window_end(groups) - len(state.tail)), np.float32)
            state.tail = np.concatenate([state.tail, silence])
        mel = self._take_groups(state, groups)
        extra = max(0, state.frames - total)
        state.frames -= extra
        return mel[: len(mel) - extra]

    def _emphasize(self, state: MelState, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Applies pre-emphasis in float32, as NeMo does; later steps use float64."""
        if not len(samples):
            return samples
        before = np.empty_like(samples)
        before[1:] = samples[:-1]
        before[0] = state.last_sample
        state.last_sample = float(samples[-1])
        before *= np.float32(self.settings.preemphasis)
        return samples - before

    def _window_end(self, groups: int) -> int:
        """Samples from the next frame's window to the last window of some groups."""
        return (groups * MEL_PER_FRAME - 1) * self.settings.hop_length + self.settings.win_length

    def _take_groups(self, state: MelState, groups: int) -> NDArray[np.float32]:
        """Takes `groups` groups of frames from the tail."""
        n_mels, hop = self.settings.n_mels, self.settings.hop_length
        if not groups:
            return np.zeros((0, n_mels), np.float32)
        count = groups * MEL_PER_FRAME
        frames = sliding_window_view(state.tail, self.settings.win_length)[: count * hop : hop]
        spectrum = np.fft.rfft(frames * self._window, self.settings.n_fft)
        power = (spectrum.real**2 + spectrum.imag**2).reshape(groups, MEL_PER_FRAME, -1)
        mel = np.log(power @ self._bank + LOG_GUARD).reshape(count, n_mels).astype(np.float32)
        state.tail = state.tail[count * hop :].copy()
        if state.frames == 0:
            mel = mel[MEL_PER_FRAME - 1 :]  # frames -7..-1 do not exist
        state.frames += len(mel)
        return mel


def slaney_bank(settings: MelSettings) -> NDArray[np.float32]:
    """Returns triangular mel filters [n_fft/2 + 1, n_mels] with Slaney's scale and area norm.

    They equal those of librosa.
    """
    edges = _mel_to_hz(np.linspace(0.0, _hz_to_mel(SAMPLE_RATE / 2), settings.n_mels + 2))
    bins = np.linspace(0.0, SAMPLE_RATE / 2, settings.n_fft // 2 + 1)
    rise = (bins[:, None] - edges[None, :-2]) / np.diff(edges)[None, :-1]
    fall = (edges[None, 2:] - bins[:, None]) / np.diff(edges)[None, 1:]
    area = 2.0 / (edges[2:] - edges[:-2])
    return (np.maximum(0.0, np.minimum(rise, fall)) * area).astype(np.float32)


# Slaney's scale: linear to 1 kHz (15 mel), then 27 mel for each factor of 6.4.
def _hz_to_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * float(np.log(hz / 1000) / np.log(6.4))


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
