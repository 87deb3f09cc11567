"""The report: figures of a summary as sections of text, tables and plots.

`sections` chooses content and order; `markdown` and `wheatear.evaluate.html` write it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from wheatear.evaluate.records import Record, Score
from wheatear.evaluate.runner import NOISE
from wheatear.evaluate.summary import group_by

Row = Mapping[str, Any]
Columns = Mapping[str, Callable[[Any], str]]
"""Cell of a row by the head of its column."""
_MOST_ERRORS = 10


@dataclass(frozen=True)
class Table:
    """Heads of columns, and rows of cells."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A heading, an explanation, a table, a plot."""

    title: str
    text: str
    table: Table | None = None
    plot: str | None = None
    """Name of a plot of `wheatear.evaluate.plots`."""


def sections(summary: Row, scored: Sequence[tuple[Record, Score]]) -> list[Section]:
    """All sections with content."""
    rows = summary["rows"]
    found = [
        Section("Systems", "", _table(summary["systems"], _SYSTEMS)),
        Section("Side by side", _SIDE_BY_SIDE, side_by_side(summary), "speed"),
        *_error_rates(rows),
        Section("Kinds of errors", _KINDS_TEXT, _table(rows, _KINDS), "edits"),
        Section("Latency", _LATENCY_TEXT, _table(rows, _LATENCY), "latency"),
    ]
    if summary["differences"]:
        table = _table(summary["differences"], _DIFFERENCES)
        found.append(Section("Differences", _DIFFERENCES_TEXT, table))
    if summary.get("against"):
        text = f"From the run in {summary['against_folder']}. {_DIFFERENCES_TEXT}"
        table = _table(summary["against"], _DIFFERENCES)
        found.append(Section("Differences from before", text, table))
    if summary["noise"]:
        found.append(_noise(summary["noise"]))
    if summary["left_out"]:
        text = "Locales that a system does not know."
        found.append(Section("Left out", text, _table(summary["left_out"], _LEFT_OUT)))
    if summary["failed"]:
        text = "Not in any rate. The same command tries them again."
        found.append(Section("Failed", text, _failed(summary["failed"])))
    found.append(Section("Most errors", "The utterances with the most errors.", _worst(scored)))
    if made := summary.get("made"):
        found.append(Section("Environment", _environment(made)))
    return found


