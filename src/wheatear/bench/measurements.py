"""What is measured, what one process found, and what all rounds of it come to."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

OURS, ONNXRUNTIME, NEMO, SHERPA = "wheatear", "onnxruntime", "nemo", "sherpa"
NEMO_CPP = "nemo-speech-cpp"
"""Engines: Wheatear, the same without wheatear-native, NeMo, sherpa-onnx, NeMo-Speech.cpp."""
STAGES = ("mel", "encoder", "predictor", "joint", "Python")


@dataclass(frozen=True)
class Setting:
    """One configuration of one engine."""

    engine: str
    model: str
    precision: str
    latency_ms: int
    streams: int
    threads: int
    seconds: float
    """Of audio, for each stream, that count."""
    whole: bool = False
    """A file of so many seconds, instead of streams."""
    tokens_per_s: float | None = None
    """How many tokens a second of audio is made to bring; None: those that the weights find."""

    @property
    def load(self) -> str:
        """How much at a time, with how much: 8 streams, 2 threads."""
        counts = {"stream": self.streams, "thread": self.threads}
        return ", ".join(f"{n} {what}{'s' * (n > 1)}" for what, n in counts.items())


@dataclass(frozen=True)
class Taken:
    """What one process found."""

    chunk_ms: tuple[float, ...]
    """Of each chunk of all streams together; of a file, of the file."""
    audio_s: float
    """Seconds of audio in those chunks, of all streams."""
    cpu_s: float
    """Processor time of the chunks, of all threads."""
    tokens: int
    load_s: float
    peak_rss_mb: float
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds in each stage; empty where it cannot be told."""
    load_average: float = 0.0
    """Of the machine, just before."""

    @property
    def wall_s(self) -> float:
        return sum(self.chunk_ms) / 1000


@dataclass(frozen=True)
class Run:
    """All rounds of one setting."""

    setting: Setting
    rounds: tuple[Taken, ...]

    @property
    def chunk_ms(self) -> float:
        """Median time of a chunk in the round that was disturbed least, for ratios."""
        return min(float(np.median(taken.chunk_ms)) for taken in self.rounds)

    @property
    def rtfx(self) -> float:
        """Seconds of audio, of all streams, that a second computes."""
        return self._sum("audio_s") / self._sum("wall_s")

    def percentiles(self, *shares: float) -> list[float]:
        """Of the times of all chunks of all rounds, in milliseconds."""
        times = np.concatenate([taken.chunk_ms for taken in self.rounds])
        return [float(value) for value in np.percentile(times, shares)]

    @property
    def shares(self) -> dict[str, float]:
        """Of the time, by stage; empty where it cannot be told."""
        total = self._sum("wall_s")
        stages = {
            stage: sum(taken.stages.get(stage, 0.0) for taken in self.rounds) / total
            for stage in STAGES
        }
        return stages if any(stages.values()) else {}

    def to_json(self) -> dict[str, Any]:
        p50, p95, p99 = self.percentiles(50, 95, 99)
        result = asdict(self.setting)
        if self.setting.whole:
            result |= {"file_ms_p50": p50}
        else:
            result |= {"chunk_ms_p50": p50, "chunk_ms_p95": p95, "chunk_ms_p99": p99}
            result |= {"chunk_ms_best_p50": self.chunk_ms}
        return result | {
            "chunks": sum(len(taken.chunk_ms) for taken in self.rounds),
            "rtfx": self.rtfx,
            "cpu_s_per_audio_s": self._sum("cpu_s") / self._sum("audio_s"),
            "peak_rss_mb": max(taken.peak_rss_mb for taken in self.rounds),
            "load_s": min(taken.load_s for taken in self.rounds),
            "tokens_per_audio_s": self._sum("tokens") / self._sum("audio_s"),
            "shares": self.shares,
            "rounds": [
                {
                    "ms_p50": float(np.median(taken.chunk_ms)),
                    "rtfx": taken.audio_s / taken.wall_s,
                    "load_s": taken.load_s,
                    "load_average": taken.load_average,
                }
                for taken in self.rounds
            ],
        }

    def _sum(self, name: str) -> float:
        return sum(getattr(taken, name) for taken in self.rounds)


def comparable(one: Setting, other: Setting) -> bool:
    """Whether two engines do the same; peers have a precision of their own."""
    same = ("latency_ms", "streams", "threads")
    same += ("precision",) if other.engine == ONNXRUNTIME else ()
    return all(getattr(one, name) == getattr(other, name) for name in same)


def ratio(run: Run, other: Run) -> float:
    """How many times quicker `run` is than `other`, by chunk; of files, in all."""
    return other.chunk_ms / run.chunk_ms
