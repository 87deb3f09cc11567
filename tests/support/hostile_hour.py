"""An hour of hostile input next to streams that must not be affected.

    python tests/support/hostile_hour.py --minutes 60
    python tests/support/hostile_hour.py --hours 24

Several processes attack a server with default limits, with privileged keys and without keys. Good
streams run next to them at the pace of speech. The report has the delay of words before and during
the attacks, errors in the text, and the resources of the server over time. The exit code is 1 if
one of these exceeds its bound.
"""

import argparse
import contextlib
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import fmean

import attacks
import numpy as np
import raw_socket as raw
from good_stream import Answers, speak
from server_process import Server, running

from wheatear.audio.reader import sample_speech
from wheatear.server.access.keys import make_key


@dataclass(frozen=True)
class Bounds:
    """The most that the attacks may make of anything."""

    memory: float = 900.0
    """MB of the process at any look: the models, `limits.buffer_bytes` twice, and phrases."""
    growth: float = 100.0
    """MB by which the last third of a run may be above its middle third, on the average."""
    left_memory: float = 700.0
    """MB when all have gone, with what the C library keeps."""
    descriptors: int = 8
    threads: int = 8
    """More than before, when all have gone."""
    lag_p50: float = 0.16
    lag_p99: float = 1.0
    """Seconds that a chunk is behind, by the server's own count."""
    wait_p99: float = 2.0
    """Seconds from the end of a word to its text, by the clients'."""


_BOUNDS = fields(Bounds)
LATENCY = 160  # of the good streams, which no attacker uses
_LOOK = 5.0  # seconds between looks at what the server holds


@dataclass
class Report:
    """Results of the hour."""

    quiet: list[float] = field(default_factory=list)
    """Seconds that words waited for their text when there were no attacks."""
    hostile: list[float] = field(default_factory=list)
    lag_quiet: dict[float, float] = field(default_factory=dict)
    """The server's own histogram of lag: bound -> chunks up to it."""
    lag_hostile: dict[float, float] = field(default_factory=dict)
    good_streams: int = 0
    texts_that_differ: int = 0
    not_let_in: int = 0
    """Times that a good stream found all room taken, and came again a second later."""
    faults: list[str] = field(default_factory=list)
    attacks: int = 0
    attacks_by_name: dict[str, int] = field(default_factory=dict)
    used: list[dict[str, float]] = field(default_factory=list)
    """Descriptors, threads, memory and places, as time went by."""
    left: dict[str, float] = field(default_factory=dict)
    """Resources still in use after all clients left."""
    tracebacks: int = 0
    refused: dict[str, float] = field(default_factory=dict)
    exit_code: int | None = None

    def broken(self, bounds: Bounds) -> list[str]:
        """Violated bounds, a line each."""
        memory = [used["memory"] for used in self.used]
        before, after = self.used[0], self.used[-1]
        third = len(memory) // 3
        growth = fmean(memory[-third:]) - fmean(memory[third:-third]) if third > 20 else 0.0
        measured = {
            "MB at the most": (max(memory), bounds.memory),
            "MB in the end": (memory[-1], bounds.left_memory),
            "MB more in the last third": (growth, bounds.growth),
            **{
                f"{name} more than before": (after[name] - before[name], getattr(bounds, name))
                for name in ("descriptors", "threads")
            },
            "s of lag, p50": (quantile(self.lag_hostile, 0.5), bounds.lag_p50),
            "s of lag, p99": (quantile(self.lag_hostile, 0.99), bounds.lag_p99),
            "s from word to text, p99": (float(np.quantile(self.hostile, 0.99)), bounds.wait_p99),
            "texts that differ": (self.texts_that_differ, 0),
            "faults": (len(self.faults), 0),
            "places held": (sum(self.left.values()), 0),
            "tracebacks": (self.tracebacks, 0),
            "exit code": (abs(self.exit_code or 0), 0),
        }
        return [
            f"{value:.6g} {what}; {most:g} may be"
            for what, (value, most) in measured.items()
            if not value <= most
        ]


