"""Intervals and differences of rates."""

import numpy as np
import pytest

from wheatear.evaluate.bootstrap import Rate, difference, rates, spread


def rate(parts: list[int], wholes: list[int]) -> Rate | None:
    return rates({"one": (parts, wholes)})["one"]


def test_95_per_cent_of_the_intervals_contain_the_rate():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(100):
        lengths = rng.integers(5, 15, 60)
        errors = rng.binomial(lengths, 0.2)
        found = rate(errors.tolist(), lengths.tolist())
        assert found.low <= found.value <= found.high
        assert found.value == pytest.approx(100 * errors.sum() / lengths.sum())
        hits += found.low <= 20 <= found.high
    assert 88 <= hits <= 100


def test_rate_without_units_is_none():
    assert rate([], []) is None
    several = rates({"a": ([1, 2], [4, 4]), "b": ([0, 0], [0, 0]), "c": ([1, 2], [4, 4])})
    assert several == {"a": rate([1, 2], [4, 4]), "b": None, "c": several["a"]}
    assert rate([1, 0], [0, 0]) is None
    certain = rate([0, 0], [3, 4])
    assert (certain.value, certain.low, certain.high) == (0, 0, 0)
    assert rate([5], [4]).value == 125


def test_paired_difference_is_more_certain_than_either_rate():
    rng = np.random.default_rng(1)
    lengths = [10] * 200
    hard = rng.binomial(10, 0.3, 200)
    worse = hard + rng.binomial(1, 0.3, 200)
    found = difference(worse.tolist(), lengths, hard.tolist(), lengths)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(100 * (worse - hard).sum() / 2000)
    assert found.p < 0.01
    single = rate(worse.tolist(), lengths)
    assert found.high - found.low < single.high - single.low
    back = difference(hard.tolist(), lengths, worse.tolist(), lengths)
    assert (back.value, back.p) == (pytest.approx(-found.value), pytest.approx(found.p))


def test_equal_systems_have_no_difference():
    none = difference([1, 2], [5, 5], [1, 2], [5, 5])
    assert (none.value, none.low, none.high, none.p) == (0, 0, 0, 1)
    assert difference([], [], [], []) is None


def test_random_differences_are_seldom_significant():
    rng, found = np.random.default_rng(2), 0
    for _ in range(100):
        one, other = rng.binomial(10, 0.3, (2, 50))
        found += difference(one.tolist(), [10] * 50, other.tolist(), [10] * 50).p < 0.05
    assert found <= 12


def test_spread_is_median_and_90th_percentile():
    assert spread([]) is None
    assert spread([3, 1, 2]) == {"median": 2, "p90": pytest.approx(2.8), "count": 3}
