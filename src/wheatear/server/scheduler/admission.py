"""How much of the machine live streams take, from how long their steps took.

A step of n streams of f frames each takes about  fixed + each * n * f  seconds: what it costs to
run the graph at all, and what every row adds.  Both are measured as the steps go by.  Streams of
one latency share their steps, so the load of all of them is known before another one is let in.
"""

import threading
from collections import Counter
from collections.abc import Mapping

from wheatear.audio.mel import FRAME_MS

_FORGET = 0.02  # weight of the newest step against all before it


class StepCostModel:
    """The line through rows and seconds of the steps so far, older ones fading."""

    def __init__(self) -> None:
        self._weight = self._rows = self._seconds = self._squares = self._products = 0.0

    def measured(self, rows: int, seconds: float) -> None:
        """A step of so many frames, those of all streams together, took so long."""
        keep = 1 - _FORGET
        self._weight = keep * self._weight + 1
        self._rows = keep * self._rows + rows
        self._seconds = keep * self._seconds + seconds
        self._squares = keep * self._squares + rows * rows
        self._products = keep * self._products + rows * seconds

    @property
    def line(self) -> tuple[float, float]:
        """Seconds of a step whatever its size, and those that each row adds; neither negative."""
        if not self._weight:
            return 0.0, 0.0
        mean_rows, mean_seconds = self._rows / self._weight, self._seconds / self._weight
        spread = self._squares / self._weight - mean_rows * mean_rows
        if spread <= 1e-9 * mean_rows * mean_rows:  # steps of one size only: all of it by the row
            return 0.0, mean_seconds / mean_rows
        each = (self._products / self._weight - mean_rows * mean_seconds) / spread
        each = min(max(each, 0.0), mean_seconds / mean_rows)
        return mean_seconds - each * mean_rows, each

    def seconds(self, rows: int) -> float:
        """What a step of so many rows is expected to take."""
        fixed, each = self.line
        return fixed + each * rows

    def load(self, streams: Mapping[int, int]) -> float:
        """Share of the time that so many live streams of each number of frames a chunk need."""
        return sum(
            self.seconds(count * frames) / (frames * FRAME_MS / 1000)
            for frames, count in streams.items()
            if count
        )


class LoadBudget:
    """What live streams of all models on a machine may take together; shared by schedulers."""

    def __init__(self, most: float = 0.85) -> None:
        """most: share of the time, above 0, to 1 and beyond for who does not mind lag."""
        self.most = most
        self._lock = threading.Lock()
        self._streams: dict[StepCostModel, Counter[int]] = {}

    def acquire(self, cost: StepCostModel, frames: int) -> bool:
        """Lets in a stream of so many frames a chunk, if there is room for it."""
        with self._lock:
            counts = self._streams.setdefault(cost, Counter())
            counts[frames] += 1
            others = sum(map(sum, (c.values() for c in self._streams.values()))) > 1
            if others and self._load() > self.most:
                counts[frames] -= 1
                return False
            return True

    def release(self, cost: StepCostModel, frames: int) -> None:
        """A stream of so many frames has ended."""
        with self._lock:
            self._streams[cost][frames] -= 1

    @property
    def load(self) -> float:
        """Share of the time that the streams that are in are expected to need."""
        with self._lock:
            return self._load()

    def _load(self) -> float:
        return sum(cost.load(counts) for cost, counts in self._streams.items())
