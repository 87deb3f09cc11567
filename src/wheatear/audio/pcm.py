"""PCM in pieces, as sockets bring it -> float32 mono samples at 16 kHz, almost without delay.

Files are resampled by soxr, whose stream holds back 20 to 115 ms. That is much of a chunk, so
what is live goes through a shorter filter: a windowed sinc that looks 1.5 ms ahead (3 ms at
8 kHz) and lets through what lies below 0.86 of the lower of the two Nyquist frequencies. Above
1.04 of it 70 dB are taken away.
"""

from functools import lru_cache
from math import ceil, gcd

import numpy as np

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.resampler import Mixer
from wheatear.audio.sample_encoding import decoded, size_of
from wheatear.audio.samples import LOUDEST, Samples
from wheatear.errors import AudioError, StreamClosedError

LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000
MOST_CHANNELS = 8

_CROSSINGS = 24  # zeros of the sinc on either side
_CUTOFF = 0.95  # of the lower Nyquist frequency
_BETA = 6.76  # of the Kaiser window: 0.1102 (A - 8.7) for A = 70 dB (Kaiser 1974)
_MOST_PHASES = 2048  # ratios with more are rounded to these: 1/4096 sample, -69 dB or better
_AT_ONCE = 1024  # samples; bounds the memory that a large piece takes
_ENCODINGS = ("s16", "f32", "mulaw", "alaw")
_NOTHING = np.zeros(0, np.float32)


class PcmDecoder:
    """One live signal, headerless, on its way to samples. Any cut gives the same bits.

    Encodings: s16 and f32 (little-endian), mulaw and alaw (G.711); channels are interleaved and
    averaged, or the loudest is taken where they cancel. Of n frames come ceil(n x 16000 / rate)
    samples, sample k being the sound at k / 16000 s; at 16 kHz nothing is changed but the type.
    """

    def __init__(self, rate: int = SAMPLE_RATE, encoding: str = "s16", channels: int = 1) -> None:
        """Raises AudioError for a rate outside 8000..48000, more than 8 channels, or none, and
        encodings that are not known.
        """
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise AudioError(f"live audio at {rate} Hz; {LOWEST_RATE} to {HIGHEST_RATE} Hz work")
        if encoding not in _ENCODINGS:
            raise AudioError(f"live audio is one of {', '.join(_ENCODINGS)}, not {encoding!r}")
        if not 1 <= channels <= MOST_CHANNELS:
            raise AudioError(f"live audio of {channels} channels; 1 to {MOST_CHANNELS} work")
        self._rate, self._encoding, self._channels = rate, encoding, channels
        self._mixer = Mixer()
        self._resampler = None if rate == SAMPLE_RATE else _Resampler(rate)
        self._frames = 0
        self._rest = b""
        self._finished = False

    def fresh(self) -> "PcmDecoder":
        """Another signal of the same form, which has yet to begin."""
        return PcmDecoder(self._rate, self._encoding, self._channels)

    @property
    def seconds(self) -> float:
        """The audio taken so far."""
        return self._frames / self._rate

    def push(self, data: bytes | bytearray | memoryview) -> Samples:
        """Takes bytes, returns the samples [n] that they complete.

        Raises AudioError, without taking anything, for floats that are no audio, and
        StreamClosedError after `finish`.
        """
        if self._finished:
            raise StreamClosedError("this audio has been finished; open another")
        data = b"".join((self._rest, data))
        frame = size_of(self._encoding) * self._channels
        whole = len(data) // frame * frame
        values = decoded(data[:whole], self._encoding)
        if self._encoding == "f32":
            self._check(values)
        samples = self._mixer.mix(values.reshape(-1, self._channels))
        self._rest = data[whole:]
        self._frames += len(samples)
        return samples if self._resampler is None else self._resampler.push(samples)

    def finish(self) -> Samples:
        """Returns the samples [n] still owed: none if called again.

        Bytes that make no whole frame are dropped.
        """
        self._finished = True
        return _NOTHING if self._resampler is None else self._resampler.finish()

    def _check(self, samples: Samples) -> None:
        wrong = np.flatnonzero(~(np.abs(samples) < LOUDEST))
        if len(wrong):
            at = self.seconds + wrong[0] // self._channels / self._rate
            raise AudioError(
                f"live audio reaches {samples[wrong[0]]:g} at {at:.2f} s: floats lie in -1 .. 1"
            )


# -- resampling ----------------------------------------------------------------------------------


class _Resampler:
    """One signal on its way to 16 kHz, silent before its first frame and after its last.

    Sample k lies at k x rate / 16000 frames: that is between two frames, at one of P phases.
    """

    def __init__(self, rate: int) -> None:
        divisor = gcd(rate, SAMPLE_RATE)
        self._up, self._down = SAMPLE_RATE // divisor, rate // divisor
        self._taps = _taps(rate, min(self._up, _MOST_PHASES))
        self._phases, self._width = self._taps.shape
        self._reach = self._width // 2
        self._frames, self._made = 0, 0
        self._kept = np.zeros(self._reach - 1, np.float32)
        """The frames from where the window of the next sample begins."""

    def push(self, frames: Samples) -> Samples:
        """Takes frames [n], returns the samples that can be made of them."""
        self._frames += len(frames)
        self._kept = np.concatenate([self._kept, frames])
        # Sample k can be made if frame (place of k) + reach is there; solved for k.
        phases = self._phases * self._up * (self._frames - self._reach) - self._up // 2
        return self._make(-(-phases // (self._phases * self._down)))

    def finish(self) -> Samples:
        """Returns the samples still owed."""
        self._kept = np.concatenate([self._kept, np.zeros(self._reach + 1, np.float32)])
        return self._make(-(-self._frames * self._up // self._down))

    def _make(self, end: int) -> Samples:
        """Samples up to sample `end`."""
        blocks = []
        while self._made < end:
            blocks.append(self._block(min(end - self._made, _AT_ONCE)))
        return np.concatenate(blocks) if blocks else _NOTHING

    def _block(self, count: int) -> Samples:
        """The next samples [count].

        einsum sums every row in one order however many there are; a matrix product need not.
        """
        within = self._made % self._up  # it repeats, so that numbers stay small for years
        numbers = np.arange(within, within + count + 1)
        phases = (numbers * (self._phases * self._down) + self._up // 2) // self._up
        places, phases = np.divmod(phases, self._phases)
        places -= places[0]
        shape = (len(self._kept) - self._width + 1, self._width)
        windows = np.ndarray(shape, np.float32, self._kept, strides=self._kept.strides * 2)
        samples = np.einsum("ij,ij->i", windows[places[:-1]], self._taps[phases[:-1]])
        self._kept = self._kept[places[-1] :]
        self._made += count
        return samples


@lru_cache(maxsize=16)
def _taps(rate: int, phases: int) -> Samples:
    """Row p weighs the `reach` frames before a place and the `reach` after it, [P, 2 reach]."""
    nyquist = min(1.0, SAMPLE_RATE / rate)  # the lower one, of the rate's own
    reach = ceil(_CROSSINGS / nyquist)
    away = np.arange(phases)[:, None] / phases - np.arange(1 - reach, reach + 1)
    window = np.i0(_BETA * np.sqrt(np.maximum(0.0, 1 - (away / reach) ** 2)))
    taps = np.sinc(_CUTOFF * nyquist * away) * window
    taps /= taps.sum(axis=1, keepdims=True)
    return taps.astype(np.float32)