def run(minutes: float, quiet_seconds: float, attackers: int, streams: int) -> Report:
    """The whole of it.  streams: good ones, at a time."""
    report = Report()
    spoken = np.round(np.tile(sample_speech(), 2) * 32767).astype(np.int16)
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys.toml"
        good = make_key(keys, "good", requests_per_minute=100_000)
        bad = [
            make_key(keys, f"bad {n}", streams=20, requests_per_minute=20_000)
            for n in range(attackers)
        ]
        with running("--api-key-file", str(keys)) as server:
            server.key = good
            address = f"{server.ws}/ws?latency={LATENCY}"
            first = Answers()
            speak(address, spoken, first, good, pace=0)
            (expected,) = first.texts
            _look(server, report)
            before = _lags(server)
            report.quiet = _spoken(address, good, spoken, streams, quiet_seconds, report, expected)
            between = _lags(server)
            report.lag_quiet = _less(between, before)
            stop = threading.Event()
            watcher = threading.Thread(target=_watch, args=(server, report, stop))
            watcher.start()
            processes = [_attacker(server.port, key, 60 * minutes) for key in bad]
            report.hostile = _spoken(address, good, spoken, streams, 60 * minutes, report, expected)
            report.lag_hostile = _less(_lags(server), between)
            for process in processes:
                out, _ = process.communicate(timeout=600)
                for name in out.split():
                    report.attacks += 1
                    report.attacks_by_name[name] = report.attacks_by_name.get(name, 0) + 1
            stop.set()
            watcher.join()
            _settle(server, report)
            report.exit_code = server.stop()
            report.tracebacks = server.log.count("Traceback")
    return report


def _attacker(port: int, key: str, seconds: float) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, "--attack", str(port), key, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def _attack(port: int, key: str, seconds: float) -> None:
    """One attacker: anything, all the time, with its key and without one."""
    os.nice(10)  # it is the server's processor that is at stake here, and not the clients' own
    chance = random.Random(key)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        name = chance.choice(list(attacks.ALL))
        raw.KEY = key if chance.random() < 0.8 else ""
        raw.SOURCE = f"127.0.0.{chance.randrange(2, 250)}"
        with contextlib.suppress(Exception):  # being refused is what it has to expect
            attacks.ALL[name](port)
        print(name, flush=True)


