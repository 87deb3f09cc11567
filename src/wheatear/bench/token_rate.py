"""Realistic token rate for benchmarks, independent of the weights.

Each token costs a run of the predictor and another run of the joint. A model that emits nothing
would seem too fast, and random weights emit either nothing or endlessly. The joint runs as usual,
but its decision is drawn from the digits of its inputs: an independent draw for each frame and
prediction, the same for any batching of streams.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from wheatear.common.arrays import Floats
from wheatear.decoder.greedy import GreedySearch

Integers = NDArray[np.int64]

SPEECH = 3.0
"""Tokens per second of speech: two to three words, many of them one piece, and pauses."""
_FRAMES_PER_SECOND = 12.5
_DIGITS = 4096.0  # skips the leading digits, which are alike in neighboring frames


def token_probability(tokens_per_s: float) -> float:
    """Probability p of a token at each run of the joint.

    The joint runs again on the same frame after a token: a frame yields p / (1 - p) of them.
    """
    return tokens_per_s / (_FRAMES_PER_SECOND + tokens_per_s)


def draw_tokens(
    projected: Floats, prediction: Floats, outputs: int, probability: float
) -> Integers:
    """Tokens [rows] for the joint's inputs [rows, joint]; the last of `outputs` is the blank."""
    digits = (projected[:, 0] + prediction[:, 0]) * np.float32(_DIGITS)
    digits -= np.floor(digits)
    tokens = 1 + (digits / probability * (outputs - 2)).astype(np.int64)
    return np.where(digits < probability, tokens, outputs - 1)


@contextmanager
def forced_token_rate(tokens_per_s: float | None) -> Iterator[None]:
    """Makes greedy search emit this many tokens per second within the block; None: no change."""
    if tokens_per_s is None:
        yield
        return
    probability, best = token_probability(tokens_per_s), GreedySearch.best_outputs

    def draw(
        self: GreedySearch, joint_input: Floats, prediction: Floats
    ) -> tuple[Integers, Floats]:
        _tokens, logits = best(self, joint_input, prediction)
        return draw_tokens(joint_input, prediction, logits.shape[1], probability), logits

    GreedySearch.best_outputs = draw
    try:
        yield
    finally:
        GreedySearch.best_outputs = best
