"""Human recordings: training texts, and the positions of their words."""

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
    """Reads the lines of a manifest.  Raises CorpusError for a line that cannot be used."""
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
    if "licence" in entry:  # spelling of older manifests
        entry["license"] = entry.pop("licence")
    return entry


def human_texts(manifest: Path, excluded: frozenset[str]) -> Iterator[tuple[Line, str]]:
    """Yields the manifest line and training text of recordings that may be trained on."""
    for line in read_lines(manifest):
        locale = LOCALE_OF.get(line["lang"])
        text = training_text(line["text"], locale, excluded) if locale else None
        # A text too long for its duration does not match the audio (a wrong or merged entry).
        if text and len(text) < 25 * float(line["duration"]) + 8:
            yield line, text


@dataclass(frozen=True)
class Run:
    """Words without a pause between them, and their position in seconds."""

    words: tuple[str, ...]
    start: float
    end: float


@dataclass(frozen=True)
class AlignedRecording:
    """A recording as a sequence of runs."""

    path: str
    locale: str
    speaker: str
    license: str
    runs: tuple[Run, ...]


def read_aligned(path: Path) -> dict[str, list[AlignedRecording]]:
    """Reads the output of `recipes.wheatear_small.align`, by locale."""
    found: dict[str, list[AlignedRecording]] = defaultdict(list)
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            runs = tuple(Run(tuple(r["words"]), r["start"], r["end"]) for r in entry.pop("runs"))
            found[entry["locale"]].append(AlignedRecording(**entry, runs=runs))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CorpusError(f"{path} cannot be read as aligned recordings: {error}") from error
    return found
