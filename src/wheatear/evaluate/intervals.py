"""How sure a rate is, and a difference of rates: bootstrap over utterances.

Utterances are drawn anew with replacement, many times; the middle 95 % of what comes out is the
interval.  Two systems are compared on the same draws, so that what is hard for both cancels out.

Source: Bisani and Ney 2004 (bootstrap estimates for confidence intervals in ASR).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

DRAWS = 2000
_AT_ONCE = 100
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rate:
    """A part of a whole, in per cent, with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


def rate(parts: Sequence[float], wholes: Sequence[float]) -> Rate | None:
    """Of all utterances together; None where there is nothing to have a part of."""
    if not sum(wholes):
        return None
    part, whole = _draws(np.array([parts, wholes], float).T).T
    low, high = _middle(part, whole)
    return Rate(_per_cent(sum(parts), sum(wholes)), low, high)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much higher one rate is than another, in percentage points."""

    value: float
    low: float
    high: float
    p: float
    """Probability of a difference so far from none if there were none, two-sided."""


def difference(
    parts: Sequence[float], wholes: Sequence[float],
    other_parts: Sequence[float], other_wholes: Sequence[float],
) -> Difference | None:  # fmt: skip
    """Of the first rate from the second, on the same utterances in the same order."""
    if not sum(wholes) or not sum(other_wholes):
        return None
    drawn = _draws(np.array([parts, wholes, other_parts, other_wholes], float).T).T
    fits = (drawn[1] > 0) & (drawn[3] > 0)
    part, whole, other_part, other_whole = drawn[:, fits]
    apart = 100 * (part / whole - other_part / other_whole)
    low, high = np.percentile(apart, [2.5, 97.5])
    rarer = min((apart <= 0).sum(), (apart >= 0).sum())
    value = _per_cent(sum(parts), sum(wholes)) - _per_cent(sum(other_parts), sum(other_wholes))
    p = min(1.0, 2 * (rarer + 1) / (len(apart) + 1))
    return Difference(value, float(low), float(high), float(p))


def spread(values: Sequence[float]) -> dict[str, Any] | None:
    """Median and 90th percentile of measurements; None of none."""
    if not values:
        return None
    median, high = np.percentile(values, [50, 90])
    return {"median": float(median), "p90": float(high), "count": len(values)}


def _draws(columns: Floats) -> Floats:
    """Sums of the columns [utterances, k] over each draw of utterances, [draws, k]."""
    chance, count = np.random.default_rng(0), len(columns)
    evenly = np.full(count, 1 / count)
    sums = [chance.multinomial(count, evenly, _AT_ONCE) @ columns for _ in range(DRAWS // _AT_ONCE)]
    return np.concatenate(sums)


def _middle(part: Floats, whole: Floats) -> tuple[float, float]:
    fits = whole > 0
    low, high = np.percentile(100 * part[fits] / whole[fits], [2.5, 97.5])
    return float(low), float(high)


def _per_cent(part: float, whole: float) -> float:
    return float(100 * part / whole)
