"""Report of a run: report.json and a plot of its curves."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class History:
    """Losses and validations of a run, saved and restored with it."""

    losses: list[dict[str, float]] = field(default_factory=list)
    """step, minutes, and means since the last entry."""
    checks: list[dict[str, Any]] = field(default_factory=list)
    """step, progress, mean_wer, warming (True before the end of the warm-up), and rows of locale,
    latency_ms, clips, words, wer, cer (percent)."""
    best: float | None = None
    """Lowest mean word error rate of a validation."""
    best_step: int = 0
    ended: str = ""
    """Reason for the end of the run; empty while it runs."""

    def checks_without_improvement(self) -> int:
        """Counts validations since the best one, without those of the warm-up."""
        since = [check for check in self.checks if check["step"] > self.best_step]
        return sum(not check.get("warming", False) for check in since)

    def no_improvement(self) -> bool:
        """True if the best validation was the one before the first step."""
        return bool(self.checks) and self.checks[0]["step"] == self.best_step == 0


def write_report(folder: Path, history: History, about: dict[str, Any]) -> None:
    """Writes report.json and, where matplotlib is installed, report.png."""
    path = folder / "report.json"
    partial = path.with_suffix(".partial")
    report = {**about, **asdict(history)}
    partial.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
    if history.losses:
        _draw(folder / "report.png", history)


def _draw(path: Path, history: History) -> None:
    try:
        from wheatear.common.plotting import Figure  # noqa: PLC0415  (slow to import)
    except ModuleNotFoundError:
        return
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [row["step"] for row in history.losses]
    for key in ("rnnt", "ctc"):
        points = [(s, row[key]) for s, row in zip(steps, history.losses, strict=True) if key in row]
        left.plot(*zip(*points, strict=True), label=key)
    left.set(xlabel="step", ylabel="loss per token", title="training")
    left.legend()
    curves: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for check in history.checks:
        for row in check["rows"]:
            key = row["locale"], row["latency_ms"]
            curves.setdefault(key, []).append((check["step"], row["wer"]))
    for (locale, latency), points in sorted(curves.items()):
        right.plot(*zip(*points, strict=True), marker=".", label=f"{locale}, {latency} ms")
    right.set(xlabel="step", ylabel="word error rate, %", title="validation")
    right.set_ylim(bottom=0)
    if curves:
        right.legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=110)
