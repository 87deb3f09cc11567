"""From utterances to the figures of summary.json: a row for each condition, locale and group."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wheatear import __version__
from wheatear.errors import WheatearError
from wheatear.evaluate.bootstrap import Parts, difference, rates, spread
from wheatear.evaluate.records import AUTO, Condition, Record, Score
from wheatear.evaluate.runner import NOISE, Results
from wheatear.evaluate.wer import Edits
from wheatear.model.locales import error_unit

SUMMARY = "summary.json"
Scored = tuple[Record, Score]
Row = dict[str, Any]


def summarize(results: Results) -> dict[str, Any]:
    """Everything but how it was made: systems, rows, means, noise, failures, what was left out."""
    spoken = [(r, s) for r, s in results.scored if r.group != NOISE]
    rows = [_row(members) for members in _by_row(spoken)]
    return {
        "systems": [{"system": name, **asdict(about)} for name, about in results.engines],
        "rows": rows,
        "means": list(_means(rows)),
        "differences": list(_between_systems(spoken)),
        "noise": [
            {**asdict(r.condition), "audio": r.id, "hypothesis": r.hypothesis}
            for r, _ in results.scored
            if r.group == NOISE and not r.fault
        ],
        "failed": [
            {**asdict(r.condition), "id": r.id, "fault": r.fault} for r, _ in spoken if r.fault
        ],
        "left_out": [
            {"system": system, "locale": locale, "clips": clips}
            for (system, locale), clips in results.left_out.items()
        ],
    }


def describe_environment(command: str, threads: int) -> dict[str, Any]:
    """What somebody needs to know to do it again."""
    packages = ("onnxruntime", "numpy", "kaldialign", "whisper-normalizer")
    return {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "versions": {
            "wheatear": __version__, "python": platform.python_version(),
            **{name: version(name) for name in packages},
        },
    }  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _by_row(scored: Iterable[Scored]) -> list[list[Scored]]:
    found: dict[tuple[Condition, str, str], list[Scored]] = {}
    for record, one in scored:
        key = record.condition, record.locale, record.group
        found.setdefault(key, []).append((record, one))
    return list(found.values())


def _row(members: Sequence[Scored]) -> Row:
    """Rates in per cent with their 95 % intervals, times in milliseconds."""
    first = members[0][0]
    heard = [(r, s) for r, s in members if r.fault is None]
    edits = [s.edits for _, s in heard]
    seconds = sum(r.seconds for r, _ in heard)
    compute = sum(r.compute or 0.0 for r, _ in heard)
    return {
        **asdict(first.condition),
        "locale": first.locale,
        "group": first.group,
        "utterances": len(heard),
        "failed": len(members) - len(heard),
        "seconds": round(seconds, 1),
        "unit": error_unit(first.locale),
        "length": sum(e.length for e in edits),
        "errors": sum(e.errors for e in edits),
        **{name: _rounded(found) for name, found in rates(_measures(heard)).items()},
        "rtf": round(compute / seconds, 4) if seconds else None,
        "first_ms": _spread(r.first_ms for r, _ in heard),
        "end_ms": _spread(r.end_ms for r, _ in heard),
        "turn_ms": _spread(r.turn_ms for r, _ in heard),
    }


def _measures(heard: Sequence[Scored]) -> dict[str, Parts]:
    """What is a part of what, utterance by utterance."""
    edits = [s.edits for _, s in heard]
    words = [s.words or Edits(0, 0, 0, 0) for _, s in heard]
    letters = [s.letters for _, s in heard]
    written = [s.written for _, s in heard]
    lengths = [e.length for e in edits]
    # No answer is a wrong one, but of an engine that never tells a language.
    tells = any(r.condition.prompt == AUTO and r.language for r, _ in heard)
    right = [int(s.language_right is True) for _, s in heard]
    return {
        "error_rate": ([e.errors for e in edits], lengths),
        "insertions": ([e.insertions for e in edits], lengths),
        "deletions": ([e.deletions for e in edits], lengths),
        "substitutions": ([e.substitutions for e in edits], lengths),
        "wer": ([e.errors for e in words], [e.length for e in words]),
        "cer": ([e.errors for e in letters], [e.length for e in letters]),
        "punctuation": ([w.wrong_marks for w in written], [w.marks for w in written]),
        "capitals": ([w.miscased for w in written], [w.cased for w in written]),
        "language_right": (right, [int(tells)] * len(heard)),
    }


def _spread(values: Iterable[float | None]) -> Row | None:
    return _rounded(spread([value for value in values if value is not None]))


def _rounded(found: Any) -> Row | None:
    if found is None:
        return None
    values = found if isinstance(found, dict) else asdict(found)
    return {key: round(value, 4 if key == "p" else 2) for key, value in values.items()}


def _means(rows: Sequence[Row]) -> Iterable[Row]:
    """Means over locales, each counting alike, of each condition and group."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row["error_rate"]:
            key = tuple(row[name] for name in (*_CONDITION, "group"))
            found.setdefault(key, []).append(row)
    for key, members in found.items():
        seconds = sum(row["seconds"] for row in members)
        compute = sum(row["seconds"] * row["rtf"] for row in members if row["rtf"] is not None)
        yield {
            **dict(zip((*_CONDITION, "group"), key, strict=True)),
            "locales": len(members),
            "error_rate": round(sum(r["error_rate"]["value"] for r in members) / len(members), 2),
            "rtf": round(compute / seconds, 4) if seconds else None,
            **{name: _mean_of_medians(members, name) for name in ("first_ms", "end_ms", "turn_ms")},
        }


