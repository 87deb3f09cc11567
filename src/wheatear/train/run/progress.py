"""Progress of a training run: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

_LOG_INTERVAL_S = 10.0
_SHOWN = ("rnnt", "ctc", "frame accuracy", "norm", "rate")


class ProgressDisplay:
    """Writes to standard error, or nowhere if quiet (all processes but the first)."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
            TextColumn("{task.fields[left]} left"),
            console=self.console, disable=quiet or not self.console.is_terminal, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("training", total=1.0, left="?")
        self._last = time.monotonic()

    def __enter__(self) -> ProgressDisplay:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def log_due(self) -> bool:
        """True if the next line of losses is due."""
        return time.monotonic() - self._last >= _LOG_INTERVAL_S

    def advance(self, step: int, progress: float, left_s: float) -> None:
        """Moves the bar; `left_s` is the estimated time until the end."""
        self._bar.update(
            self._task, completed=progress, description=f"step {step}", left=_time(left_s)
        )

    def losses(self, row: Mapping[str, float], left_s: float, hours: float, speed: float) -> None:
        """Prints losses, hours of audio since the start, and speed in times of real time."""
        self._last = time.monotonic()
        shown = "  ".join(f"{key} {row[key]:.4g}" for key in _SHOWN if key in row)
        self.message(
            f"step {row['step']:g}  {row['minutes']:.1f} min, {_time(left_s)} left  {shown}  "
            f"{hours:.2f} h of audio, {speed:.0f}x real time"
        )

    def validation(self, step: int, rows: Sequence[Mapping[str, Any]], best: bool) -> None:
        """Prints WER (CER) by locale and latency."""
        latencies = sorted({row["latency_ms"] for row in rows})
        table = Table(title=f"validation at step {step}{', the best yet' if best else ''}")
        table.add_column("WER (CER) %")
        for latency in latencies:
            table.add_column(f"{latency} ms", justify="right")
        for locale in sorted({row["locale"] for row in rows}):
            cells = [
                f"{row['wer']:.1f} ({row['cer']:.1f})" for row in rows if row["locale"] == locale
            ]
            table.add_row(locale, *cells)
        self.console.print(table)

    def message(self, line: str) -> None:
        """Prints a line."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
