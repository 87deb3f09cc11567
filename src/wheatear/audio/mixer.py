"""Channels to one: their average, or the loudest where they cancel.

Swapped poles of a cable and effects of a mixing desk invert one channel; the average would be
silence.
"""

import numpy as np
from numpy.typing import NDArray

from wheatear.audio.samples import Samples

_GRID = 320  # frames that are judged together, counted from the beginning
_DECAY = 0.93  # per grid, a time constant of 14 grids
_OPPOSED = 0.1  # share of the energy that unrelated channels would leave in their average
_RESTORED = 0.5  # share from which channels are averaged again
_SILENT = 1e-8  # mean square below which nothing is judged: -80 dB


class Mixer:
    """Averages channels and detects those that cancel.

    Each block of frames is tested at its end, and the result applies to the frames after it.
    No frame is delayed, and any block size of the input yields the same samples.
    """

    def __init__(self) -> None:
        self._grid: list[Samples] = []
        """Frames since the last judgment."""
        self._count = 0
        self._mixed_energy: float = 0.0
        """Decaying energy of the average."""
        self._energies: NDArray[np.float64] = np.zeros(0)
        """Decaying energy of each channel."""
        self._taken: int | None = None
        """Channel that replaces the average."""
        self.opposed_frames = 0
        """Frames in which channels cancel."""

    def mix(self, block: Samples) -> Samples:
        """Mixes frames [n, channels] to samples [n]."""
        if block.shape[1] == 1:
            return block[:, 0]
        parts, at = [np.zeros(0, np.float32)], 0
        while at < len(block):
            part = block[at : at + _GRID - self._count]
            parts.append(
                part.mean(axis=1, dtype=np.float32) if self._taken is None else part[:, self._taken]
            )
            self._grid.append(part)
            self._count += len(part)
            at += len(part)
            if self._count == _GRID:
                self._judge(np.concatenate(self._grid).astype(np.float64))
                self._grid, self._count = [], 0
        return np.concatenate(parts)

    def _judge(self, frames: NDArray[np.float64]) -> None:
        channels = frames.shape[1]
        if len(self._energies) != channels:
            self._mixed_energy, self._energies = 0.0, np.zeros(channels)
        energies = np.square(frames.T.copy()).mean(axis=1)
        mixed = float(np.square(frames.mean(axis=1)).mean())
        self._mixed_energy = _DECAY * self._mixed_energy + mixed
        self._energies = _DECAY * self._energies + energies
        whole = float(self._energies.mean())
        if whole < _SILENT:
            return
        share = self._mixed_energy * channels / whole
        if self._taken is None and share < _OPPOSED:
            self._taken = int(self._energies.argmax())
        elif self._taken is not None and share > _RESTORED:
            self._taken = None
        if self._taken is not None and energies.mean() > _SILENT:
            self.opposed_frames += len(frames)