def markdown(title: str, parts: Iterable[Section]) -> str:
    """The report as Markdown."""
    lines = [f"# {_escaped(title)}", ""]
    for part in parts:
        lines += [f"## {_escaped(part.title)}", ""]
        if part.text:
            lines += [part.text, ""]
        if part.table:
            heads = part.table.heads
            lines += [_line(heads), _line(["---"] * len(heads))]
            lines += [_line(map(_escaped, row)) for row in part.table.rows] + [""]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Text without any meaning in Markdown."""
    text = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\|*_`<>[]#" else c for c in text)


# -- cells ---------------------------------------------------------------------------------------


def _table(rows: Iterable[Row], columns: Columns) -> Table:
    cells = tuple(tuple(cell(row) for cell in columns.values()) for row in rows)
    return Table(tuple(columns), cells)


def system_label(row: Row) -> str:
    """Label of a system with its precision."""
    return f"{row['system']} {row['precision']}".strip()


def mode_label(row: Row) -> str:
    """Mode and latency."""
    return f"{row['mode']} {row['latency_ms']} ms" if row["latency_ms"] else row["mode"]


def locale_label(row: Row) -> str:
    """Locale and group."""
    return f"{row['locale']}, {row['group']}" if row["group"] else row["locale"]


def _interval(rate: Row | None) -> str:
    if rate is None:
        return "-"
    return f"{rate['value']:.1f} ({rate['low']:.1f}-{rate['high']:.1f})"


def _median(found: Row | None) -> str:
    return f"{found['median']:.0f} ({found['p90']:.0f})" if found else "-"


def _speed(row: Row) -> str:
    return f"{1 / row['rtf']:.1f}x" if row["rtf"] else "-"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _millions(value: int | None, unit: str) -> str:
    return f"{value / 1e6:.1f} {unit}" if value else "-"


def _points(found: Row | None) -> str:
    if not found:
        return "-"
    return f"{found['value']:+.2f} ({found['low']:+.2f} to {found['high']:+.2f})"


# -- tables --------------------------------------------------------------------------------------

_CONDITION: Columns = {
    "system": system_label, "mode": mode_label, "language": itemgetter("prompt"),
}  # fmt: skip
_ROW: Columns = {**_CONDITION, "locale": locale_label}
_SYSTEMS: Columns = {
    "system": itemgetter("system"),
    "kind": itemgetter("kind"),
    "precision": lambda s: s["precision"] or "-",
    "latency": lambda s: _ms(s["latency_ms"]),
    "size": lambda s: _millions(s["size"], "MB"),
    "parameters": lambda s: _millions(s["parameters"], "M"),
}
_SIDE_BY_SIDE = (
    "Means over locales with equal weights. Streaming loss is the error rate minus the best one of "
    "the same system on whole files, in percentage points. Time to text is the time from the last "
    "sample to the complete text, if the caller ends the stream there; for a whole file it is the "
    "time to transcribe it. Speed is audio time over compute time."
)
_RATES = (
    "Per cent of words, or of characters in locales without spaces or with optional ones, with the "
    "95 % interval of resampled utterances."
)
_KINDS_TEXT = (
    "Insertions, deletions and substitutions in percent of the units of the error rate; all with "
    "95 % intervals. Punctuation is the share of wrong marks in utterances whose reference has "
    "marks. Capitals is the share of correct words in the wrong case, in utterances whose "
    "reference has capitals."
)
_KINDS: Columns = {
    **_ROW,
    "errors": lambda row: f"{row['errors']} of {row['length']}",
    **{
        head: lambda row, head=head: _interval(row[head.lower()])
        for head in (
            "insertions", "deletions", "substitutions", "WER", "CER", "punctuation", "capitals"
        )
    },
}  # fmt: skip
_LATENCY_TEXT = (
    "Medians (90th percentiles) in milliseconds. First text counts from the start of speech, time "
    "to text from the last sample, if the caller ends the stream there. End of turn counts from "
    "the end of speech to the final, by endpointing. Whole files start when they are complete, so "
    "their times do not compare with those of streams. Real-time factor is compute time over audio "
    "time."
)
_LATENCY: Columns = {
    **_ROW,
    "first text": lambda row: _median(row["first_ms"]),
    "time to text": lambda row: _median(row["end_ms"]),
    "end of turn": lambda row: _median(row["turn_ms"]),
    "real-time factor": lambda row: "-" if row["rtf"] is None else f"{row['rtf']:.4f}",
    "speed": _speed,
}
_DIFFERENCES_TEXT = (
    "In percentage points; below zero is better. Intervals and p-values by paired bootstrap over "
    "the common utterances."
)
_DIFFERENCES: Columns = {
    **_ROW,
    "from": lambda row: f"{row['against']} {row['against_precision']}".strip(),
    "utterances": lambda row: str(row["utterances"]),
    "difference": lambda row: _points(row["difference"]),
    "p": lambda row: f"{row['difference']['p']:.3f}" if row["difference"] else "-",
}
_LEFT_OUT: Columns = {
    "system": itemgetter("system"),
    "locale": itemgetter("locale"),
    "utterances": lambda row: str(row["clips"]),
}
_NOISE: Columns = {
    **_CONDITION, "audio": itemgetter("audio"), "hypothesis": itemgetter("hypothesis"),
}  # fmt: skip


def side_by_side(summary: Row, brief: bool = False) -> Table:
    """Means of all conditions; brief: without sizes and columns of a single value."""
    sizes = {(s["system"], s["precision"], s["latency_ms"]): s["size"] for s in summary["systems"]}

    def size(row: Row) -> str:
        return _millions(sizes.get((row["system"], row["precision"], row["latency_ms"])), "MB")

    def loss(row: Row) -> str:
        best = _best_whole(summary, row)
        return "-" if best is None or row["mode"] == "whole" else f"{row['error_rate'] - best:+.2f}"

    columns: dict[str, Callable[[Any], str]] = {
        **_CONDITION,
        "group": itemgetter("group"),
        "locales": lambda row: str(row["locales"]),
        "size": size,
        "error rate": lambda row: f"{row['error_rate']:.2f} %",
        "streaming loss": loss,
        "speed": _speed,
        "time to text": lambda row: _ms(row["end_ms"]),
    }
    rows = summary["means"]
    hidden = {"group"} if not any(row["group"] for row in rows) else set()
    if brief:
        optional = ("system", "language", "group", "streaming loss")
        hidden |= {head for head in optional if len({columns[head](row) for row in rows}) == 1}
        hidden |= {"locales", "size"}
    return _table(rows, {head: cell for head, cell in columns.items() if head not in hidden})


def _best_whole(summary: Row, row: Row) -> float | None:
    same = ("system", "precision", "prompt", "group")
    found = [
        other["error_rate"] for other in summary["means"]
        if other["mode"] == "whole" and all(other[name] == row[name] for name in same)
    ]  # fmt: skip
    return min(found, default=None)


def _error_rates(rows: Sequence[Row]) -> Iterator[Section]:
    """A table for each system: a row per locale, a column per mode and prompt."""
    for (system, precision), own in group_by(rows, itemgetter("system", "precision")).items():
        conditions = list(dict.fromkeys((mode_label(r), r["prompt"]) for r in own))
        several = len({prompt for _, prompt in conditions}) > 1
        grouped = any(row["group"] for row in own)
        lines = []
        for (locale, group), members in group_by(own, itemgetter("locale", "group")).items():
            rates = {(mode_label(r), r["prompt"]): _interval(r["error_rate"]) for r in members}
            first = members[0]
            lines.append(
                (
                    locale, *([group] if grouped else []), str(first["utterances"]),
                    f"{first['length']} {first['unit']}s",
                    *(rates.get(condition, "-") for condition in conditions),
                    _language_right(members),
                )
            )  # fmt: skip
        heads = (
            "locale", *(["group"] if grouped else []), "utterances", "length",
            *(f"{mode}, {prompt}" if several else mode for mode, prompt in conditions),
            "language right",
        )  # fmt: skip
        title = f"Error rates of {system} {precision}".strip()
        yield Section(title, _RATES, Table(heads, tuple(lines)), f"rates:{system}:{precision}")


def _language_right(members: Sequence[Row]) -> str:
    rates = [row["language_right"] for row in members if row["language_right"]]
    return f"{rates[0]['value']:.0f} %" if rates else "-"


def _noise(rows: Sequence[Row]) -> Section:
    recognized = [row for row in rows if row["hypothesis"].strip()]
    kinds = len({row["audio"] for row in rows})
    text = f"Ten seconds each of {kinds} kinds: silence, and white noise of several levels."
    if not recognized:
        return Section("Silence and noise", f"{text} No system recognized any text.")
    return Section("Silence and noise", text, _table(recognized, _NOISE))


def _failed(rows: Sequence[Row]) -> Table:
    """Each fault once, with the number of its conditions."""
    found = group_by(rows, itemgetter("system", "id", "fault"))
    lines = [(*key, str(len(members))) for key, members in found.items()]
    return Table(("system", "utterance", "fault", "times"), tuple(lines))


def _worst(scored: Sequence[tuple[Record, Score]]) -> Table:
    ordered = sorted(
        ((r, s) for r, s in scored if r.group != NOISE and r.fault is None and s.edits.errors),
        key=lambda pair: -pair[1].edits.errors,
    )
    worst = group_by(ordered, lambda pair: (pair[0].condition.system, pair[0].id))
    rows = [
        (system, id_, f"{s.edits.errors} of {s.edits.length}", s.normal_reference,
         s.normal_hypothesis)
        for (system, id_), ((_, s), *_) in list(worst.items())[:_MOST_ERRORS]
    ]  # fmt: skip
    return Table(("system", "utterance", "errors", "reference", "hypothesis"), tuple(rows))


def _environment(made: Row) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    return (
        f"`{made['command']}` on {made['date']}, {made['machine']} with {made['cores']} cores, "
        f"{made['threads']} of them used; {versions}. Every utterance is in utterances.jsonl, "
        f"every figure in summary.json."
    )
