"""Types that all searches share: emissions, the search and its state."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from wheatear.common.arrays import Floats
from wheatear.decoder.boosting import BoostingTree
from wheatear.model.manifest import ConfidenceMeasure


class Emission(NamedTuple):
    """A token that a search emitted."""

    token: int
    frame: int
    """Encoder frame, counted from the start of the stream."""
    confidence: float
    """Confidence from 0 to 1, by the measure of the model."""


class Search(Protocol):
    """A search over many streams at once, shared by all of them; `start` makes a state."""

    unchanged_by_blanks: bool
    """True if frames without a token leave the states as they were."""

    def step(self, states: Sequence[Any], joint_inputs: Sequence[Floats]) -> list[list[Emission]]:
        """Searches the next frames of each stream.

        Args:
            states: States that this search has started.
            joint_inputs: New frames of each stream, float32 [frames, joint].

        Returns:
            The emissions of each stream that cannot change any more.
        """
        ...


class SearchState(Protocol):
    """The state of one stream's search."""

    frames: int
    """Number of encoder frames searched."""

    @property
    def search(self) -> Search:
        """The search that advances it."""
        ...

    @property
    def settled(self) -> int:
        """Number of frames whose tokens cannot change any more."""
        ...

    def set_boosting(self, tree: BoostingTree | None) -> None:
        """Replaces the boosted phrases from the next frame on. Call `commit` first."""
        ...

    def commit(self) -> list[Emission]:
        """Decides for the best hypothesis and returns its emissions that were open."""
        ...


def token_confidence(logits: Floats, token: int, measure: ConfidenceMeasure) -> float:
    """Confidence of an output by the logits [outputs] of all, the blank included.

    Either its probability, or one minus the entropy of all, divided by the largest entropy.

    Source: Laptev and Ginsburg 2022 (arXiv 2212.08703), entropy with linear normalization.
    """
    if measure == "probability":
        return float(1 / np.exp(logits - logits[token]).sum(dtype=np.float64))
    shares = np.exp((logits - logits.max()).astype(np.float64))
    shares /= shares.sum()
    entropy = -float((shares * np.log(shares + 1e-300)).sum())
    return min(1.0, max(0.0, 1 - entropy / math.log(len(shares))))
