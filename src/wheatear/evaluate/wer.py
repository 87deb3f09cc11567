"""What was said against what was heard: errors, and which words are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import kaldialign

_MISSING = "\0"  # no text holds it


@dataclass(frozen=True, slots=True)
class Edits:
    """Errors of one text, in words or in characters."""

    length: int
    """Units that were said."""
    insertions: int
    deletions: int
    substitutions: int

    @property
    def errors(self) -> int:
        return self.insertions + self.deletions + self.substitutions


def count_edits(said: Sequence[str], heard: Sequence[str]) -> Edits:
    """The fewest edits that make of what was said what was heard."""
    found = kaldialign.edit_distance(said, heard)
    return Edits(len(said), int(found["ins"]), int(found["del"]), int(found["sub"]))


def align(said: Sequence[str], heard: Sequence[str]) -> list[tuple[str | None, str | None]]:
    """Pairs of an alignment with the fewest edits; None stands for what is missing."""
    pairs = kaldialign.align(said, heard, _MISSING)
    return [(_unless_missing(one), _unless_missing(other)) for one, other in pairs]


def matching_pairs(said: Sequence[str], heard: Sequence[str]) -> list[tuple[int, int]]:
    """(place in what was said, place in what was heard) of the units that are right."""
    found, i, j = [], 0, 0
    for one, other in align(said, heard):
        if one == other:
            found.append((i, j))
        i, j = i + (one is not None), j + (other is not None)
    return found


def _unless_missing(unit: str) -> str | None:
    return None if unit == _MISSING else unit