def _spoken(
    address: str,
    key: str,
    samples: np.ndarray,
    streams: int,
    seconds: float,
    report: Report,
    expected: str,
) -> list[float]:
    """Runs several streams for `seconds`; returns how long each word waited."""
    answers = [Answers() for _ in range(streams)]
    end = time.monotonic() + seconds

    def go_on(mine: Answers) -> None:
        while time.monotonic() < end:
            before = mine.refused
            speak(address, samples, mine, key)
            time.sleep(mine.refused - before)

    threads = [threading.Thread(target=go_on, args=(mine,)) for mine in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine in answers:
        report.good_streams += len(mine.texts)
        report.texts_that_differ += sum(text != expected for text in mine.texts)
        report.faults += mine.faults
        report.not_let_in += mine.refused
    return [wait for mine in answers for wait in mine.waits]


def _watch(server: Server, report: Report, stop: threading.Event) -> None:
    while not stop.wait(_LOOK):
        _look(server, report)


def _look(server: Server, report: Report) -> None:
    names = ("sockets", "files", "streams")
    places = {name: server.metric(f"wheatear_{name}") for name in names}
    report.used.append(server.used() | places)


def _settle(server: Server, report: Report) -> None:
    """Waits until all is given back; what is not is reported."""
    end = time.monotonic() + 120
    names = ("wheatear_sockets", "wheatear_files", "wheatear_streams")
    while left := {name: held for name in names if (held := server.metric(name))}:
        if time.monotonic() > end:
            break
        time.sleep(0.5)
    report.left = left
    _look(server, report)
    for line in server.get("/metrics")[1].splitlines():
        if match := re.fullmatch(r'wheatear_refused_total\{reason="(\w+)"\} (\S+)', line):
            report.refused[match[1]] = float(match[2])


def _lags(server: Server) -> dict[float, float]:
    """Bound -> chunks of good streams whose lag was no longer, by /metrics."""
    lags = {}
    pattern = r"wheatear_lag_seconds_bucket\{(.*)\} (\S+)"
    for line in server.get("/metrics")[1].splitlines():
        match = re.fullmatch(pattern, line)
        if match and f'latency_ms="{LATENCY}"' in match[1]:
            bound = float(re.search('le="(.*?)"', match[1])[1].replace("+Inf", "inf"))
            lags[bound] = float(match[2])
    return lags


def _less(lags: Mapping[float, float], before: Mapping[float, float]) -> dict[float, float]:
    return {bound: count - before.get(bound, 0.0) for bound, count in lags.items()}


def quantile(lags: Mapping[float, float], share: float) -> float:
    """The bound below which that share of the chunks is, between bounds in proportion."""
    bounds = sorted(lags)
    wanted, low, below = share * lags[bounds[-1]], 0.0, 0.0
    for bound in bounds:
        if lags[bound] >= wanted:
            if bound == float("inf"):
                return low
            return low + (bound - low) * (wanted - below) / max(lags[bound] - below, 1e-9)
        low, below = bound, lags[bound]
    return low


def _print(report: Report) -> None:
    print(f"{report.attacks} attacks of {len(report.attacks_by_name)} kinds")
    print(
        f"{report.good_streams} good streams, {report.texts_that_differ} with another text, "
        f"{len(report.faults)} faults {report.faults[:3]}, {report.not_let_in} times no room"
    )
    for name, waits, lags in (
        ("quiet", report.quiet, report.lag_quiet), ("hostile", report.hostile, report.lag_hostile)
    ):  # fmt: skip
        print(
            f"{name:8} word to text p50 {_ms(np.quantile(waits, 0.5))} p99 "
            f"{_ms(np.quantile(waits, 0.99))} (clients, {len(waits)} words); lag of a chunk p50 "
            f"{_ms(quantile(lags, 0.5))} p99 {_ms(quantile(lags, 0.99))} (server, "
            f"{max(lags.values()):.0f} chunks of {LATENCY} ms)"
        )
    shown = report.used[:: max(1, len(report.used) // 12)]
    for name in report.used[0]:
        row = " ".join(f"{used[name]:.0f}" for used in (*shown, report.used[-1]))
        print(f"{name:12} {row}")
    print("refused:", ", ".join(f"{name} {count:.0f}" for name, count in report.refused.items()))
    print(
        f"left held: {report.left or 'nothing'}; tracebacks in the log: {report.tracebacks}; exit "
        f"code after SIGTERM: {report.exit_code}"
    )


def _ms(seconds: float) -> str:
    return f"{1000 * float(seconds):.0f} ms"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=60.0)
    length.add_argument("--hours", type=float)
    parser.add_argument("--quiet-seconds", type=float, default=60.0)
    parser.add_argument("--attackers", type=int, default=3)
    parser.add_argument("--streams", type=int, default=4, help="good ones at a time")
    for bound in _BOUNDS:
        parser.add_argument(
            f"--most-{bound.name.replace('_', '-')}", type=float, default=bound.default
        )
    parser.add_argument("--attack", nargs=3, metavar=("PORT", "KEY", "SECONDS"))
    options = parser.parse_args(arguments)
    if options.attack:
        port, key, seconds = options.attack
        _attack(int(port), key, float(seconds))
        return 0
    minutes = options.minutes if options.hours is None else 60 * options.hours
    report = run(minutes, options.quiet_seconds, options.attackers, options.streams)
    _print(report)
    broken = report.broken(Bounds(**{b.name: getattr(options, f"most_{b.name}") for b in _BOUNDS}))
    print("\n".join(f"BROKEN: {line}" for line in broken) or "all within bounds")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
