"""Records of utterances and their scores: the lines of utterances.jsonl.

Each line is complete when it is written, so an interrupted run continues after its last line.
Scores are computed from the texts at the end of each run and follow the options of that run.
"""

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
"""Records of systems and recordings that were not part of the last run."""
UNPAIRED = "backslashreplace"
"""Error handler that writes file names that are not UTF-8 as JSON escapes."""
WHOLE, STREAM = "whole", "stream"
GIVEN, AUTO = "given", "auto"
# Keys of utterances.jsonl that differ from the names of fields.
_KEYS = {"requested_language": "asked", "characters": "letters", "punctuation": "written"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A system and how it ran."""

    system: str
    precision: str
    mode: str
    """`whole`, `stream`, or the windows of an engine without streams."""
    latency_ms: int | None
    prompt: str
    """`given` if the engine got the language, `auto` if it had to detect it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One utterance under one condition."""

    condition: Condition
    id: str
    locale: str
    group: str
    requested_language: str | None
    """Language given to the engine."""
    seconds: float
    reference: str
    hypothesis: str
    language: str | None = None
    """Language detected by the engine."""
    compute: float | None = None
    """Compute time in seconds."""
    first_ms: float | None = None
    end_ms: float | None = None
    turn_ms: float | None = None
    fault: str | None = None
    """Error of an utterance without a hypothesis."""
    fingerprint: str = ""
    """Identifies weights and number of threads."""

    @property
    def key(self) -> tuple[Condition, str]:
        return self.condition, self.id


@dataclass(frozen=True, slots=True)
class Scoring:
    """Normalization of texts before they are compared."""

    spell_numbers: bool = False
    fold_accents: frozenset[str] = frozenset()
    """Locales or languages whose references lack accents."""

    def normalize(self, text: str, locale: str) -> str:
        fold = bool(self.fold_accents & {locale, language_of(locale)})
        return normalize(text, locale, spell_numbers=self.spell_numbers, fold_accents=fold)


@dataclass(frozen=True, slots=True)
class Score:
    """Normalized texts of a record, and its errors."""

    normal_reference: str
    normal_hypothesis: str
    unit: str
    """Unit of the error rate: `word` or `character`."""
    words: Edits | None
    """None in locales without spaces."""
    characters: Edits
    punctuation: PunctuationCounts
    language_right: bool | None
    """True if the detected language is correct; None if none had to be detected."""

    @property
    def edits(self) -> Edits:
        """Edits in the unit of the locale."""
        return self.characters if self.unit == "character" or self.words is None else self.words


def score(record: Record, scoring: Scoring) -> Score:
    """Compares hypothesis and reference."""
    locale = record.locale
    reference = scoring.normalize(record.reference, locale)
    hypothesis = scoring.normalize(record.hypothesis, locale)
    counts = compare_punctuation(record.reference, record.hypothesis, locale)
    marked, cased = has_marks(record.reference, locale), has_capitals(record.reference)
    return Score(
        reference, hypothesis, error_unit(locale),
        count_edits(reference.split(), hypothesis.split()) if has_spaces(locale) else None,
        count_edits(characters(reference), characters(hypothesis)),
        PunctuationCounts(
            counts.marks * marked, counts.wrong_marks * marked,
            counts.cased * cased, counts.miscased * cased,
        ),
        _is_language_right(record),
    )  # fmt: skip


def _is_language_right(record: Record) -> bool | None:
    """True if the detected language is that of the locale, in any region."""
    if record.condition.prompt == GIVEN or record.language is None:
        return None
    try:
        resolve_language({record.locale: 0}, language_of(record.language))
    except LanguageError:
        return False
    return True


def to_line(record: Record, scored: Score) -> str:
    """Formats a line of utterances.jsonl."""
    line = asdict(record)
    line |= line.pop("condition")
    line |= {"errors": scored.edits.errors, "length": scored.edits.length, **asdict(scored)}
    line = {_KEYS.get(name, name): value for name, value in line.items()}
    return json.dumps(line, ensure_ascii=False) + "\n"


def from_line(line: Mapping[str, Any]) -> Record:
    """Parses a line of utterances.jsonl.  Raises KeyError or TypeError for any other object."""
    condition = Condition(**{field.name: line[field.name] for field in fields(Condition)})
    names = [field.name for field in fields(Record) if field.name != "condition"]
    return Record(condition, **{name: line[_KEYS.get(name, name)] for name in names})


def read_records(folder: Path, *names: str) -> dict[tuple[Condition, str], Record]:
    """Reads files of records, by default those of the last run, without incomplete lines.

    Raises ManifestError if a file cannot be read.
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
    """Replaces a file of records; deletes it if there are no records."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8", errors=UNPAIRED) as out:
        out.writelines(to_line(record, found) for record, found in scored)
    os.replace(partial, path)
    if not path.stat().st_size:
        path.unlink()