_CONDITION = ("system", "precision", "mode", "latency_ms", "prompt")


def _mean_of_medians(rows: Sequence[Row], name: str) -> float | None:
    """Weighted by how many were measured."""
    found = [row[name] for row in rows if row[name]]
    count = sum(each["count"] for each in found)
    return round(sum(e["median"] * e["count"] for e in found) / count, 1) if count else None


def _between_systems(scored: Sequence[Scored]) -> Iterable[Row]:
    """Every other system of a run from its first one, where both ran under the same condition."""
    systems = list(_by_system(scored).values())
    for other in systems[1:]:
        yield from _differences(other, systems[0])


def against(scored: Sequence[Scored], before: Sequence[Scored]) -> list[Row]:
    """The differences of a run from an earlier one, on the utterances that both have heard.

    A system is held against the one of its name and precision, of its name, or the only one.

    Raises WheatearError where nothing can be compared.
    """
    ours, theirs, rows = _by_system(scored), _by_system(before), []
    for (name, precision), members in ours.items():
        same = [key for key in theirs if key == (name, precision)]
        same += [key for key in theirs if key[0] == name]
        same += list(theirs) if len(theirs) == 1 else []
        if same:
            rows += _differences(members, theirs[same[0]])
    if not rows:
        raise WheatearError(
            f"the two runs have nothing in common: no utterance with the same reference, language "
            f"prompt, mode and latency in {_named(ours)} and {_named(theirs)}"
        )
    return rows


def _by_system(scored: Sequence[Scored]) -> dict[tuple[str, str], list[Scored]]:
    found: dict[tuple[str, str], list[Scored]] = {}
    for record, one in scored:
        if record.group != NOISE:
            key = record.condition.system, record.condition.precision
            found.setdefault(key, []).append((record, one))
    return found


def _named(systems: Iterable[tuple[str, str]]) -> str:
    return ", ".join(" ".join(key).strip() for key in systems) or "no system"


def _differences(scored: Sequence[Scored], others: Sequence[Scored]) -> Iterable[Row]:
    """How much higher the error rates of one system are than those of another, row by row."""
    known = {_place(r, s): s for r, s in others if r.fault is None}
    base = others[0][0].condition
    for members in _by_row(scored):
        first = members[0][0]
        both = [
            (s, known[_place(r, s)]) for r, s in members
            if r.fault is None and _place(r, s) in known
        ]  # fmt: skip
        if not both:
            continue
        ours, theirs = ([s.edits for s in side] for side in zip(*both, strict=True))
        found = difference(
            [e.errors for e in ours], [e.length for e in ours],
            [e.errors for e in theirs], [e.length for e in theirs],
        )  # fmt: skip
        yield {
            **asdict(first.condition), "locale": first.locale, "group": first.group,
            "against": base.system, "against_precision": base.precision,
            "utterances": len(both), "difference": _rounded(found),
        }  # fmt: skip


def _place(record: Record, scored: Score) -> tuple[Any, ...]:
    """What an utterance has in common with the same one heard by another system."""
    c = record.condition
    return c.mode, c.latency_ms, c.prompt, record.locale, record.id, scored.normal_reference
