"""Admission control: estimates the load of live streams and admits new ones while it fits.

A step of n streams with f frames each takes about  fixed + each * n * f  seconds: the cost of
running the graph, and the cost of each row.  Both are measured from the steps themselves.  Streams
of one latency share their steps, so the load of all of them is known before another one is
admitted.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from wheatear.audio.mel import FRAME_MS, SAMPLE_RATE
from wheatear.errors import OverloadedError
from wheatear.recognizer.options import StreamOptions
from wheatear.recognizer.recognizer import Recognizer

_DECAY = 0.02
"""Weight of the newest measurement against all before it."""
_MAX_LATE_SHARE = 0.05
"""Share of late chunks above which no stream is admitted."""


class StepCostModel:
    """Line through rows and seconds of the measured steps; older ones fade."""

    def __init__(self) -> None:
        self._weight = self._rows = self._seconds = self._squares = self._products = 0.0

    def add(self, rows: int, seconds: float) -> None:
        """Adds a measured step.

        Args:
            rows: Frames of all streams of the step.
            seconds: Duration of the step.
        """
        keep = 1 - _DECAY
        self._weight = keep * self._weight + 1
        self._rows = keep * self._rows + rows
        self._seconds = keep * self._seconds + seconds
        self._squares = keep * self._squares + rows * rows
        self._products = keep * self._products + rows * seconds

    @property
    def line(self) -> tuple[float, float]:
        """Fixed seconds of a step, and seconds per row; neither is negative."""
        if not self._weight:
            return 0.0, 0.0
        mean_rows, mean_seconds = self._rows / self._weight, self._seconds / self._weight
        spread = self._squares / self._weight - mean_rows * mean_rows
        if spread <= 1e-9 * mean_rows * mean_rows:  # steps of one size: all of it by the row
            return 0.0, mean_seconds / mean_rows
        each = (self._products / self._weight - mean_rows * mean_seconds) / spread
        each = min(max(each, 0.0), mean_seconds / mean_rows)
        return mean_seconds - each * mean_rows, each

    def seconds(self, rows: int) -> float:
        """Returns the expected duration of a step."""
        fixed, each = self.line
        return fixed + each * rows

    def load(self, streams: Mapping[int, int]) -> float:
        """Returns the share of the time that live streams need.

        Args:
            streams: Number of streams by their frames per chunk.
        """
        return sum(
            self.seconds(count * frames) / (frames * FRAME_MS / 1000)
            for frames, count in streams.items()
            if count
        )


class LoadBudget:
    """Load that the live streams of all models on a machine may have; schedulers share it."""

    def __init__(self, max_load: float = 0.85) -> None:
        """Sets the share of the time, above 0; values above 1 accept lag."""
        self.max_load = max_load
        self._lock = threading.Lock()
        self._streams: dict[StepCostModel, Counter[int]] = {}

    def acquire(self, cost: StepCostModel, frames: int) -> bool:
        """Adds a stream with `frames` frames per chunk; returns False if the load is too high."""
        with self._lock:
            counts = self._streams.setdefault(cost, Counter())
            counts[frames] += 1
            others = sum(map(sum, (c.values() for c in self._streams.values()))) > 1
            if others and self._load() > self.max_load:
                counts[frames] -= 1
                return False
            return True

    def release(self, cost: StepCostModel, frames: int) -> None:
        """Removes a stream with `frames` frames per chunk."""
        with self._lock:
            self._streams[cost][frames] -= 1

    @property
    def load(self) -> float:
        """Share of the time that the admitted streams are expected to need."""
        with self._lock:
            return self._load()

    def _load(self) -> float:
        return sum(cost.load(counts) for cost, counts in self._streams.items())


class Admission:
    """Admits live streams of one recognizer while the machine has room for them."""

    def __init__(
        self,
        budget: LoadBudget,
        max_streams: int,
        on_rejected: Callable[[], None] = lambda: None,
    ) -> None:
        """Shares `budget` with the schedulers of other models on the machine."""
        self.cost = StepCostModel()
        self.budget = budget
        self._max_streams, self._on_rejected = max_streams, on_rejected
        self._lock = threading.Lock()
        self._streams = 0
        self._late_share = 0.0
        """Share of the last live chunks that were late."""

    @property
    def streams(self) -> int:
        """Number of admitted live streams."""
        return self._streams

    def admit(self, latency_ms: int) -> None:
        """Admits a stream.  Raises OverloadedError if the load is too high."""
        with self._lock:
            if self._streams >= self._max_streams:
                raise self._rejected(
                    f"{self._max_streams} live streams are open, as many as are allowed; try later"
                )
            late = self._late_share > _MAX_LATE_SHARE and self.budget.max_load <= 1
            if late or not self.budget.acquire(self.cost, latency_ms // FRAME_MS):
                raise self._rejected(
                    f"the streams that are open need all that this machine can do; another one of "
                    f"{latency_ms} ms would make them late. Try later, or a longer latency"
                )
            self._streams += 1

    def exchange(self, old_ms: int, new_ms: int) -> None:
        """Changes the latency of an admitted stream.  Raises OverloadedError."""
        self.budget.release(self.cost, old_ms // FRAME_MS)
        if not self.budget.acquire(self.cost, new_ms // FRAME_MS):
            self.budget.acquire(self.cost, old_ms // FRAME_MS)
            raise self._rejected(f"there is no room for a stream of {new_ms} ms; it stays as it is")

    def leave(self, latency_ms: int) -> None:
        """Removes an admitted stream."""
        self.budget.release(self.cost, latency_ms // FRAME_MS)
        with self._lock:
            self._streams -= 1
            if not self._streams:
                self._late_share = 0.0

    def record_lag(self, lag_s: float, latency_ms: int) -> None:
        """Records the time from the last sample of a live chunk to its events."""
        late = lag_s > latency_ms / 1000
        self._late_share += _DECAY * (late - self._late_share)

    def calibrate(self, recognizer: Recognizer) -> None:
        """Measures the cost of steps on noise, before the first stream."""
        noise = np.random.default_rng(0).normal(0, 0.01, 3 * SAMPLE_RATE).astype(np.float32)
        engine = recognizer.engine
        for latency_ms in recognizer.latencies_ms[:3]:
            for count in (1, 1, 4):
                options = StreamOptions(latency_ms=latency_ms)
                states = [engine.start(options) for _ in range(count)]
                for state in states:
                    engine.feed(state, noise[: 3 * latency_ms * SAMPLE_RATE // 1000])
                engine.step(states, engine.ready(states[0]))  # warms up
                began = time.perf_counter()
                engine.step(states, frames := engine.ready(states[0]))
                self.cost.add(frames * count, time.perf_counter() - began)

    def _rejected(self, message: str) -> OverloadedError:
        self._on_rejected()
        return OverloadedError(message)
