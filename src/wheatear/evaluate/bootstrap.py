"""Confidence intervals of rates and of differences of rates, by bootstrap over utterances.

Utterances are resampled with replacement; the middle 95 % of the rates are the interval. Two
systems are compared on the same samples (paired), so that utterances that are hard for both cancel
out.

Source: Bisani and Ney 2004 (bootstrap estimates for confidence intervals in ASR).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SAMPLES = 1000
_BATCH = 100
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate in percent with its 95 % interval."""

    value: float
    low: float
    high: float


Parts = tuple[Sequence[float], Sequence[float]]
"""Numerator and denominator of each utterance."""


def rates(measures: Mapping[str, Parts]) -> dict[str, Rate | None]:
    """Rates of all utterances together, on the same samples; None if a denominator is zero."""
    sums = _resample(np.array([each for parts in measures.values() for each in parts], float).T).T
    found: dict[str, Rate | None] = {}
    for number, (name, (part, whole)) in enumerate(measures.items()):
        found[name] = None
        if sum(whole):
            parts, wholes = sums[2 * number : 2 * number + 2]
            valid = wholes > 0
            low, high = np.percentile(100 * parts[valid] / wholes[valid], [2.5, 97.5])
            found[name] = Rate(_per_cent(part, whole), float(low), float(high))
    return found


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of two rates in percentage points, with its 95 % interval."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided p-value."""


def difference(
    parts: Sequence[float], wholes: Sequence[float],
    other_parts: Sequence[float], other_wholes: Sequence[float],
) -> Difference | None:  # fmt: skip
    """The first rate minus the second, on the same utterances in the same order."""
    if not sum(wholes) or not sum(other_wholes):
        return None
    sums = _resample(np.array([parts, wholes, other_parts, other_wholes], float).T).T
    part, whole, other_part, other_whole = sums[:, (sums[1] > 0) & (sums[3] > 0)]
    sampled = 100 * (part / whole - other_part / other_whole)
    low, high = np.percentile(sampled, [2.5, 97.5])
    rarer = min((sampled <= 0).sum(), (sampled >= 0).sum())
    p = min(1.0, 2 * (rarer + 1) / (len(sampled) + 1))
    value = _per_cent(parts, wholes) - _per_cent(other_parts, other_wholes)
    return Difference(value, float(low), float(high), float(p))


def spread(values: Sequence[float]) -> dict[str, Any] | None:
    """Median and 90th percentile; None without values."""
    if not values:
        return None
    median, high = np.percentile(values, [50, 90])
    return {"median": float(median), "p90": float(high), "count": len(values)}


def _resample(columns: Floats) -> Floats:
    """Sums of the columns [utterances, k] over each sample of utterances, [samples, k]."""
    rng, count = np.random.default_rng(0), len(columns)
    sums = []
    for _ in range(SAMPLES // _BATCH):
        drawn = rng.integers(0, max(1, count), (_BATCH, count))
        drawn += count * np.arange(_BATCH)[:, None]
        times = np.bincount(drawn.ravel(), minlength=_BATCH * count)
        sums.append(times.reshape(_BATCH, count).astype(float) @ columns)
    return np.concatenate(sums)


def _per_cent(parts: Sequence[float], wholes: Sequence[float]) -> float:
    return float(100 * sum(parts) / sum(wholes))
