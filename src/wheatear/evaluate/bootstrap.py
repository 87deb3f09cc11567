"""How sure a rate is, and a difference of rates: bootstrap over utterances.

Utterances are drawn anew with replacement, many times; the middle 95 % of what comes out is the
interval.  Two systems are compared on the same draws, so that what is hard for both cancels out.

Source: Bisani and Ney 2004 (bootstrap estimates for confidence intervals in ASR).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

DRAWS = 1000
_AT_ONCE = 100
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rate:
    """A part of a whole, in per cent, with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


Parts = tuple[Sequence[float], Sequence[float]]
"""Of each utterance, a part and the whole that it is a part of."""


def rates(measures: Mapping[str, Parts]) -> dict[str, Rate | None]:
    """Several rates of the same utterances, all on the same draws.

    Each is that of all utterances together, or None where there is nothing to have a part of.
    """
    drawn = _draws(np.array([each for parts in measures.values() for each in parts], float).T).T
    found: dict[str, Rate | None] = {}
    for number, (name, (part, whole)) in enumerate(measures.items()):
        found[name] = None
        if sum(whole):
            parts, wholes = drawn[2 * number : 2 * number + 2]
            fits = wholes > 0
            low, high = np.percentile(100 * parts[fits] / wholes[fits], [2.5, 97.5])
            found[name] = Rate(_per_cent(sum(part), sum(whole)), float(low), float(high))
    return found


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
    sums = []
    for _ in range(DRAWS // _AT_ONCE):
        drawn = chance.integers(0, max(1, count), (_AT_ONCE, count))
        drawn += count * np.arange(_AT_ONCE)[:, None]
        times = np.bincount(drawn.ravel(), minlength=_AT_ONCE * count)
        sums.append(times.reshape(_AT_ONCE, count).astype(float) @ columns)
    return np.concatenate(sums)


def _per_cent(part: float, whole: float) -> float:
    return float(100 * part / whole)
