"""Recordings of people: which of them may be trained on, and where their words are."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recipes.wheatear_small.text_filter import LOCALE_OF, training_text
from wheatear.errors import CorpusError, ManifestError
from wheatear.evaluate.manifest import decode_line, numbered_lines

Line = dict[str, str]


def read_lines(path: Path) -> list[Line]:
    """The lines of a manifest.  Raises CorpusError naming the first that cannot be used."""
    try:
        return [_entry(path, number, line) for number, line in numbered_lines(path)]
    except ManifestError as error:
        raise CorpusError(str(error)) from error


def _entry(path: Path, number: int, line: bytes) -> Line:
    try:
        entry = json.loads(decode_line(line))
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path}, line {number}: it is not JSON ({error})") from error
    names = entry if isinstance(entry, dict) else {}
    if missing := [key for key in ("audio_filepath", "text") if key not in names]:
        raise CorpusError(f"{path}, line {number}: it has no {missing[0]!r}")
    return entry


def human_texts(manifest: Path, excluded: frozenset[str]) -> Iterator[tuple[Line, str]]:
    """(manifest line, text to train on) of the recordings that may be trained on."""
    for line in read_lines(manifest):
        locale = LOCALE_OF.get(line["lang"])
        text = training_text(line["text"], locale, excluded) if locale else None
        # Faster than people speak: text and audio do not match (a wrong or merged entry).
        if text and len(text) < 25 * float(line["duration"]) + 8:
            yield line, text


@dataclass(frozen=True)
class Run:
    """Words that no quiet moment parts, and where they are."""

    words: tuple[str, ...]
    start: float
    """Seconds."""
    end: float


@dataclass(frozen=True)
class Aligned:
    """A recording in runs."""

    path: str
    locale: str
    speaker: str
    licence: str
    runs: tuple[Run, ...]


def read_aligned(path: Path) -> dict[str, list[Aligned]]:
    """What `recipes.wheatear_small.align` wrote, by locale."""
    found: dict[str, list[Aligned]] = defaultdict(list)
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            runs = tuple(Run(tuple(r["words"]), r["start"], r["end"]) for r in entry.pop("runs"))
            found[entry["locale"]].append(Aligned(**entry, runs=runs))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CorpusError(f"{path} cannot be read as aligned recordings: {error}") from error
    return found
