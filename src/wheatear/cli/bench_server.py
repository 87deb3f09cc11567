"""`wheatear bench serve`: number of live streams that a server sustains."""

import json as jsonlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from wheatear.bench.capacity import Trial, find_capacity, run_trial, start_server
from wheatear.bench.machine import describe_machine
from wheatear.bench.random_model import random_bundles
from wheatear.bench.token_rate import SPEECH
from wheatear.cli.bench import Names, Numbers
from wheatear.cli.progress import show_steps
from wheatear.errors import BenchError
from wheatear.model.store import find_bundle
from wheatear.recognizer.loading import describe_model


def serve(
    *,
    random: str | None = None,
    model: Names = (),
    precision: Names = (),
    url: str | None = None,
    latency: Numbers = (),
    streams: Numbers = (),
    threads: int | None = None,
    tokens: float | None = None,
    seconds: float = 20.0,
    json: Path | None = None,
) -> None:
    """Measure the number of live streams that a server sustains.

    Each listed number of streams sends speech over /ws in real time. If none is listed, a search
    finds the largest number whose 99th percentile of lag is below one chunk. Lag is the time from
    sending an audio block to receiving the new words that depend on it. The client runs on the same
    machine and uses part of it.

    Parameters
    ----------
    random
        Random weights in the shapes of "nemotron-3.5" or "nemotron-en", as for "wheatear bench".
    model
        Bundles by path or name, served one after another; default: the shipped model.
    precision
        Precisions of random weights: fp32, int8, int4; several as int4,int8; default: int4.
    url
        URL of a running server, whose own limits apply.
    latency
        Milliseconds of a chunk, such as 80,560; default: all latencies of the model.
    streams
        Numbers of concurrent streams, such as 1,8,16; default: search for the largest.
    threads
        Number of threads of a step.
    tokens
        Tokens emitted per second, independent of the weights; default: 3 for random weights, the
        recognized tokens for a model.
    seconds
        Seconds of a trial.
    json
        File for all trials.
    """
    if seconds < 5:
        raise BenchError("give at least 5 seconds: the first three of a stream are not measured")
    if url is not None and (random or model or threads or tokens):
        raise BenchError("a running server has its own model and threads; leave these options out")
    if random is not None:
        if model:
            raise BenchError("give --random or --model, not both")
        with show_steps() as show:
            paths = random_bundles(random, precision or ("int4",), show)
        model, tokens = tuple(map(str, paths)), SPEECH if tokens is None else tokens
    elif precision:
        raise BenchError("a model has the precision it was converted to: give no --precision")
    console = Console()
    runs: list[dict[str, Any]] = []
    for name in model or (None,):
        manifest = describe_model(find_bundle(name)).manifest
        known = tuple(mode.latency_ms for mode in manifest.modes)
        if url is None and (unknown := [ms for ms in latency if ms not in known]):
            raise BenchError(f"{manifest.name} has no {unknown[0]} ms; it has {known}")
        head = {"model": manifest.name, "precision": manifest.precision, "threads": threads}
        head = {"url": url} if url else head
        with nullcontext(url) if url else start_server(name, threads, tokens) as address:
            for ms in latency or known:
                trials = _trials(address, ms, streams, seconds, console)
                runs += [head | trial.to_json() for trial in trials]
    _print(console, runs)
    if json is not None:
        text = jsonlib.dumps({"machine": describe_machine(), "trials": runs}, indent=1)
        json.write_text(text + "\n", encoding="utf-8")


def _trials(
    url: str, latency_ms: int, streams: tuple[int, ...], seconds: float, console: Console
) -> list[Trial]:
    trials: list[Trial] = []

    def trial_of(count: int) -> Trial:
        trial = run_trial(url, count, latency_ms, seconds)
        trials.append(trial)
        late = "" if trial.kept_up else "  late"
        late = f"  {trial.refused} rejected" if trial.refused else late
        console.print(
            f"{latency_ms} ms, {trial.streams} streams: lag {trial.lag_ms_p50:g} ms (median), "
            f"{trial.lag_ms_p99:g} ms (99th percentile){late}",
            highlight=False,
        )
        return trial

    if streams:
        for count in streams:
            trial_of(count)
    else:
        find_capacity(trial_of)
    return trials


def _print(console: Console, runs: list[dict[str, Any]]) -> None:
    """Prints the largest number of streams that kept up, by model and latency."""
    table = Table("model", "latency", "streams", "lag p50", "p95", "p99", box=None)
    best: dict[tuple[Any, int], dict[str, Any]] = {}
    for run in runs:
        key = run.get("model", run.get("url")), run["latency_ms"]
        known = best.setdefault(key, run)
        if run["kept_up"] and (not known["kept_up"] or run["streams"] > known["streams"]):
            best[key] = run
    for (name, ms), run in best.items():
        count = str(run["streams"]) if run["kept_up"] else "none"
        lags = (f"{run[f'lag_ms_p{q}']:g} ms" for q in (50, 95, 99))
        table.add_row(f"{name} {run.get('precision', '')}", f"{ms} ms", count, *lags)
    console.print(table)
