"""Turn events obey their rules for any order of words, punctuation and silence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turn_contract import check, kinds

from wheatear.transcript.results import Turn
from wheatear.transcript.turns import TurnMachine, TurnRules

RULES = TurnRules(eager_ms=400, end_ms=800, sentence_end_ms=560, longest_s=5)


def test_turn_goes_through_all_states() -> None:
    machine = TurnMachine(RULES)
    assert machine.advance(50) == []
    assert machine.letters(60) == [Turn("started", 1, 4.8)]
    assert machine.letters(61, begins_word=False) == []
    assert machine.advance(65) == []
    assert machine.advance(66) == [Turn("eager", 1, 5.28)]
    assert machine.letters(69) == [Turn("resumed", 1, 5.52)]
    assert kinds(machine.advance(74)) == ["eager"]
    assert machine.advance(78) == []
    assert machine.advance(1000) == [Turn("ended", 1, 6.32)]
    assert machine.letters(1001) == [Turn("started", 2, 80.08)]


def test_end_of_a_sentence_ends_a_turn_earlier() -> None:
    machine = TurnMachine(RULES)
    machine.letters(10)
    machine.sentence_ends(12)
    assert machine.advance(100) == [Turn("eager", 1, 1.2), Turn("ended", 1, 1.36)]
    machine.letters(100)
    machine.sentence_ends(101)
    machine.letters(102, begins_word=False)  # it was an abbreviation
    assert machine.advance(200)[-1] == Turn("ended", 2, 8.96)
    machine.letters(200)
    assert kinds(machine.sentence_ends(208)) == ["eager"]
    assert machine.advance(209) == [Turn("ended", 3, 16.64)]  # not in the past


def test_caller_and_length_force_an_end() -> None:
    machine = TurnMachine(RULES)
    assert machine.force(5) == []
    machine.letters(5)
    assert machine.force(6) == [Turn("ended", 1, 0.48, forced=True)]
    assert machine.advance(100) == []
    for frame in range(100, 162):
        assert kinds(machine.letters(frame)) == (["started"] if frame == 100 else [])
    events = machine.letters(163)  # five seconds are 62.5 frames
    assert events == [Turn("ended", 2, 13.04, forced=True), Turn("started", 3, 13.04)]


def test_eager_is_omitted_if_it_is_not_earlier() -> None:
    machine = TurnMachine(TurnRules(eager_ms=800, end_ms=800))
    machine.letters(0)
    assert kinds(machine.advance(50)) == ["ended"]


@pytest.mark.parametrize(
    "wrong", [{"eager_ms": 0}, {"end_ms": 10**6}, {"sentence_end_ms": 79}, {"longest_s": 0}]
)
def test_rules_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*; give"):
        TurnRules(**wrong)  # type: ignore[arg-type]


MS = st.integers(80, 3000)
LEGAL = st.builds(
    lambda first, second, *more: TurnRules(min(first, second), max(first, second), *more),
    MS, MS, MS, st.integers(1, 10),
)  # fmt: skip
ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["letters", "more", "sentence_ends", "force"]), st.integers(0, 30)
        ),
        st.tuples(st.just("rules"), LEGAL),
    ),
    max_size=60,
)


@given(ACTIONS)
def test_random_events_obey_the_contract(actions: list[tuple[str, object]]) -> None:
    machine, frame, events = TurnMachine(RULES), 0, []
    for name, value in actions:
        if isinstance(value, TurnRules):
            machine.rules = value
            continue
        assert isinstance(value, int)
        frame += value
        if name == "more":
            events += machine.letters(frame, begins_word=False)
        else:
            events += getattr(machine, name)(frame)
    events += machine.advance(10**6)
    check(events)
    assert not machine.on


@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=40),
    st.lists(st.integers(1, 50), min_size=1, max_size=10),
)
def test_events_do_not_depend_on_the_steps_of_time(
    tokens: list[tuple[int, bool]], steps: list[int]
) -> None:
    def run(often: bool) -> list[Turn]:
        machine, frame, events = TurnMachine(RULES), 0, []
        for n, (gap, ends) in enumerate(tokens):
            for passed in range(0, gap, steps[n % len(steps)]) if often else ():
                events += machine.advance(frame + passed)
            frame += gap
            events += machine.sentence_ends(frame) if ends else machine.letters(frame)
        return events + machine.advance(frame + 100)

    assert run(often=True) == run(often=False)
