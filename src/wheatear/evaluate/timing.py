"""When text is there: audio time from what comes in, compute time from what was measured.

A live session is fed in real time without waiting for it: a block is there when its last sample has
been spoken, and is worked on when it is there and the one before is done.  What a session says is
told at the end of the work that brought it.  So the figures are those of a listener, at the price
of a machine that has nothing else to do, and a measurement takes as long as the computing alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import numpy as np

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples
from wheatear.evaluate.clips import speech_span
from wheatear.evaluate.engines.engine import Engine, Hypothesis

_BLOCK = SAMPLE_RATE // 50  # samples that a live source sends at a time: 20 ms
_LONGEST_TURN_END = 4.0  # seconds after speech in which a turn's final must come
_ROOM = 1e-4  # of a quiet room: -80 dBFS
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class TimedHypothesis:
    """What was heard, and when."""

    heard: Hypothesis
    compute: float
    """Seconds of work."""
    end: float
    """Seconds from the last sample to all of the text, where the caller says that it is over."""
    first: float | None = None
    """Seconds from the beginning of speech to the first text of a live session."""


class _Clock:
    """The time of a listener."""

    def __init__(self) -> None:
        self.now = 0.0
        self.compute = 0.0

    def work(self, there: float, what: Callable[[], _Result]) -> _Result:
        """Does some work on what is there from a time on."""
        begun = perf_counter()
        result = what()
        took = perf_counter() - begun
        self.compute += took
        self.now = max(self.now, there) + took
        return result


def time_file(engine: Engine, samples: Samples, locale: str | None) -> TimedHypothesis:
    """The file in one go, which can begin when all of it is there."""
    clock = _Clock()
    heard = clock.work(0.0, lambda: engine.transcribe(samples, locale))
    return TimedHypothesis(heard, clock.compute, clock.compute)


def time_stream(
    engine: Engine, samples: Samples, locale: str | None, pieces: float
) -> TimedHypothesis:
    """As it would come from a microphone, and ended with the last sample."""
    clock, live, first = _Clock(), engine.start_stream(locale, pieces), None
    for at in range(0, len(samples), _BLOCK):
        block = samples[at : at + _BLOCK]
        told = clock.work((at + len(block)) / SAMPLE_RATE, lambda block=block: live.push(block))
        if first is None and any(said.text.strip() for said in told):
            first = clock.now - speech_span(samples)[0]
    length = len(samples) / SAMPLE_RATE
    heard = clock.work(length, live.finish)
    return TimedHypothesis(heard, clock.compute, clock.now - length, first)


def time_turn_end(
    engine: Engine, samples: Samples, locale: str | None, pieces: float
) -> float | None:
    """Seconds from the end of speech to the final that ends the turn, without being told to.

    The clip is followed by the noise of a quiet room.  None where no final with text comes after
    the end of speech.
    """
    clock, live = _Clock(), engine.start_stream(locale, pieces)
    spoken = speech_span(samples)[1]
    room = np.random.default_rng(0).normal(0, _ROOM, round(_LONGEST_TURN_END * SAMPLE_RATE))
    heard = np.concatenate([samples, room.astype(np.float32)])
    for at in range(0, len(heard), _BLOCK):
        block = heard[at : at + _BLOCK]
        there = (at + len(block)) / SAMPLE_RATE
        told = clock.work(there, lambda block=block: live.push(block))
        if there >= spoken and any(said.final and said.text.strip() for said in told):
            return clock.now - spoken
    return None
