"""Number of live streams that a server sustains with a 99th percentile of lag below one chunk."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from wheatear.bench.client import play
from wheatear.errors import BenchError

_MAX_STREAMS = 1024


@dataclass(frozen=True)
class Trial:
    """A number of streams of one latency, played once."""

    streams: int
    latency_ms: int
    lag_ms_p50: float
    lag_ms_p95: float
    lag_ms_p99: float
    refused: int
    lost: int

    @property
    def kept_up(self) -> bool:
        """True if all streams were accepted and answered within the time of one chunk."""
        return not self.refused and not self.lost and self.lag_ms_p99 < self.latency_ms

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"kept_up": self.kept_up}


def run_trial(url: str, streams: int, latency_ms: int, seconds: float) -> Trial:
    """Plays streams once.  Raises BenchError if no answer has a lag to measure."""
    result = asyncio.run(play(url, streams, latency_ms, seconds))
    if not result.lags and not result.refused and not result.lost:
        raise BenchError("the model recognized nothing of the speech: there is no lag to measure")
    p50, p95, p99 = (round(result.percentile_ms(q), 1) for q in (50, 95, 99))
    return Trial(streams, latency_ms, p50, p95, p99, result.refused, result.lost)


def find_capacity(trial_of: Callable[[int], Trial]) -> Trial | None:
    """The trial with the most streams that kept up; None if one stream did not.

    Doubles the number of streams until a trial is late, then halves the gap to a twentieth of the
    number. A trial with only a few late answers is repeated: a shared machine stalls at times.
    """
    best: Trial | None = None
    low, streams = 0, 1
    failed: int | None = None
    while streams <= _MAX_STREAMS:
        trial = trial_of(streams)
        if not trial.kept_up and trial.lag_ms_p95 < trial.latency_ms:
            trial = trial_of(streams)
        if trial.kept_up:
            best, low = trial, streams
        else:
            failed = streams
        if failed is None:
            streams *= 2
        elif failed - low <= max(1, low // 20):
            break
        else:
            streams = (low + failed) // 2
    return best


@contextmanager
def start_server(
    model: str | None, threads: int | None, tokens_per_s: float | None
) -> Iterator[str]:
    """Runs a server without limits within the block and yields its URL.  Raises BenchError.

    `tokens_per_s` is a forced token rate; None keeps the decisions of the model.
    """
    program = ["wheatear"]
    if tokens_per_s is not None:
        program = ["wheatear.cli.bench_speaker", str(tokens_per_s)]
    command = [sys.executable, "-m", *program, "serve", "--port", "0"]
    command += ["--model", model] if model else []
    command += ["--threads", str(threads)] if threads else []
    settings = {
        "LOAD": "1000", "LIMITS_STREAMS": str(_MAX_STREAMS), "LOG_LEVEL": "error",
        "LIMITS_STREAMS_PER_KEY": str(_MAX_STREAMS), "LIMITS_REQUESTS_PER_MINUTE": "1000000",
    }  # fmt: skip
    environment = {f"WHEATEAR_SERVE_{name}": value for name, value in settings.items()}
    process = subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, text=True, env=os.environ | environment
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if "listens on" not in line:
            raise BenchError("the server to measure did not start")
        yield line.split()[-1]
    finally:
        process.terminate()
        process.wait(30)
