"""Engines with made-up answers and compute times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wheatear.audio.samples import Samples
from wheatear.errors import WheatearError
from wheatear.evaluate.engines.engine import (
    Engine,
    EngineInfo,
    Hypothesis,
    PartialHypothesis,
    StreamingSession,
)

WORK = 0.1  # seconds of the made-up clock for each call


class Clock:
    """Time that passes only during the work of an engine."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeEngine(Engine):
    """Returns a text by the length of the audio in tenths of a second."""

    detects = True

    def __init__(
        self, clock: Clock, texts: dict[int, str], name: str = "fake", precision: str = "int8"
    ) -> None:
        self.name = name
        self.info = EngineInfo("made up", precision, None, 1_000_000, 7, "first weights")
        self.clock, self.texts = clock, texts
        self.calls: list[tuple[int, str | None]] = []

    def language_for(self, locale: str) -> str | None:
        return None if locale == "xx-XX" else locale

    def transcribe(self, samples: Samples, locale: str | None) -> Hypothesis:
        tenths = round(len(samples) / 1600)
        self.calls.append((tenths, locale))
        self.clock.now += WORK
        if tenths == 13:
            raise WheatearError("thirteen brings bad luck")
        return Hypothesis(self.texts.get(tenths, ""), None if locale else "en")


class StreamingFakeEngine(FakeEngine):
    """Emits a partial with each loud block, and a final half a second after the last one."""

    def start_stream(self, locale: str | None, window_s: float) -> StreamingSession:
        return _Session(self, locale)


class _Session(StreamingSession):
    def __init__(self, engine: StreamingFakeEngine, locale: str | None) -> None:
        self._engine, self._locale = engine, locale
        self._blocks: list[Samples] = []
        self._quiet = 0

    def push(self, samples: Samples) -> Sequence[PartialHypothesis]:
        self._engine.clock.now += 0.001
        loud, before = np.abs(samples).max() > 0.1, self._quiet
        self._blocks.append(samples)
        self._quiet = 0 if loud else self._quiet + len(samples)
        if loud:
            return [PartialHypothesis("partial")]
        is_end = before < 8_000 <= self._quiet
        return [PartialHypothesis("all", final=True)] if is_end else []

    def finish(self) -> Hypothesis:
        return self._engine.transcribe(np.concatenate(self._blocks), self._locale)


def tone(tenths: int) -> Samples:
    """A tone of tenths of a second, which include a tenth of silence at either end."""
    samples = np.zeros(tenths * 1600, np.float32)
    samples[1600:-1600] = 0.5 * np.sin(np.arange(len(samples) - 3200) / 5)
    return samples


TEXTS = {5: "One two free", 6: "Four five six. Seven", 7: "Bonjour le monde!", 8: "salut", 9: "?"}
