"""Speed as tables for a terminal, and as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from wheatear.bench.measurements import STAGES, WHEATEAR, Run, are_comparable, speed_ratio

_COSTS = ("x real time", "CPU s per s", "peak MB", "load s", "tokens/s")


def write_json(path: Path, runs: Sequence[Run], machine: dict[str, Any]) -> None:
    """Writes a list of runs, each with the machine.  Raises OSError."""
    data = [run.to_json() | {"machine": machine} for run in runs]
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def print_report(console: Console, runs: Sequence[Run], machine: dict[str, Any]) -> None:
    """Prints the machine, a line per run, shares of stages, and ratios to other engines."""
    console.print(machine_text(machine), highlight=False)
    for table in (_times(runs), _shares(runs), _ratios(runs)):
        if table.row_count:
            console.print(table)


def machine_text(machine: dict[str, Any]) -> str:
    """The machine in a few lines."""
    load = machine["load_average"]
    reads = ", ".join(
        f"{rate:g} ({n} thread{'s' * (n != '1')})" for n, rate in machine["reads_gb_s"].items()
    )
    environment = " ".join(f"{name}={value}" for name, value in machine["environment"].items())
    lines = (
        f"{machine['cpu']}, {machine['usable_cores'] or machine['cores']} cores, "
        f"{' '.join(machine['flags'])}",
        f"memory is read at {reads} GB/s",
        f"Wheatear {machine['wheatear']}, wheatear-native {machine['wheatear_native'] or 'none'} "
        f"({machine['native_path'] or 'not used'}), onnxruntime {machine['onnxruntime']}, "
        f"numpy {machine['numpy']}, Python {machine['python']}, {machine['date'][:10]}",
        f"load average before {load[0]:.1f}" if load else "",
        environment,
    )
    return "\n".join(filter(None, lines))


def _times(runs: Sequence[Run]) -> Table:
    first = runs[0].setting
    if first.whole:
        title = f"{first.model}: a file of {first.seconds:g} s, milliseconds"
        table = _table(title, "p50", "best", *_COSTS)
    else:
        title = f"{first.model}: live streams, milliseconds for each chunk"
        table = _table(title, "p50", "p95", "p99", "best p50", *_COSTS)
    for run in runs:
        data = run.to_json()
        shares = (50,) if first.whole else (50, 95, 99)
        table.add_row(
            *_labels(run),
            *(f"{value:.1f}" for value in (*run.percentiles(*shares), run.chunk_ms)),
            f"{data['rtfx']:.1f}",
            f"{data['cpu_s_per_audio_s']:.3f}",
            f"{data['peak_rss_mb']:.0f}",
            f"{data['load_s']:.1f}",
            f"{data['tokens_per_audio_s']:.1f}",
        )
    return table


def _shares(runs: Sequence[Run]) -> Table:
    table = _table("where the time goes, percent", *STAGES)
    for run in runs:
        if shares := run.shares:
            table.add_row(*_labels(run), *(f"{100 * shares[stage]:.1f}" for stage in STAGES))
    return table


def _ratios(runs: Sequence[Run]) -> Table:
    """Returns the speed of Wheatear relative to other engines, at equal latency and threads."""
    others = sorted({run.setting.engine for run in runs} - {WHEATEAR})
    table = _table("times as fast, by the best round of each", *others)
    for run in runs:
        ratios = {
            other.setting.engine: f"{speed_ratio(run, other):.1f}"
            for other in runs
            if are_comparable(run.setting, other.setting)
        }
        if run.setting.engine == WHEATEAR and ratios.keys() & others:
            table.add_row(*_labels(run), *(ratios.get(other, "") for other in others))
    return table


def _labels(run: Run) -> tuple[str, ...]:
    setting = run.setting
    counts = (setting.latency_ms, setting.streams, setting.threads)
    return setting.engine, setting.precision, *map(str, counts)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for column in ("engine", "precision"):
        table.add_column(column, no_wrap=True)
    for column in ("latency", "streams", "threads", *columns):
        table.add_column(column, justify="right")
    return table
