"""What is written down of each utterance: one line of utterances.jsonl.

A line is complete when it is written, so a run that was stopped goes on behind its last line.
Scores are made anew from the texts whenever a run ends, so that they always follow the options.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from wheatear.errors import LanguageError, ManifestError
from wheatear.evaluate.normalizer import characters, normalize
from wheatear.evaluate.punctuation import (
    PunctuationCounts,
    compare_punctuation,
    has_capitals,
    has_marks,
)
from wheatear.evaluate.wer import Edits, count_edits
from wheatear.model.languages import resolve_language
from wheatear.model.locales import error_unit, has_spaces, language_of

UTTERANCES = "utterances.jsonl"
EARLIER = "earlier.jsonl"
"""What a folder holds of systems and recordings that its last run had nothing to do with."""
UNPAIRED = "backslashreplace"
"""How names that are not UTF-8 are written: as JSON escapes them, so that they are read back."""
WHOLE, STREAM = "whole", "stream"
GIVEN, AUTO = "given", "auto"


@dataclass(frozen=True, slots=True)
class Condition:
    """What was measured, and how."""

    system: str
    precision: str
    mode: str
    """`whole` files, a `stream`, or pieces of a length for engines that have no streams."""
    latency_ms: int | None
    prompt: str
    """Whether the language was `given` or to be told (`auto`)."""


@dataclass(frozen=True, slots=True)
class Record:
    """One utterance under one condition."""

    condition: Condition
    id: str
    locale: str
    group: str
    asked: str | None
    """The language that the engine was asked for."""
    seconds: float
    reference: str
    hypothesis: str
    language: str | None = None
    """The language that the engine told."""
    compute: float | None = None
    """Seconds of work."""
    first_ms: float | None = None
    end_ms: float | None = None
    turn_ms: float | None = None
    fault: str | None = None
    """Why there is no hypothesis."""
    fingerprint: str = ""
    """Of the weights and the machine's share."""

    @property
    def key(self) -> tuple[Condition, str]:
        return self.condition, self.id


@dataclass(frozen=True, slots=True)
class Scoring:
    """How texts are compared."""

    spell_numbers: bool = False
    fold_accents: frozenset[str] = frozenset()
    """Locales or languages whose references lack accents."""

    def normal(self, text: str, locale: str) -> str:
        fold = bool(self.fold_accents & {locale, language_of(locale)})
        return normalize(text, locale, spell_numbers=self.spell_numbers, fold_accents=fold)


@dataclass(frozen=True, slots=True)
class Score:
    """What a record is worth."""

    normal_reference: str
    normal_hypothesis: str
    unit: str
    """What errors are counted in."""
    words: Edits | None
    """None in locales without spaces."""
    letters: Edits
    written: PunctuationCounts
    language_right: bool | None
    """None where the language was given, or none was told."""

    @property
    def edits(self) -> Edits:
        """In the unit of the locale."""
        return self.letters if self.unit == "character" or self.words is None else self.words


def score(record: Record, scoring: Scoring) -> Score:
    """Compares hypothesis and reference."""
    said = scoring.normal(record.reference, record.locale)
    heard = scoring.normal(record.hypothesis, record.locale)
    written = compare_punctuation(record.reference, record.hypothesis, record.locale)
    marked = has_marks(record.reference, record.locale)
    cased = has_capitals(record.reference)
    return Score(
        said, heard, error_unit(record.locale),
        count_edits(said.split(), heard.split()) if has_spaces(record.locale) else None,
        count_edits(characters(said), characters(heard)),
        PunctuationCounts(
            written.marks * marked, written.wrong_marks * marked,
            written.cased * cased, written.miscased * cased,
        ),
        _language_right(record),
    )  # fmt: skip


def _language_right(record: Record) -> bool | None:
    """Whether the language that was told is that of the locale, whatever the region."""
    if record.condition.prompt == GIVEN or record.language is None:
        return None
    try:
        resolve_language({record.locale: 0}, language_of(record.language))
    except LanguageError:
        return False
    return True


def to_line(record: Record, scored: Score) -> str:
    """A line of utterances.jsonl."""
    line = asdict(record)
    line |= line.pop("condition")
    line["errors"] = scored.edits.errors
    line["length"] = scored.edits.length
    line |= asdict(scored)
    return json.dumps(line, ensure_ascii=False) + "\n"


def from_line(line: Mapping[str, Any]) -> Record:
    """Raises KeyError or TypeError for what is no line of utterances.jsonl."""
    condition = Condition(**{field.name: line[field.name] for field in fields(Condition)})
    names = [field.name for field in fields(Record) if field.name != "condition"]
    return Record(condition, **{name: line[name] for name in names})


def read_records(folder: Path, *names: str) -> dict[tuple[Condition, str], Record]:
    """What a run has written so far; a line that was cut off is left out.

    names: the files to read; the utterances of its last run if none is given.
    """
    found: dict[tuple[Condition, str], Record] = {}
    for path in (folder / name for name in names or (UTTERANCES,)):
        if not path.exists():
            continue
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError as error:
            raise ManifestError(f"cannot read {path}: {error.strerror or error}") from error
        for line in lines:
            try:
                record = from_line(json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue
            found[record.key] = record
    return found


def write_records(path: Path, scored: Iterable[tuple[Record, Score]]) -> None:
    """Writes a file of lines anew, or leaves it as it was; without lines there is none."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8", errors=UNPAIRED) as out:
        out.writelines(to_line(record, found) for record, found in scored)
        empty = not out.tell()
    os.replace(partial, path)
    if empty:
        path.unlink()
