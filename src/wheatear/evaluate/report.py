"""The report: the figures of a summary as sections of text, tables and pictures.

`sections` says what is told and in what order; `markdown` and `wheatear.evaluate.html` write it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wheatear.evaluate.records import Record, Score
from wheatear.evaluate.runner import NOISE

Row = Mapping[str, Any]
_WORST = 10
_SYSTEM = ("system", "precision")


@dataclass(frozen=True)
class Table:
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A heading, what is to be known, a table."""

    title: str
    text: str
    table: Table | None = None
    picture: str | None = None
    """Name of a plot that belongs here (`wheatear.evaluate.plots`)."""


def sections(summary: Row, scored: Sequence[tuple[Record, Score]]) -> list[Section]:
    """All that there is to tell; what was not measured is left out."""
    found = [
        Section("Systems", "", _systems(summary)),
        Section("Side by side", _SIDE_BY_SIDE, side_by_side(summary), "speed"),
        *_error_rates(summary),
        Section("What goes wrong", _WRONG, _wrong(summary), "edits"),
        Section("When text is there", _TIMES, _times(summary), "latency"),
    ]
    if summary["differences"]:
        found.append(Section("Differences", _DIFFERENCES, _differences(summary["differences"])))
    if summary.get("against"):
        text = f"From the run in {summary['against_folder']}. {_DIFFERENCES}"
        found.append(Section("Differences from before", text, _differences(summary["against"])))
    if summary["noise"]:
        found.append(Section("Silence and noise", *_noise(summary)))
    if summary["left_out"]:
        rows = [(r["system"], r["locale"], str(r["clips"])) for r in summary["left_out"]]
        text = "Locales that a system does not know."
        table = Table(("system", "locale", "utterances"), tuple(rows))
        found.append(Section("Left out", text, table))
    if summary["failed"]:
        found.append(Section("Failed", _FAILED, _failed(summary)))
    return [*found, Section("The worst", _WORST_TEXT, _worst(scored)), *_how(summary)]


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
    """Text that Markdown takes for nothing but text."""
    text = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\|*_`<>[]#" else c for c in text)


# -- tables --------------------------------------------------------------------------------------


def _systems(summary: Row) -> Table:
    heads = ("system", "kind", "precision", "latency", "size", "parameters")
    rows = [
        (
            s["system"], s["kind"], s["precision"] or "-", _ms(s["latency_ms"]),
            f"{s['size'] / 1e6:.1f} MB" if s["size"] else "-",
            f"{s['parameters'] / 1e6:.1f} M" if s["parameters"] else "-",
        )
        for s in summary["systems"]
    ]  # fmt: skip
    return Table(heads, tuple(rows))


_SIDE_BY_SIDE = (
    "Means over locales, each counting alike. Streaming loss is the error rate against that of the "
    "same system's best whole files, in points. Time to text counts from the last sample to all "
    "of the text, where the caller says that the speaker is done; for a whole file it is what "
    "the file takes. Speed is audio over compute time."
)


def side_by_side(summary: Row, brief: bool = False) -> Table:
    """brief: without sizes, and without what is the same in all rows."""
    sizes = {(s["system"], s["precision"], s["latency_ms"]): s["size"] for s in summary["systems"]}
    rows = []
    for row in summary["means"]:
        size = sizes.get((row["system"], row["precision"], row["latency_ms"]))
        best = _best_whole(summary, row)
        loss = "-" if best is None or row["mode"] == "whole" else f"{row['error_rate'] - best:+.2f}"
        cells = {
            "system": system_label(row), "heard as": condition_label(row),
            "language": row["prompt"], "group": row["group"], "locales": str(row["locales"]),
            "size": f"{size / 1e6:.1f} MB" if size else "-",
            "error rate": f"{row['error_rate']:.2f} %", "streaming loss": loss,
            "speed": _speed(row["rtf"]), "time to text": _ms(row["end_ms"]),
        }  # fmt: skip
        rows.append(cells)
    heads = list(rows[0]) if rows else []
    if not any(row["group"] for row in rows):
        heads = [head for head in heads if head != "group"]
    if brief:
        about = ("system", "language", "group", "streaming loss")
        same = {head for head in about if len({row.get(head) for row in rows}) == 1}
        heads = [head for head in heads if head not in {*same, "locales", "size"}]
    return Table(tuple(heads), tuple(tuple(row[head] for head in heads) for row in rows))


def _best_whole(summary: Row, row: Row) -> float | None:
    same = ("system", "precision", "prompt", "group")
    found = [
        other["error_rate"] for other in summary["means"]
        if other["mode"] == "whole" and all(other[name] == row[name] for name in same)
    ]  # fmt: skip
    return min(found, default=None)


def _error_rates(summary: Row) -> Iterator[Section]:
    """A table for each system: locales down, how it was heard across."""
    for system, rows in _grouped(summary["rows"], _SYSTEM):
        columns = list(dict.fromkeys((condition_label(r), r["prompt"]) for r in rows))
        prompts = {prompt for _, prompt in columns}
        heads = [f"{heard}, {prompt}" if len(prompts) > 1 else heard for heard, prompt in columns]
        grouped = any(row["group"] for row in rows)
        lines = []
        for (locale, group), members in _grouped(rows, ("locale", "group")):
            cells = {(condition_label(r), r["prompt"]): _interval(r["error_rate"]) for r in members}
            told = next((r for r in members if r["language_right"]), None)
            about = members[0]
            lines.append(
                (
                    locale, *([group] if grouped else []), str(about["utterances"]),
                    f"{about['length']} {about['unit']}s",
                    *(cells.get(column, "-") for column in columns),
                    f"{told['language_right']['value']:.0f} %" if told else "-",
                )
            )  # fmt: skip
        table = Table(
            ("locale", *(["group"] if grouped else []), "utterances", "length", *heads,
             "language right"),
            tuple(lines),
        )  # fmt: skip
        picture = f"rates:{system[0]}:{system[1]}"
        yield Section(f"Error rates of {' '.join(system).strip()}", _RATES, table, picture)


_RATES = (
    "Per cent of words, or of characters where a locale has no spaces or uses them at will, with "
    "the 95 % interval of resampled utterances."
)
_WRONG = (
    "Insertions, deletions and substitutions in per cent of the same units as the error rate; all "
    "with 95 % intervals. Punctuation is marks that are wrong of all marks in utterances whose "
    "reference has any; capitals, words in the wrong case of those that are right, in utterances "
    "whose reference has capitals."
)


def _wrong(summary: Row) -> Table:
    heads = (
        "system", "heard as", "language", "locale", "errors", "insertions", "deletions",
        "substitutions", "WER", "CER", "punctuation", "capitals",
    )  # fmt: skip
    names = ("insertions", "deletions", "substitutions", "wer", "cer", "punctuation", "capitals")
    rows = [
        (
            system_label(row), condition_label(row), row["prompt"], _place(row),
            f"{row['errors']} of {row['length']}", *(_interval(row[name]) for name in names),
        )
        for row in summary["rows"]
    ]  # fmt: skip
    return Table(heads, tuple(rows))


_TIMES = (
    "Medians (90 %) in milliseconds. First text counts from the beginning of speech; time to text "
    "from the last sample, where the caller says that the speaker is done; end of turn from the "
    "end of speech to the final text where nobody says so and silence must tell. Streams and "
    "whole files are timed apart: a whole file cannot begin before it is there. Real-time factor "
    "is compute over audio time."
)


def _times(summary: Row) -> Table:
    heads = (
        "system", "heard as", "language", "locale", "first text", "time to text", "end of turn",
        "real-time factor", "speed",
    )  # fmt: skip
    rows = [
        (
            system_label(row), condition_label(row), row["prompt"], _place(row),
            *(_median(row[name]) for name in ("first_ms", "end_ms", "turn_ms")),
            "-" if row["rtf"] is None else f"{row['rtf']:.4f}", _speed(row["rtf"]),
        )
        for row in summary["rows"]
    ]  # fmt: skip
    return Table(heads, tuple(rows))


_DIFFERENCES = (
    "In points; below zero is better. Intervals and p-values by paired bootstrap over the "
    "utterances that both have heard."
)


def _differences(found: Sequence[Row]) -> Table:
    heads = (
        "system", "from", "heard as", "language", "locale", "utterances", "difference", "p"
    )  # fmt: skip
    rows = []
    for row in found:
        d = row["difference"]
        other = f"{row['against']} {row['against_precision']}".strip()
        rows.append(
            (
                system_label(row), other, condition_label(row), row["prompt"], _place(row),
                str(row["utterances"]),
                f"{d['value']:+.2f} ({d['low']:+.2f} to {d['high']:+.2f})" if d else "-",
                f"{d['p']:.3f}" if d else "-",
            )
        )  # fmt: skip
    return Table(heads, tuple(rows))


def _noise(summary: Row) -> tuple[str, Table | None]:
    said = [row for row in summary["noise"] if row["hypothesis"].strip()]
    kinds = len({row["audio"] for row in summary["noise"]})
    text = f"Ten seconds each of {kinds} kinds, silence and white noise of several levels."
    if not said:
        return f"{text} No system took any of them for speech.", None
    rows = [
        (system_label(r), condition_label(r), r["prompt"], r["audio"], r["hypothesis"])
        for r in said
    ]
    heads = ("system", "heard as", "language", "audio", "was taken for")
    return text, Table(heads, tuple(rows))


_FAILED = "Not in any rate. The same command tries them again."


def _failed(summary: Row) -> Table:
    """Each fault once, with how many conditions it came up under."""
    found = _grouped(summary["failed"], ("system", "id", "fault"))
    rows = [(*key, str(len(members))) for key, members in found]
    return Table(("system", "utterance", "fault", "times"), tuple(rows))


_WORST_TEXT = "The utterances with the most errors, one line for each."


def _worst(scored: Sequence[tuple[Record, Score]]) -> Table:
    ordered = sorted(
        ((r, s) for r, s in scored if r.group != NOISE and r.fault is None and s.edits.errors),
        key=lambda pair: -pair[1].edits.errors,
    )
    seen: set[tuple[str, str]] = set()
    rows = []
    for record, one in ordered:
        key = record.condition.system, record.id
        if key not in seen and len(rows) < _WORST:
            seen.add(key)
            rows.append(
                (
                    record.condition.system, record.id, f"{one.edits.errors} of {one.edits.length}",
                    one.normal_reference, one.normal_hypothesis,
                )
            )  # fmt: skip
    return Table(("system", "utterance", "errors", "said", "heard"), tuple(rows))


def _how(summary: Row) -> Iterator[Section]:
    made = summary.get("made")
    if made:
        versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
        yield Section(
            "How it was made",
            f"`{made['command']}` on {made['date']}, {made['machine']} with {made['cores']} cores, "
            f"{made['threads']} of them used; {versions}. Every utterance is in utterances.jsonl, "
            f"every figure in summary.json.",
        )


# -- cells ---------------------------------------------------------------------------------------


def _grouped(
    rows: Iterable[Row], names: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], list[Row]]]:
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return iter(found.items())


def system_label(row: Row) -> str:
    return f"{row['system']} {row['precision']}".strip()


def condition_label(row: Row) -> str:
    return f"{row['mode']} {row['latency_ms']} ms" if row["latency_ms"] else row["mode"]


def _place(row: Row) -> str:
    return f"{row['locale']}, {row['group']}" if row["group"] else row["locale"]


def _interval(rate: Row | None) -> str:
    if rate is None:
        return "-"
    return f"{rate['value']:.1f} ({rate['low']:.1f}-{rate['high']:.1f})"


def _median(found: Row | None) -> str:
    return f"{found['median']:.0f} ({found['p90']:.0f})" if found else "-"


def _speed(rtf: float | None) -> str:
    return f"{1 / rtf:.1f}x" if rtf else "-"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
