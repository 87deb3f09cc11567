"""Cost of steps, load budget, and admission of live streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheatear.errors import OverloadedError
from wheatear.server.scheduler.admission import Admission, LoadBudget, StepCostModel


@given(
    st.floats(0, 1),
    st.floats(1e-5, 0.1),
    st.lists(st.integers(1, 64), min_size=2, max_size=40).filter(lambda rows: len(set(rows)) > 1),
)
def test_cost_of_linear_steps_is_found_again(fixed, each, rows):
    cost = StepCostModel()
    for count in rows:
        cost.add(count, fixed + each * count)
    assert cost.seconds(10) == pytest.approx(fixed + each * 10, rel=1e-3, abs=1e-6)
    streams = {1: 2, 7: 3}
    expected = (fixed + 2 * each) / 0.08 + (fixed + 21 * each) / 0.56
    assert cost.load(streams) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_models_share_the_budget():
    budget, costs = LoadBudget(0.5), [StepCostModel(), StepCostModel()]
    for cost in costs:
        cost.add(1, 0.02)  # a quarter of an 80 ms chunk
    assert budget.acquire(costs[0], 1)
    assert budget.acquire(costs[1], 1)
    assert not budget.acquire(costs[0], 1)
    budget.release(costs[1], 1)
    assert budget.acquire(costs[0], 1)
    assert budget.load == pytest.approx(0.5)


def admission(max_load=1000.0, max_streams=10, rejected=None) -> Admission:
    made = Admission(LoadBudget(max_load), max_streams, rejected or (lambda: None))
    for rows in (1, 7):
        made.cost.add(rows, 0.02)  # whatever their size
    return made


def test_stream_beyond_the_maximum_is_rejected():
    rejections: list[int] = []
    some = admission(max_streams=1, rejected=lambda: rejections.append(1))
    some.admit(80)
    with pytest.raises(OverloadedError, match="1 live streams are open"):
        some.admit(80)
    assert (some.streams, len(rejections)) == (1, 1)
    some.leave(80)
    some.admit(560)


def test_switch_without_room_keeps_the_old_latency():
    some = admission(max_load=0.28)
    some.admit(560)
    some.admit(560)
    load = some.budget.load
    with pytest.raises(OverloadedError, match="it stays as it is"):
        some.exchange(560, 80)
    assert some.budget.load == load
    some.leave(560)
    some.exchange(560, 80)


def test_late_chunks_stop_admission_until_all_streams_have_left():
    some = admission(max_load=0.9)
    some.admit(560)
    for _ in range(10):
        some.record_lag(1.0, 560)
    with pytest.raises(OverloadedError, match="would make them late"):
        some.admit(560)
    some.leave(560)
    some.admit(560)


def test_calibration_measures_every_latency(recognizer):
    some = Admission(LoadBudget(), 1)
    some.calibrate(recognizer)
    assert some.cost.seconds(1) > 0
