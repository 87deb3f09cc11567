"""Settings, the measurement of one process, and the statistics of all rounds."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

WHEATEAR, ONNXRUNTIME = "wheatear", "onnxruntime"
"""Names of engines: Wheatear, and Wheatear without wheatear-native."""
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
    """Seconds of measured audio per stream."""
    whole: bool = False
    """True to transcribe one file instead of live streams."""
    tokens_per_s: float | None = None
    """Tokens emitted per second of audio; None keeps the decisions of the model."""

    @property
    def size(self) -> str:
        """Batch and threads for people, such as "8 streams, 2 threads"."""
        counts = {"stream": self.streams, "thread": self.threads}
        return ", ".join(f"{n} {unit}{'s' * (n > 1)}" for unit, n in counts.items())


@dataclass(frozen=True)
class Measurement:
    """One measurement of a setting, by one process."""

    chunk_ms: tuple[float, ...]
    """Time of each chunk of all streams, or of the file."""
    audio_s: float
    """Seconds of audio in the chunks, summed over streams."""
    cpu_s: float
    """Processor time of the chunks, summed over threads."""
    tokens: int
    load_s: float
    peak_rss_mb: float
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds by stage; empty if the engine does not report stages."""
    load_average: float = 0.0
    """Load average of the machine before the measurement."""

    @property
    def wall_s(self) -> float:
        """Wall time of the chunks."""
        return sum(self.chunk_ms) / 1000


@dataclass(frozen=True)
class Run:
    """All rounds of one setting."""

    setting: Setting
    rounds: tuple[Measurement, ...]

    @property
    def chunk_ms(self) -> float:
        """Median time of a chunk in the fastest round: the basis of ratios."""
        return min(float(np.median(one.chunk_ms)) for one in self.rounds)

    @property
    def rtfx(self) -> float:
        """Seconds of audio, summed over streams, computed per second."""
        return self._total("audio_s") / self._total("wall_s")

    def percentiles(self, *shares: float) -> list[float]:
        """Percentiles of the chunk times of all rounds, in milliseconds."""
        times = np.concatenate([one.chunk_ms for one in self.rounds])
        return [float(value) for value in np.percentile(times, shares)]

    @property
    def shares(self) -> dict[str, float]:
        """Shares of the time by stage; empty if the engine does not report stages."""
        if not any(one.stages for one in self.rounds):
            return {}
        spent = {stage: sum(one.stages.get(stage, 0.0) for one in self.rounds) for stage in STAGES}
        return {stage: seconds / self._total("wall_s") for stage, seconds in spent.items()}

    def to_json(self) -> dict[str, Any]:
        """The run with its statistics, as written by `--json`."""
        p50, p95, p99 = self.percentiles(50, 95, 99)
        result = asdict(self.setting)
        if self.setting.whole:
            result |= {"file_ms_p50": p50}
        else:
            result |= {"chunk_ms_p50": p50, "chunk_ms_p95": p95, "chunk_ms_p99": p99}
            result |= {"chunk_ms_best_p50": self.chunk_ms}
        return result | {
            "chunks": sum(len(one.chunk_ms) for one in self.rounds),
            "rtfx": self.rtfx,
            "cpu_s_per_audio_s": self._total("cpu_s") / self._total("audio_s"),
            "peak_rss_mb": max(one.peak_rss_mb for one in self.rounds),
            "load_s": min(one.load_s for one in self.rounds),
            "tokens_per_audio_s": self._total("tokens") / self._total("audio_s"),
            "shares": self.shares,
            "rounds": [
                {
                    "ms_p50": float(np.median(one.chunk_ms)),
                    "rtfx": one.audio_s / one.wall_s,
                    "load_s": one.load_s,
                    "load_average": one.load_average,
                }
                for one in self.rounds
            ],
        }

    def _total(self, name: str) -> float:
        return sum(getattr(one, name) for one in self.rounds)


def are_comparable(one: Setting, other: Setting) -> bool:
    """True if both do the same work; only onnxruntime must have the same precision."""
    same = ("latency_ms", "streams", "threads")
    same += ("precision",) if other.engine == ONNXRUNTIME else ()
    return all(getattr(one, name) == getattr(other, name) for name in same)


def speed_ratio(run: Run, other: Run) -> float:
    """Speed of `run` in multiples of the speed of `other`."""
    return other.chunk_ms / run.chunk_ms
