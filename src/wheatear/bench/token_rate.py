"""As many tokens as speech has, whatever the weights say.

A token costs a run of the predictor and one more of the joint, so a model that says nothing is
too quick, and random weights either say nothing or never stop. The joint is run as always, but
whether its answer counts as a token is drawn from the digits of its inputs: each frame with each
prediction is a fresh draw, the same however streams are batched.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from wheatear.common.arrays import Floats
from wheatear.decoder.greedy import Decoder

Integers = NDArray[np.int64]

SPEECH = 3.0
"""Tokens a second: people say two to three words, many of one piece, and they pause."""
_FRAMES_PER_SECOND = 12.5
_DIGITS = 4096.0  # beyond the leading digits, in which neighbours are alike


def chance(tokens_per_s: float) -> float:
    """Chance of a token at each question to the joint: after one the same frame is asked again,
    so that each frame brings chance / (1 - chance) of them.
    """
    return tokens_per_s / (_FRAMES_PER_SECOND + tokens_per_s)


def drawn(projected: Floats, prediction: Floats, outputs: int, odds: float) -> Integers:
    """Tokens [rows] for the joint's inputs [rows, joint]; the blank is the last of `outputs`."""
    digits = (projected[:, 0] + prediction[:, 0]) * np.float32(_DIGITS)
    digits -= np.floor(digits)
    tokens = 1 + (digits / odds * (outputs - 2)).astype(np.int64)
    return np.where(digits < odds, tokens, outputs - 1)


@contextmanager
def speaking(tokens_per_s: float | None) -> Iterator[None]:
    """Within the block joints answer with so many tokens; None leaves them alone."""
    if tokens_per_s is None:
        yield
        return
    odds, best = chance(tokens_per_s), Decoder.best

    def answer(self: Decoder, projected: Floats, prediction: Floats) -> tuple[Integers, Floats]:
        _tokens, logits = best(self, projected, prediction)
        return drawn(projected, prediction, logits.shape[1], odds), logits

    Decoder.best = answer
    try:
        yield
    finally:
        Decoder.best = best
