"""Figures of summary.json: a row for each condition, locale and group, means, differences."""

import os
import platform
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from wheatear import __version__
from wheatear.errors import WheatearError
from wheatear.evaluate.bootstrap import Parts, difference, rates, spread
from wheatear.evaluate.records import AUTO, Record, Score
from wheatear.evaluate.runner import NOISE, Results
from wheatear.evaluate.wer import Edits
from wheatear.model.locales import error_unit

SUMMARY = "summary.json"
_CONDITION = ("system", "precision", "mode", "latency_ms", "prompt")
_TIMES = ("first_ms", "end_ms", "turn_ms")
Scored = tuple[Record, Score]
Row = dict[str, Any]
_Item = TypeVar("_Item")
_Key = TypeVar("_Key", bound=Hashable)


def summarize(results: Results) -> dict[str, Any]:
    """All figures of a run."""
    spoken = [(r, s) for r, s in results.scored if r.group != NOISE]
    rows = [_row(members) for members in _by_row(spoken)]
    return {
        "systems": [{"system": name, **asdict(info)} for name, info in results.engines],
        "rows": rows,
        "means": list(_means(rows)),
        "differences": list(_differences_of_systems(spoken)),
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
    """Command, date, machine and versions of a run."""
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


def group_by(items: Iterable[_Item], key: Callable[[_Item], _Key]) -> dict[_Key, list[_Item]]:
    """Items by key, in the order of their first occurrence."""
    found: dict[_Key, list[_Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def _by_row(scored: Iterable[Scored]) -> Iterable[list[Scored]]:
    return group_by(scored, lambda one: (one[0].condition, one[0].locale, one[0].group)).values()


def _row(members: Sequence[Scored]) -> Row:
    """Rates in percent with 95 % intervals, times in milliseconds."""
    first = members[0][0]
    valid = [(r, s) for r, s in members if r.fault is None]
    edits = [s.edits for _, s in valid]
    seconds = sum(r.seconds for r, _ in valid)
    compute = sum(r.compute or 0.0 for r, _ in valid)
    return {
        **asdict(first.condition),
        "locale": first.locale,
        "group": first.group,
        "utterances": len(valid),
        "failed": len(members) - len(valid),
        "seconds": round(seconds, 1),
        "unit": error_unit(first.locale),
        "length": sum(e.length for e in edits),
        "errors": sum(e.errors for e in edits),
        **{name: _rounded(found) for name, found in rates(_measures(valid)).items()},
        "rtf": round(compute / seconds, 4) if seconds else None,
        **{name: _spread(getattr(r, name) for r, _ in valid) for name in _TIMES},
    }


def _measures(scored: Sequence[Scored]) -> dict[str, Parts]:
    """Numerator and denominator of each rate, utterance by utterance."""
    edits = [s.edits for _, s in scored]
    words = [s.words or Edits(0, 0, 0, 0) for _, s in scored]
    characters = [s.characters for _, s in scored]
    marks = [s.punctuation for _, s in scored]
    lengths = [e.length for e in edits]
    # No detected language counts as wrong, unless the engine never detects one.
    detects = any(r.condition.prompt == AUTO and r.language for r, _ in scored)
    right = [int(s.language_right is True) for _, s in scored]
    return {
        "error_rate": ([e.errors for e in edits], lengths),
        "insertions": ([e.insertions for e in edits], lengths),
        "deletions": ([e.deletions for e in edits], lengths),
        "substitutions": ([e.substitutions for e in edits], lengths),
        "wer": ([e.errors for e in words], [e.length for e in words]),
        "cer": ([e.errors for e in characters], [e.length for e in characters]),
        "punctuation": ([m.wrong_marks for m in marks], [m.marks for m in marks]),
        "capitals": ([m.miscased for m in marks], [m.cased for m in marks]),
        "language_right": (right, [int(detects)] * len(scored)),
    }


def _spread(values: Iterable[float | None]) -> Row | None:
    return _rounded(spread([value for value in values if value is not None]))


def _rounded(found: Any) -> Row | None:
    if found is None:
        return None
    values = found if isinstance(found, dict) else asdict(found)
    return {key: round(value, 4 if key == "p" else 2) for key, value in values.items()}


def _means(rows: Sequence[Row]) -> Iterator[Row]:
    """Means of each condition and group over locales with equal weights."""
    names = (*_CONDITION, "group")
    valid = [row for row in rows if row["error_rate"]]
    for key, members in group_by(valid, lambda row: tuple(row[name] for name in names)).items():
        seconds = sum(row["seconds"] for row in members)
        compute = sum(row["seconds"] * row["rtf"] for row in members if row["rtf"] is not None)
        yield {
            **dict(zip(names, key, strict=True)),
            "locales": len(members),
            "error_rate": round(sum(r["error_rate"]["value"] for r in members) / len(members), 2),
            "rtf": round(compute / seconds, 4) if seconds else None,
            **{name: _mean_of_medians(members, name) for name in _TIMES},
        }


def _mean_of_medians(rows: Sequence[Row], name: str) -> float | None:
    """Mean weighted by the number of measurements."""
    found = [row[name] for row in rows if row[name]]
    count = sum(each["count"] for each in found)
    return round(sum(e["median"] * e["count"] for e in found) / count, 1) if count else None


def _differences_of_systems(scored: Sequence[Scored]) -> Iterator[Row]:
    """Differences of all systems from the first one under the same condition."""
    systems = list(_by_system(scored).values())
    for other in systems[1:]:
        yield from _differences(other, systems[0])


def against(scored: Sequence[Scored], before: Sequence[Scored]) -> list[Row]:
    """Differences of a run from an earlier one, on their common utterances.

    A system is compared with the one of its name and precision, of its name, or the only one.

    Raises:
        WheatearError: The runs have no common utterance and condition.
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
            f"prompt, mode and latency in {_names(ours)} and {_names(theirs)}"
        )
    return rows


def _by_system(scored: Sequence[Scored]) -> dict[tuple[str, str], list[Scored]]:
    spoken = [one for one in scored if one[0].group != NOISE]
    return group_by(spoken, lambda one: (one[0].condition.system, one[0].condition.precision))


def _names(systems: Iterable[tuple[str, str]]) -> str:
    return ", ".join(" ".join(key).strip() for key in systems) or "no system"


def _differences(scored: Sequence[Scored], others: Sequence[Scored]) -> Iterator[Row]:
    """Differences of the error rates of one system from those of another, row by row."""
    known = {_identity(r, s): s for r, s in others if r.fault is None}
    base = others[0][0].condition
    for members in _by_row(scored):
        first = members[0][0]
        both = [
            (s, known[_identity(r, s)]) for r, s in members
            if r.fault is None and _identity(r, s) in known
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


def _identity(record: Record, scored: Score) -> tuple[Any, ...]:
    """Key of an utterance and its condition, the same for all systems."""
    c = record.condition
    return c.mode, c.latency_ms, c.prompt, record.locale, record.id, scored.normal_reference
