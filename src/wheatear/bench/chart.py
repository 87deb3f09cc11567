"""The report as a picture: time for a chunk by latency, and where it goes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wheatear.bench.measurements import OURS, STAGES, Run
from wheatear.errors import MissingExtraError


def check_matplotlib() -> None:
    """Raises MissingExtraError before the time is spent, if there is nothing to draw with."""
    try:
        import wheatear.common.plotting  # noqa: F401, PLC0415  (an extra, and slow to import)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "a picture needs matplotlib: pip install 'wheatear[evaluate]'"
        ) from error


def draw(path: Path, runs: Sequence[Run], caption: str) -> None:
    """Times of a chunk against its own length, and shares of the stages.  Raises OSError."""
    from wheatear.common.plotting import Figure  # noqa: PLC0415

    figure = Figure(figsize=(12, 5.5), layout="constrained")
    times, shares = figure.subplots(1, 2)
    if runs[0].setting.whole:
        _draw_speeds(times, runs)
    else:
        _draw_times(times, runs)
    _draw_shares(shares, [run for run in runs if run.shares])
    figure.suptitle(caption, fontsize="small")
    figure.savefig(path, dpi=120)


def _draw_times(axes: Any, runs: Sequence[Run]) -> None:
    latencies = sorted({run.setting.latency_ms for run in runs})
    axes.plot(latencies, latencies, color="0.6", linestyle="--", label="real time")
    for name, line in _lines(runs).items():
        middle, late = zip(*(run.percentiles(50, 95) for run in line), strict=True)
        above = [high - low for high, low in zip(late, middle, strict=True)]
        axes.errorbar(
            [run.setting.latency_ms for run in line], middle, yerr=[[0] * len(line), above],
            fmt="o-" if line[0].setting.engine == OURS else "s:", capsize=3, label=name,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", ylabel="time for a chunk, ms (p50, p95)")
    _finish(axes, latencies)


def _draw_speeds(axes: Any, runs: Sequence[Run]) -> None:
    for name, line in _lines(runs).items():
        speeds = [run.rtfx for run in line]
        axes.plot([run.setting.latency_ms for run in line], speeds, "o-", label=name)
    axes.set(xscale="log", ylim=(0, None), ylabel="a file, times real time")
    _finish(axes, sorted({run.setting.latency_ms for run in runs}))


def _lines(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs that differ by latency alone, by name."""
    lines: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.setting.latency_ms):
        s = run.setting
        lines.setdefault(f"{s.engine} {s.precision}, {s.load}", []).append(run)
    return lines


def _finish(axes: Any, latencies: Sequence[int]) -> None:
    axes.set_xlabel("latency, ms")
    axes.set_xticks(latencies, [str(ms) for ms in latencies])
    axes.minorticks_off()
    axes.legend(fontsize="x-small")


def _draw_shares(axes: Any, runs: Sequence[Run]) -> None:
    settings = [run.setting for run in runs]
    names = [f"{s.latency_ms} ms, {s.precision}\n{s.load}" for s in settings]
    left = [0.0] * len(runs)
    for stage in STAGES:
        widths = [100 * run.shares[stage] for run in runs]
        axes.barh(names, widths, left=left, label=stage)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set(xlabel="share of the time, %", xlim=(0, 100))
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize="x-small")
    axes.legend(fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, 1.08), ncols=5)
