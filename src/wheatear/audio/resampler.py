"""Resampling to 16 kHz: a short filter for live audio, soxr for files.

soxr's stream holds back 20 to 115 ms, much of a chunk. Live audio goes through a windowed sinc that
looks 1.5 ms ahead (3 ms at 8 kHz). With n the lower of the two Nyquist
frequencies, it passes frequencies below 0.86 n and attenuates those above 1.04 n by 70 dB.
"""

from collections.abc import Iterator
from functools import lru_cache
from math import ceil, gcd

import numpy as np
import soxr

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.mixer import Mixer
from wheatear.audio.samples import LOUDEST, Block, Samples
from wheatear.errors import AudioError

_CROSSINGS = 24  # zeros of the sinc on either side
_CUTOFF = 0.95  # of the lower Nyquist frequency
_BETA = 6.76  # of the Kaiser window: 0.1102 (A - 8.7) for A = 70 dB (Kaiser 1974)
_MOST_PHASES = 2048  # ratios with more are rounded to these: 1/4096 sample, -69 dB or better
_AT_ONCE = 1024  # samples; bounds the memory of a large push
_REPORTED_SECONDS = 0.5  # of channels that cancel


class LiveResampler:
    """Resamples one signal, taken as silent before its first frame and after its last.

    Sample k lies at k x rate / 16000 frames, which is one of P phases between two frames.
    """

    def __init__(self, rate: int) -> None:
        divisor = gcd(rate, SAMPLE_RATE)
        self._up, self._down = SAMPLE_RATE // divisor, rate // divisor
        self._taps = _taps(rate, min(self._up, _MOST_PHASES))
        self._phases, self._width = self._taps.shape
        self._reach = self._width // 2
        self.frames, self.samples = 0, 0
        """Frames taken and samples returned."""
        self._kept = np.zeros(self._reach - 1, np.float32)
        """Frames from the beginning of the next sample's window."""

    def push(self, frames: Samples) -> Samples:
        """Takes frames [n] and returns the samples that they complete."""
        self.frames += len(frames)
        self._kept = np.concatenate([self._kept, frames])
        # Sample k needs the frame at (place of k) + reach; solved for k.
        phases = self._phases * self._up * (self.frames - self._reach) - self._up // 2
        return self._up_to(-(-phases // (self._phases * self._down)))

    def finish(self) -> Samples:
        """Returns the last samples."""
        self._kept = np.concatenate([self._kept, np.zeros(self._reach + 1, np.float32)])
        return self._up_to(-(-self.frames * self._up // self._down))

    def _up_to(self, end: int) -> Samples:
        blocks = [np.zeros(0, np.float32)]
        while self.samples < end:
            blocks.append(self._block(min(end - self.samples, _AT_ONCE)))
        return np.concatenate(blocks)

    def _block(self, count: int) -> Samples:
        """Returns the next samples [count].

        einsum adds up each row in the same order for any count; a matrix product need not.
        """
        within = self.samples % self._up  # periodic, so that numbers stay small for years
        numbers = np.arange(within, within + count + 1)
        phases = (numbers * (self._phases * self._down) + self._up // 2) // self._up
        places, phases = np.divmod(phases, self._phases)
        places -= places[0]
        shape = (len(self._kept) - self._width + 1, self._width)
        windows = np.ndarray(shape, np.float32, self._kept, strides=self._kept.strides * 2)
        samples = np.einsum("ij,ij->i", windows[places[:-1]], self._taps[phases[:-1]])
        self._kept = self._kept[places[-1] :]
        self.samples += count
        return samples


@lru_cache(maxsize=16)
def _taps(rate: int, phases: int) -> Samples:
    """Weights [P, 2 reach] of the `reach` frames before a place and after it, by phase."""
    nyquist = min(1.0, SAMPLE_RATE / rate)  # the lower one, in units of the input's
    reach = ceil(_CROSSINGS / nyquist)
    away = np.arange(phases)[:, None] / phases - np.arange(1 - reach, reach + 1)
    window = np.i0(_BETA * np.sqrt(np.maximum(0.0, 1 - (away / reach) ** 2)))
    taps = np.sinc(_CUTOFF * nyquist * away) * window
    taps /= taps.sum(axis=1, keepdims=True)
    return taps.astype(np.float32)


class BlockConverter:
    """Converts blocks of any rate and channels to 16 kHz; both may change on the way.

    Any division into blocks gives the same samples. With separate channels, the first block sets
    their number; later blocks of another number are averaged into the first channel.
    """

    def __init__(self, name: str, separate_channels: bool) -> None:
        self._name, self._separate = name, separate_channels
        self._channels: int | None = None
        self._form: tuple[int, int] | None = None
        self._resampler: soxr.ResampleStream | None = None
        self._mixer = Mixer()
        self._opposed_seconds = 0.0
        self.seconds = 0.0
        self.notes: list[str] = []
        """Doubts, as the rest of a sentence that begins with the name of the audio."""

    def convert(self, blocks: Iterator[Block]) -> Iterator[Samples]:
        """Yields samples [n], or [n, channels] if channels are kept separate."""
        for samples, rate in blocks:
            if not len(samples):
                continue
            if not np.abs(samples).max() < LOUDEST:
                raise AudioError(
                    f"{self._name} holds values that are no audio (not numbers, or beyond "
                    f"+-{LOUDEST}), from {self.seconds:.1f} s on: write it again as 16-bit PCM"
                )
            if self._form != (rate, samples.shape[1]):
                yield from self._begin(rate, samples.shape[1])
            self.seconds += len(samples) / rate
            block = self._separated(samples) if self._separate else self._mixer.mix(samples)
            out = block if self._resampler is None else self._resampler.resample_chunk(block)
            if len(out):
                yield out
        yield from self._end()
        if self._opposed_seconds > _REPORTED_SECONDS:
            self.notes.append(
                f"has channels that cancel each other, for {self._opposed_seconds:.1f} s: one "
                f"of them was taken instead of their average"
            )

    def _begin(self, rate: int, channels: int) -> Iterator[Samples]:
        """Begins another rate or channel count; yields what the previous one still holds."""
        yield from self._end()
        if self._channels is None:
            self._channels = channels
        elif self._separate and channels != self._channels and not self.notes:
            self.notes.append(
                f"changes at {self.seconds:.1f} s from {self._channels} channels to {channels}, "
                f"which were averaged into the first one from there on"
            )
        self._form = rate, channels
        if rate != SAMPLE_RATE:
            width = self._channels if self._separate else 1
            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, width, "float32", quality="HQ")

    def _end(self) -> Iterator[Samples]:
        if self._form is not None:
            self._opposed_seconds += self._mixer.opposed_frames / self._form[0]
            self._mixer = Mixer()
        if self._resampler is not None:
            shape: tuple[int, ...] = (0, self._channels or 1) if self._separate else (0,)
            out = self._resampler.resample_chunk(np.zeros(shape, np.float32), last=True)
            self._resampler = None
            if len(out):
                yield out

    def _separated(self, samples: Samples) -> Samples:
        if samples.shape[1] == self._channels:
            return samples
        block = np.zeros((len(samples), self._channels or 1), np.float32)
        block[:, 0] = samples.mean(axis=1, dtype=np.float32)
        return block
