"""Headerless PCM: from files and pipes, and from sockets with almost no delay."""

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.mixer import Mixer
from wheatear.audio.resampler import LiveResampler
from wheatear.audio.sample_encoding import decode_samples, size_of
from wheatear.audio.samples import LOUDEST, Block, Samples
from wheatear.common.arguments import check_kind, shown
from wheatear.errors import AudioError, StreamClosedError

LOWEST_LIVE_RATE, HIGHEST_LIVE_RATE = 8_000, 48_000
_MOST_LIVE_CHANNELS = 8
_LIVE_ENCODINGS = ("s16", "f32", "mulaw", "alaw")
_HIGHEST_RATE = 768_000
_MOST_CHANNELS = 64
_BLOCK_SECONDS = 0.5
_LARGEST_BLOCK = 1 << 21  # values; bounds blocks of many channels at high rates
_NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True)
class RawFormat:
    """Format of headerless PCM with interleaved channels.

    Encodings are s16 and f32 (16-bit integers and 32-bit floats, little-endian), s16be
    (big-endian), mulaw and alaw (G.711).
    """

    rate: int = SAMPLE_RATE
    channels: int = 1
    encoding: str = "s16"

    def __post_init__(self) -> None:
        for name in ("rate", "channels"):
            check_kind(
                f"{name} of raw audio", getattr(self, name), Integral, "a whole number", AudioError
            )
        encodings = ("s16", "f32", "s16be", "mulaw", "alaw")
        if self.encoding not in encodings:
            known = ", ".join(encodings)
            raise AudioError(f"raw audio is one of {known}, not {shown(self.encoding)}")
        check_format(self.rate, self.channels, "raw audio")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * size_of(self.encoding)


def check_format(rate: int, channels: int, name: str) -> None:
    """Raises AudioError for rates and channel counts that no recording has."""
    if not 1 <= channels <= _MOST_CHANNELS:
        raise AudioError(f"{name} has {channels} channels; 1 to {_MOST_CHANNELS} work")
    if not 1000 <= rate <= _HIGHEST_RATE:
        raise AudioError(f"{name} has a sample rate of {rate} Hz; 1000 to {_HIGHEST_RATE} Hz work")


def block_frames(rate: int, channels: int) -> int:
    """Frames of a block in which audio is read."""
    return min(int(rate * _BLOCK_SECONDS), _LARGEST_BLOCK // channels)


def raw_blocks(file: Any, raw: RawFormat) -> Iterator[Block]:
    """Yields blocks as they arrive; drops an incomplete frame at the end."""
    size = block_frames(raw.rate, raw.channels) * raw.frame_bytes
    read = getattr(file, "read1", file.read)
    rest = b""
    while data := read(size):
        data = rest + data
        whole = len(data) // raw.frame_bytes * raw.frame_bytes
        rest = data[whole:]
        yield decode_samples(data[:whole], raw.encoding).reshape(-1, raw.channels), raw.rate


class PcmDecoder:
    """Decodes one live signal to 16 kHz mono samples; any cut of the bytes gives the same bits.

    Encodings are s16 and f32 (little-endian), mulaw and alaw (G.711). Interleaved channels are
    averaged, or the loudest is taken where they cancel. n frames give ceil(n x 16000 / rate)
    samples; sample k is the sound at k / 16000 s. Input at 16 kHz only changes its type.
    """

    def __init__(self, rate: int = SAMPLE_RATE, encoding: str = "s16", channels: int = 1) -> None:
        """Raises AudioError for rates outside 8000..48000, channels outside 1..8, and unknown
        encodings.
        """
        if not LOWEST_LIVE_RATE <= rate <= HIGHEST_LIVE_RATE:
            rates = f"{LOWEST_LIVE_RATE} to {HIGHEST_LIVE_RATE} Hz"
            raise AudioError(f"live audio at {rate} Hz; {rates} work")
        if encoding not in _LIVE_ENCODINGS:
            known = ", ".join(_LIVE_ENCODINGS)
            raise AudioError(f"live audio is one of {known}, not {encoding!r}")
        if not 1 <= channels <= _MOST_LIVE_CHANNELS:
            raise AudioError(f"live audio of {channels} channels; 1 to {_MOST_LIVE_CHANNELS} work")
        self._rate, self._encoding, self._channels = rate, encoding, channels
        self._mixer = Mixer()
        self._resampler = None if rate == SAMPLE_RATE else LiveResampler(rate)
        self._frames = 0
        self._rest = b""
        self._finished = False

    def fresh(self) -> "PcmDecoder":
        """Returns a decoder for another signal of the same format."""
        return PcmDecoder(self._rate, self._encoding, self._channels)

    @property
    def seconds(self) -> float:
        """Duration of the input."""
        return self._frames / self._rate

    def push(self, data: bytes | bytearray | memoryview) -> Samples:
        """Takes bytes and returns the samples [n] that they complete.

        Raises AudioError for floats that are not audio, without taking any byte, and
        StreamClosedError after `finish`.
        """
        if self._finished:
            raise StreamClosedError("this audio has been finished; open another")
        data = b"".join((self._rest, data))
        frame = size_of(self._encoding) * self._channels
        whole = len(data) // frame * frame
        values = decode_samples(data[:whole], self._encoding)
        if self._encoding == "f32":
            self._check(values)
        samples = self._mixer.mix(values.reshape(-1, self._channels))
        self._rest = data[whole:]
        self._frames += len(samples)
        return samples if self._resampler is None else self._resampler.push(samples)

    def finish(self) -> Samples:
        """Returns the last samples [n]; none on a second call. Drops an incomplete frame."""
        self._finished = True
        return _NOTHING if self._resampler is None else self._resampler.finish()

    def _check(self, samples: Samples) -> None:
        wrong = np.flatnonzero(~(np.abs(samples) < LOUDEST))
        if len(wrong):
            at = self.seconds + wrong[0] // self._channels / self._rate
            raise AudioError(
                f"live audio reaches {samples[wrong[0]]:g} at {at:.2f} s: floats lie in -1 .. 1"
            )
