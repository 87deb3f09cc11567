"""Channels -> one, and any rates -> 16 kHz, block by block with the same result as in one go.

Channels are averaged. Where one is the other turned upside down, as a cable with swapped poles or
an effect of a mixing desk leaves it, the average would be silence: the loudest is taken instead.
"""

from collections.abc import Iterator

import numpy as np
import soxr
from numpy.typing import NDArray

from wheatear.audio.completeness import Block
from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import LOUDEST, Samples
from wheatear.errors import AudioError

_GRID = 320  # frames that are judged together, counted from the beginning
_MEMORY = 0.93  # what a judgement keeps of the one before: a time of 14 grids
_CANCELLED = 0.1  # share of the energy that unrelated channels would leave in their average
_TOGETHER = 0.5  # the share from which they are averaged again
_SILENT = 1e-8  # mean square below which nothing is judged: -80 dB
_WORTH_A_WORD = 0.5  # seconds of opposite channels


class Mixer:
    """Averages channels, watching for those that cancel.

    A judgement is made at the end of each grid of frames, of these and those before, and holds for
    the frames after it: no frame waits, and how the frames are cut changes nothing.
    """

    def __init__(self) -> None:
        self._kept: list[Samples] = []
        """Frames since the last grid."""
        self._count = 0
        self._mixed: float = 0.0
        """Energy of the average, and of the channels, both fading."""
        self._apart: NDArray[np.float64] = np.zeros(0)
        self._taken: int | None = None
        """The channel that is taken in place of the average."""
        self.opposite = 0
        """Frames so far in which channels cancelled."""

    def mix(self, block: Samples) -> Samples:
        """Frames [n, channels] -> samples [n]."""
        if block.shape[1] == 1:
            return block[:, 0]
        parts, at = [], 0
        while at < len(block):
            part = block[at : at + _GRID - self._count]
            parts.append(self._mixed_down(part))
            self._kept.append(part)
            self._count += len(part)
            at += len(part)
            if self._count == _GRID:
                self._judge(np.concatenate(self._kept).astype(np.float64))
                self._kept, self._count = [], 0
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _mixed_down(self, part: Samples) -> Samples:
        if self._taken is not None:
            return part[:, self._taken]
        return part.mean(axis=1, dtype=np.float32)

    def _judge(self, frames: NDArray[np.float64]) -> None:
        channels = frames.shape[1]
        if len(self._apart) != channels:
            self._mixed, self._apart = 0.0, np.zeros(channels)
        energies = np.square(frames.T.copy()).mean(axis=1)
        self._mixed = _MEMORY * self._mixed + float(np.square(frames.mean(axis=1)).mean())
        self._apart = _MEMORY * self._apart + energies
        whole = float(self._apart.mean())
        if whole < _SILENT:
            return
        share = self._mixed * channels / whole
        if self._taken is None and share < _CANCELLED:
            self._taken = int(self._apart.argmax())
        elif self._taken is not None and share > _TOGETHER:
            self._taken = None
        if self._taken is not None and energies.mean() > _SILENT:
            self.opposite += len(frames)


class Converter:
    """Blocks of any rate and channels -> blocks at 16 kHz; both may change on the way.

    Where channels are kept apart, those of the first block are: later ones that are more or fewer
    are averaged, and the average is put into the first channel.
    """

    def __init__(self, name: str, apart: bool) -> None:
        self._name, self._apart = name, apart
        self._width: int | None = None
        self._form: tuple[int, int] | None = None
        self._resampler: soxr.ResampleStream | None = None
        self._mixer = Mixer()
        self._opposite = 0.0
        self.seconds = 0.0
        self.notes: list[str] = []
        """Doubts, as the rest of a sentence."""

    def convert(self, blocks: Iterator[Block]) -> Iterator[Samples]:
        """Yields samples [n], or [n, channels] where they are kept apart."""
        for samples, rate in blocks:
            if not len(samples):
                continue
            self._check(samples)
            if self._form != (rate, samples.shape[1]):
                yield from self._begin(rate, samples.shape[1])
            self.seconds += len(samples) / rate
            block = self._separate(samples) if self._apart else self._mixer.mix(samples)
            out = block if self._resampler is None else self._resampler.resample_chunk(block)
            if len(out):
                yield out
        yield from self._end()
        if self._opposite > _WORTH_A_WORD:
            self.notes.append(
                f"has channels that cancel each other, for {self._opposite:.1f} s: one of them was "
                f"taken instead of their average"
            )

    def _begin(self, rate: int, channels: int) -> Iterator[Samples]:
        """Another form begins; what is left of the one before comes out."""
        yield from self._end()
        if self._width is None:
            self._width = channels
        elif self._apart and channels != self._width and not self.notes:
            self.notes.append(
                f"changes at {self.seconds:.1f} s from {self._width} channels to {channels}, which "
                f"were averaged into the first one from there on"
            )
        self._form = rate, channels
        if rate != SAMPLE_RATE:
            width = self._width if self._apart else 1
            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, width, "float32", quality="HQ")

    def _end(self) -> Iterator[Samples]:
        if self._form is not None:
            self._opposite += self._mixer.opposite / self._form[0]
            self._mixer = Mixer()
        if self._resampler is not None:
            shape: tuple[int, ...] = (0, self._width or 1) if self._apart else (0,)
            out = self._resampler.resample_chunk(np.zeros(shape, np.float32), last=True)
            self._resampler = None
            if len(out):
                yield out

    def _separate(self, samples: Samples) -> Samples:
        if samples.shape[1] == self._width:
            return samples
        block = np.zeros((len(samples), self._width or 1), np.float32)
        block[:, 0] = samples.mean(axis=1, dtype=np.float32)
        return block

    def _check(self, samples: Samples) -> None:
        if not np.abs(samples).max() < LOUDEST:
            raise AudioError(
                f"{self._name} holds values that are no audio (not numbers, or beyond "
                f"+-{LOUDEST}), from {self.seconds:.1f} s on: write it again as 16-bit PCM"
            )
