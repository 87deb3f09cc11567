"""Plots of a summary, as inline SVG."""

import io
import warnings
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import numpy as np

from wheatear.common.plotting import Axes, Figure, ScalarFormatter, rc_context, set_latency_axis
from wheatear.evaluate.report import locale_label, mode_label, system_label
from wheatear.evaluate.summary import group_by

Row = Mapping[str, Any]
_MAX_LINES = 12  # of a plot and its legend
_TIMES = {"first_ms": "first text", "end_ms": "time to text", "turn_ms": "end of turn"}


def draw(summary: Row, name: str) -> str | None:
    """Draws `speed`, `edits`, `latency` or `rates:SYSTEM:PRECISION` as SVG; None without data."""
    kind, _, system = name.partition(":")
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    plots = {"rates": _rates, "speed": _speed, "edits": _edits, "latency": _latency}
    if not plots[kind](axes, summary, system):
        return None
    # Text stays text; ids are unique in a page; $ is not mathematics.
    style = {"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False}
    out = io.StringIO()
    with rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure.savefig(out, format="svg", metadata={"Date": None})
    svg = out.getvalue()
    return svg[svg.index("<svg") :]


def _rates(axes: Axes, summary: Row, system: str) -> bool:
    """Error rates of a system: over latency, or by locale if there is a single latency."""
    rows = [
        r for r in summary["rows"]
        if f"{r['system']}:{r['precision']}" == system and r["error_rate"]
    ]  # fmt: skip
    if not rows:
        return False
    prompt = rows[0]["prompt"]
    mode = rows[0]["mode"]
    rows = [r for r in rows if (r["prompt"], r["mode"]) == (prompt, mode)]
    latencies = sorted({r["latency_ms"] for r in rows if r["latency_ms"]})
    by_locale = group_by(rows, locale_label)
    if len(latencies) > 1:
        for label, members in list(by_locale.items())[:_MAX_LINES]:
            own = sorted(members, key=itemgetter("latency_ms"))
            times, bounds = [r["latency_ms"] for r in own], [r["error_rate"] for r in own]
            (line,) = axes.plot(times, [b["value"] for b in bounds], marker="o", label=label)
            axes.fill_between(
                times, [b["low"] for b in bounds], [b["high"] for b in bounds],
                color=line.get_color(), alpha=0.12, linewidth=0,
            )  # fmt: skip
        set_latency_axis(axes, latencies)
        _legend(axes)
    else:
        bounds = [own[0]["error_rate"] for own in by_locale.values()]
        values = [b["value"] for b in bounds]
        sides = [[b["value"] - b["low"] for b in bounds], [b["high"] - b["value"] for b in bounds]]
        axes.bar(list(by_locale), values, yerr=sides, capsize=3)
        axes.tick_params("x", rotation=30 if len(by_locale) > 4 else 0)
    axes.set(ylabel="error rate, %", title=f"{mode}, language {prompt}")
    axes.set_ylim(bottom=0)
    return True


def _speed(axes: Axes, summary: Row, _: str) -> bool:
    """Error rate against speed."""
    rows = [r for r in summary["means"] if r["rtf"] and r["error_rate"] is not None]
    if len(rows) < 2:
        return False
    for label, own in group_by(rows, system_label).items():
        axes.scatter([1 / r["rtf"] for r in own], [r["error_rate"] for r in own], label=label)
        for row in own:
            axes.annotate(
                mode_label(row), (1 / row["rtf"], row["error_rate"]), (4, 4),
                textcoords="offset points", fontsize="x-small",
            )  # fmt: skip
    axes.set(xscale="log", xlabel="times real time", ylabel="error rate, %")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(ScalarFormatter())
    axes.set_ylim(0, 1.15 * max(row["error_rate"] for row in rows) or 1)
    _legend(axes)
    return True


def _edits(axes: Axes, summary: Row, _: str) -> bool:
    """Kinds of errors, means over locales."""
    rows = [row for row in summary["rows"] if row["error_rate"]]
    by_condition = dict(list(group_by(rows, _condition_label).items())[:_MAX_LINES])
    left = np.zeros(len(by_condition))
    for kind in ("deletions", "substitutions", "insertions"):
        means = [np.mean([r[kind]["value"] for r in own]) for own in by_condition.values()]
        axes.barh(list(by_condition), means, left=left, label=kind)
        left += means
    axes.invert_yaxis()
    axes.set(xlabel="percent of the reference")
    _legend(axes)
    return bool(by_condition)


def _latency(axes: Axes, summary: Row, _: str) -> bool:
    """Median latencies."""
    rows = [r for r in summary["means"] if r["end_ms"] is not None][:_MAX_LINES]
    labels = [_condition_label(r) for r in rows]
    if len(set(labels)) < len(labels):
        labels = [f"{label}, {r['group']}" for label, r in zip(labels, rows, strict=True)]
    places = np.arange(len(rows))
    for number, (key, name) in enumerate(_TIMES.items()):
        values = [r[key] or 0 for r in rows]
        axes.barh(places + 0.25 * (number - 1), values, height=0.25, label=name)
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.set(xlabel="milliseconds, median")
    _legend(axes)
    return bool(rows)


def _condition_label(row: Row) -> str:
    return f"{system_label(row)}, {mode_label(row)}, {row['prompt']}"


def _legend(axes: Axes) -> None:
    """Draws the legend next to the plot."""
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
