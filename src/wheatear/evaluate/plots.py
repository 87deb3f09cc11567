"""Pictures of a summary, as SVG that can stand inside of a page."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from wheatear.common.plotting import Axes, Figure, ScalarFormatter, rc_context
from wheatear.evaluate.report import condition_label, system_label

Row = Mapping[str, Any]
_MOST_LINES = 12  # in one picture, and in its legend


def draw(summary: Row, name: str) -> str | None:
    """The picture of that name as an <svg> element; None where there is nothing to show."""
    kind, _, about = name.partition(":")
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    drawn = {"rates": _rates, "speed": _speed, "edits": _edits, "latency": _latency}[kind](
        axes, summary, about
    )
    if not drawn:
        return None
    # Text stays text; ids differ from picture to picture; nobody's $ is mathematics.
    style = {"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False}
    out = io.StringIO()
    with rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure.savefig(out, format="svg", metadata={"Date": None})
    svg = out.getvalue()
    return svg[svg.index("<svg") :]


def _rates(axes: Axes, summary: Row, system: str) -> bool:
    """Error rates of a system: over latency where there are several, by locale otherwise."""
    rows = [r for r in summary["rows"] if f"{r['system']}:{r['precision']}" == system]
    prompt = rows[0]["prompt"] if rows else ""
    rows = [r for r in rows if r["prompt"] == prompt and r["error_rate"]]
    mode = rows[0]["mode"] if rows else ""
    rows = [r for r in rows if r["mode"] == mode]
    if not rows:
        return False
    latencies = sorted({r["latency_ms"] for r in rows if r["latency_ms"]})
    places = list(dict.fromkeys(_place(r) for r in rows))
    if len(latencies) > 1:
        for place in places[:_MOST_LINES]:
            points = sorted((r["latency_ms"], r) for r in rows if _place(r) == place)
            times = [time for time, _ in points]
            bounds = [r["error_rate"] for _, r in points]
            (line,) = axes.plot(times, [b["value"] for b in bounds], marker="o", label=place)
            axes.fill_between(
                times, [b["low"] for b in bounds], [b["high"] for b in bounds],
                color=line.get_color(), alpha=0.12, linewidth=0,
            )  # fmt: skip
        axes.set(xscale="log", xlabel="latency, ms", xticks=latencies)
        axes.set_xticks([], minor=True)
        axes.set_xticklabels(list(map(str, latencies)))
        _legend(axes)
    else:
        bounds = [next(r["error_rate"] for r in rows if _place(r) == place) for place in places]
        values = [b["value"] for b in bounds]
        sides = [[b["value"] - b["low"] for b in bounds], [b["high"] - b["value"] for b in bounds]]
        axes.bar(places, values, yerr=sides, capsize=3)
        axes.tick_params("x", rotation=30 if len(places) > 4 else 0)
    axes.set(ylabel="error rate, %", title=f"{mode}, language {prompt}")
    axes.set_ylim(bottom=0)
    return True


def _speed(axes: Axes, summary: Row, _: str) -> bool:
    """Error rate against speed: low and to the right is good."""
    rows = [r for r in summary["means"] if r["rtf"] and r["error_rate"] is not None]
    if len(rows) < 2:
        return False
    for name in dict.fromkeys(system_label(r) for r in rows):
        own = [r for r in rows if system_label(r) == name]
        axes.scatter([1 / r["rtf"] for r in own], [r["error_rate"] for r in own], label=name)
        for row in own:
            place = 1 / row["rtf"], row["error_rate"]
            axes.annotate(
                condition_label(row), place, (4, 4), textcoords="offset points", fontsize="x-small"
            )
    axes.set(xscale="log", xlabel="times real time", ylabel="error rate, %")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(ScalarFormatter())
    axes.set_ylim(0, 1.15 * max(row["error_rate"] for row in rows) or 1)
    _legend(axes)
    return True


def _edits(axes: Axes, summary: Row, _: str) -> bool:
    """What errors are made of, means over locales."""
    rows: dict[str, list[Row]] = {}
    for row in summary["rows"]:
        if row["error_rate"]:
            rows.setdefault(
                f"{system_label(row)}, {condition_label(row)}, {row['prompt']}", []
            ).append(row)
    labels = list(rows)[:_MOST_LINES]
    left = np.zeros(len(labels))
    for kind in ("deletions", "substitutions", "insertions"):
        means = np.array([np.mean([r[kind]["value"] for r in rows[label]]) for label in labels])
        axes.barh(labels, means, left=left, label=kind)
        left += means
    axes.invert_yaxis()
    axes.set(xlabel="per cent of what was said")
    _legend(axes)
    return bool(labels)


_TIMES = {"first_ms": "first text", "end_ms": "time to text", "turn_ms": "end of turn"}


def _latency(axes: Axes, summary: Row, _: str) -> bool:
    """How long a listener waits."""
    rows = [r for r in summary["means"] if r["end_ms"] is not None][:_MOST_LINES]
    labels = [f"{system_label(r)}, {condition_label(r)}, {r['prompt']}" for r in rows]
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


def _legend(axes: Axes) -> None:
    """Beside the picture, where it hides nothing."""
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def _place(row: Row) -> str:
    return f"{row['locale']}, {row['group']}" if row["group"] else row["locale"]
