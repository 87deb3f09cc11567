"""Alignment of reference and hypothesis: insertions, deletions, substitutions, correct units."""

from collections.abc import Sequence
from dataclasses import dataclass

import kaldialign

_GAP = "\0"  # not in any text


@dataclass(frozen=True, slots=True)
class Edits:
    """Errors of one text, in words or in characters."""

    length: int
    """Units of the reference."""
    insertions: int
    deletions: int
    substitutions: int

    @property
    def errors(self) -> int:
        """Number of edits."""
        return self.insertions + self.deletions + self.substitutions


def count_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> Edits:
    """Counts the fewest edits that turn the reference into the hypothesis."""
    found = kaldialign.edit_distance(reference, hypothesis)
    return Edits(len(reference), int(found["ins"]), int(found["del"]), int(found["sub"]))


def align(
    reference: Sequence[str], hypothesis: Sequence[str]
) -> list[tuple[str | None, str | None]]:
    """Pairs of an alignment with the fewest edits; None is a gap."""
    pairs = kaldialign.align(reference, hypothesis, _GAP)
    return [(None if a == _GAP else a, None if b == _GAP else b) for a, b in pairs]


def matching_pairs(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[int, int]]:
    """Places (in the reference, in the hypothesis) of the correct units."""
    found, i, j = [], 0, 0
    for a, b in align(reference, hypothesis):
        if a == b:
            found.append((i, j))
        i, j = i + (a is not None), j + (b is not None)
    return found
