"""How many live streams a machine sustains: the most whose 99th percentile of lag is below one
chunk, found by playing more and fewer of them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from wheatear.bench.client import Heard, play
from wheatear.errors import BenchError

_MOST = 1024


@dataclass(frozen=True)
class Trial:
    """So many streams of one latency, played once."""

    streams: int
    latency_ms: int
    lag_ms_p50: float
    lag_ms_p95: float
    lag_ms_p99: float
    refused: int
    lost: int

    @property
    def kept_up(self) -> bool:
        """Whether all of it was answered within one chunk's time."""
        return not self.refused and not self.lost and self.lag_ms_p99 < self.latency_ms

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"kept_up": self.kept_up}


def try_streams(url: str, streams: int, latency_ms: int, seconds: float) -> Trial:
    """Plays so many streams.  Raises BenchError, also where nothing was said that could be late."""
    heard: Heard = asyncio.run(play(url, streams, latency_ms, seconds))
    if not heard.lags and not heard.refused and not heard.lost:
        raise BenchError(
            "the model said nothing of the speech that was played, so there is no lag to measure"
        )
    p50, p95, p99 = (round(heard.percentile(q), 1) for q in (50, 95, 99))
    return Trial(streams, latency_ms, p50, p95, p99, heard.refused, heard.lost)


def sustained(
    url: str, latency_ms: int, seconds: float, on_trial: Callable[[Trial], None]
) -> Trial | None:
    """The trial of the most streams that are kept up with; None if not even one is.

    Doubles their number until they are late, then halves the gap, to a twentieth of it.  Where
    most answers came in time and a few did not, it is played once more: a machine that is shared
    stumbles now and then.
    """
    best: Trial | None = None
    few, many = 0, 1
    failed: int | None = None
    while many <= _MOST:
        trial = try_streams(url, many, latency_ms, seconds)
        on_trial(trial)
        if not trial.kept_up and trial.lag_ms_p95 < latency_ms:
            trial = try_streams(url, many, latency_ms, seconds)
            on_trial(trial)
        if trial.kept_up:
            best, few = trial, many
        else:
            failed = many
        if failed is None:
            many *= 2
        elif failed - few <= max(1, few // 20):
            break
        else:
            many = (few + failed) // 2
    return best


@contextmanager
def served(model: str | None, threads: int | None, tokens: float | None) -> Iterator[str]:
    """A server of one's own that refuses nobody; its address.  Raises BenchError.

    tokens: how many its model says a second, whatever its weights say; None leaves it alone.
    """
    program = ["wheatear"] if tokens is None else ["wheatear.cli.bench_speaker", str(tokens)]
    command = [sys.executable, "-m", *program, "serve", "--port", "0"]
    command += ["--model", model] if model else []
    command += ["--threads", str(threads)] if threads else []
    unbounded = {"WHEATEAR_SERVE_LOAD": "1000", "WHEATEAR_SERVE_LIMITS_STREAMS": str(_MOST)}
    unbounded["WHEATEAR_SERVE_LIMITS_STREAMS_PER_KEY"] = str(_MOST)
    unbounded["WHEATEAR_SERVE_LIMITS_REQUESTS_PER_MINUTE"] = "1000000"
    unbounded["WHEATEAR_SERVE_LOG_LEVEL"] = "error"
    process = subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, text=True, env=os.environ | unbounded
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if "listens on" not in line:
            raise BenchError("the server that was to be measured did not start")
        yield line.split()[-1]
    finally:
        process.terminate()
        process.wait(30)
