"""Latency modes follow from the attention context of a checkpoint."""

import pytest

from wheatear.errors import LatencyError
from wheatear.model.latency import LatencyMode, available_modes, choose_mode


def test_modes_follow_from_the_left_context():
    nemotron = available_modes([(56, 3), (56, 0), (56, 6), (56, 13)])
    assert [mode.latency_ms for mode in nemotron] == [80, 160, 320, 560, 1120]
    english = available_modes([(70, 13), (70, 6), (70, 1), (70, 0)])
    assert [mode.latency_ms for mode in english] == [80, 160, 560, 1120]
    first = available_modes([(56, 3), (28, 3), (28, 6)])
    assert [(mode.left, mode.lookahead) for mode in first][2:4] == [(56, 3), (28, 6)]
    assert available_modes([(12, 2)]) == tuple(LatencyMode(12, r) for r in (0, 1, 2, 3))


def test_other_latencies_are_refused_with_a_list():
    modes = available_modes([(70, 13)])
    with pytest.raises(
        LatencyError, match=r"no 320 ms mode \(its left context of 70 frames.*choose"
    ):
        choose_mode(modes, modes[0], 320)
    for bad in (0, -80, 100, 81, 2240):
        with pytest.raises(LatencyError, match="80, 160, 560, 1120 ms"):
            choose_mode(modes, modes[0], bad)
    assert choose_mode(modes, modes[-1], None) == modes[-1]
