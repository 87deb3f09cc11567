"""Confidence of tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheatear.decoder.search import token_confidence


@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=30))
def test_confidence_lies_between_zero_and_one(logits: list[float]) -> None:
    row = np.array(logits, np.float32)
    best = int(row.argmax())
    for measure in ("probability", "entropy"):
        assert 0 <= token_confidence(row, best, measure) <= 1


def test_confidence_of_equal_logits_is_the_lowest() -> None:
    assert token_confidence(np.zeros(8, np.float32), 3, "entropy") == pytest.approx(0, abs=1e-9)
    assert token_confidence(np.zeros(8, np.float32), 3, "probability") == pytest.approx(1 / 8)


def test_confidence_of_a_certain_token_is_one() -> None:
    row = np.array([0, 0, 99], np.float32)
    assert token_confidence(row, 2, "entropy") == pytest.approx(1)
    assert token_confidence(row, 2, "probability") == pytest.approx(1)
