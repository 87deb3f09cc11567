"""Search for the largest number of streams, on made-up trials."""

import pytest

from wheatear.bench.capacity import Trial, find_capacity


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 7, 33, 500])
def test_search_finds_the_limit_within_a_twentieth(limit):
    tried = []

    def trial_of(streams):
        tried.append(streams)
        lag = 10.0 if streams <= limit else 1000.0
        return Trial(streams, 80, lag, lag, lag, 0, 0)

    best = find_capacity(trial_of)
    found = best.streams if best else 0
    assert found <= limit
    assert found >= limit - limit // 20
    assert len(tried) < 25


def test_trial_with_a_few_late_answers_is_repeated():
    """Every other trial has a few late answers; above five streams most answers are late."""
    counts = {}

    def trial_of(streams):
        counts[streams] = counts.get(streams, 0) + 1
        lag = 10.0 if streams <= 5 else 200.0
        late = 90.0 if counts[streams] % 2 else lag
        return Trial(streams, 80, 10.0, lag, max(lag, late), 0, 0)

    assert find_capacity(trial_of).streams == 5
    assert counts[6] == 1
