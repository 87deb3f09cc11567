"""Latency of a listener, from audio time and measured compute time.

A stream is fed without waiting for real time. A block is available when its last sample has been
spoken; its computation starts when it is available and the previous computation is done. A
hypothesis is available at the end of the computation that emitted it. The figures are those of a
machine with no other work, and a measurement takes only the compute time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import numpy as np

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples
from wheatear.evaluate.clips import speech_span
from wheatear.evaluate.engines.engine import Engine, Hypothesis

_BLOCK = SAMPLE_RATE // 50  # samples of a block of a live source: 20 ms
_MAX_TURN_END_S = 4.0  # seconds after speech in which the final of a turn must come
_ROOM = 1e-4  # amplitude of a quiet room: -80 dBFS
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class TimedHypothesis:
    """A hypothesis and its latencies in seconds."""

    hypothesis: Hypothesis
    compute_s: float
    """Compute time."""
    end_s: float
    """Time from the last sample to the complete text, if the caller ends the stream there."""
    first_s: float | None = None
    """Time from the start of speech to the first text of a stream."""


class _Clock:
    """The time of a listener, who waits for audio and for computation."""

    def __init__(self) -> None:
        self.now = 0.0
        self.compute = 0.0

    def run(self, available: float, work: Callable[[], _Result]) -> _Result:
        """Runs work on audio that is available from a time on."""
        start = perf_counter()
        result = work()
        took = perf_counter() - start
        self.compute += took
        self.now = max(self.now, available) + took
        return result


def _blocks(samples: Samples) -> Iterator[tuple[float, Samples]]:
    """Yields blocks of a live source with the time at which each is available."""
    for at in range(0, len(samples), _BLOCK):
        block = samples[at : at + _BLOCK]
        yield (at + len(block)) / SAMPLE_RATE, block


def time_file(engine: Engine, samples: Samples, locale: str | None) -> TimedHypothesis:
    """Transcribes a whole file, which starts when all of it is available."""
    clock = _Clock()
    hypothesis = clock.run(0.0, lambda: engine.transcribe(samples, locale))
    return TimedHypothesis(hypothesis, clock.compute, clock.compute)


def time_stream(
    engine: Engine, samples: Samples, locale: str | None, window_s: float
) -> TimedHypothesis:
    """Transcribes a stream, which the caller ends with the last sample."""
    clock, session, first = _Clock(), engine.start_stream(locale, window_s), None
    for available, block in _blocks(samples):
        partials = clock.run(available, lambda block=block: session.push(block))
        if first is None and any(partial.text.strip() for partial in partials):
            first = clock.now - speech_span(samples)[0]
    length = len(samples) / SAMPLE_RATE
    hypothesis = clock.run(length, session.finish)
    return TimedHypothesis(hypothesis, clock.compute, clock.now - length, first)


def time_turn_end(
    engine: Engine, samples: Samples, locale: str | None, window_s: float
) -> float | None:
    """Seconds from the end of speech to the final of the turn, by endpointing.

    The clip is followed by the noise of a quiet room. None if no final with text comes after the
    end of speech.
    """
    clock, session = _Clock(), engine.start_stream(locale, window_s)
    end = speech_span(samples)[1]
    room = np.random.default_rng(0).normal(0, _ROOM, round(_MAX_TURN_END_S * SAMPLE_RATE))
    for available, block in _blocks(np.concatenate([samples, room.astype(np.float32)])):
        partials = clock.run(available, lambda block=block: session.push(block))
        if available >= end and any(p.final and p.text.strip() for p in partials):
            return clock.now - end
    return None
