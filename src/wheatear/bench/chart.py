"""A chart of a speed measurement: time of a chunk by latency, and shares of the stages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wheatear.bench.measurements import STAGES, WHEATEAR, Run


def draw_chart(path: Path, runs: Sequence[Run], caption: str) -> None:
    """Draws times of a chunk against its length, and shares of the stages.  Raises OSError."""
    from wheatear.common.plotting import Figure, set_latency_axis  # noqa: PLC0415  (an extra)

    figure = Figure(figsize=(12, 5.5), layout="constrained")
    times, shares = figure.subplots(1, 2)
    latencies = sorted({run.setting.latency_ms for run in runs})
    if not runs[0].setting.whole:
        times.plot(latencies, latencies, color="0.6", linestyle="--", label="real time")
    _draw_times(times, runs, runs[0].setting.whole)
    set_latency_axis(times, latencies)
    _draw_shares(shares, [run for run in runs if run.shares])
    figure.suptitle(caption, fontsize="small")
    figure.savefig(path, dpi=120)


def _draw_times(axes: Any, runs: Sequence[Run], whole: bool) -> None:
    for label, line in _lines(runs).items():
        x = [run.setting.latency_ms for run in line]
        if whole:
            axes.plot(x, [run.rtfx for run in line], "o-", label=label)
            continue
        p50, p95 = zip(*(run.percentiles(50, 95) for run in line), strict=True)
        above = [high - low for high, low in zip(p95, p50, strict=True)]
        style = "o-" if line[0].setting.engine == WHEATEAR else "s:"
        axes.errorbar(x, p50, yerr=[[0] * len(line), above], fmt=style, capsize=3, label=label)
    if whole:
        axes.set(ylim=(0, None), ylabel="a file, times real time")
    else:
        axes.set(yscale="log", ylabel="time for a chunk, ms (p50, p95)")
    axes.legend(fontsize="x-small")


def _lines(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Returns runs that differ only in latency, by label."""
    lines: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.setting.latency_ms):
        s = run.setting
        lines.setdefault(f"{s.engine} {s.precision}, {s.size}", []).append(run)
    return lines


def _draw_shares(axes: Any, runs: Sequence[Run]) -> None:
    settings = [run.setting for run in runs]
    labels = [f"{s.latency_ms} ms, {s.precision}\n{s.size}" for s in settings]
    left = [0.0] * len(runs)
    for stage in STAGES:
        widths = [100 * run.shares[stage] for run in runs]
        axes.barh(labels, widths, left=left, label=stage)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set(xlabel="share of the time, %", xlim=(0, 100))
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize="x-small")
    axes.legend(fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, 1.08), ncols=5)
