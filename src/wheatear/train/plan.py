"""The configuration file of a training run: sizes, schedule, and the stages of the corpus."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wheatear.train.data import Recipe


@dataclass(frozen=True)
class Stage:
    """One part of the schedule."""

    until: float
    """Share of the training time at which the stage ends."""
    recipe: Recipe
    lookaheads: tuple[int, ...]
    """Drawn per batch, frames."""


@dataclass(frozen=True)
class Plan:
    """The configuration file."""

    name: str
    seed: int
    pieces: int
    minutes: float
    """Training time; the schedule follows the clock, so that it always finishes."""
    rate: float
    """Peak learning rate."""
    warmup: int
    """Steps of linear warm-up."""
    hold: float
    """Share of the time until which the rate stays at its peak; then it falls to 1 %."""
    ctc: float
    """Weight of the CTC head against the transducer's one minus it."""
    forget: float
    """Share of the predictor's tokens that are hidden, so that the encoder has to hear."""
    frame_until: float
    """Share of the time at which frame supervision has faded out."""
    licence: str
    notice: str
    network: dict[str, Any]
    stages: tuple[Stage, ...] = field(default=())

    @classmethod
    def read(cls, path: Path) -> Plan:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        stages = []
        for entry in values.pop("stage"):
            until, lookaheads = entry.pop("until"), tuple(entry.pop("lookaheads"))
            stages.append(Stage(until, Recipe(**entry), lookaheads))
        return cls(**values, stages=tuple(stages))

    def learning_rate(self, step: int, progress: float) -> float:
        falling = (1 - progress) / (1 - self.hold)
        return self.rate * min(1.0, (step + 1) / self.warmup) * min(1.0, max(0.01, falling))
