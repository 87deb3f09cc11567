"""Events can be moved to another time base."""

from finals import turns

from wheatear.transcript.results import Partial, Turn, shifted

(FINAL,) = turns([("Good", 0.5, 0.3), ("day.", 0.1, 0.4)])


def test_shifted_event_has_later_times_and_higher_turns() -> None:
    assert shifted(Turn("ended", 2, 3.0, forced=True), 1.5, 4) == Turn("ended", 6, 4.5, forced=True)
    later = shifted(FINAL, 2.0)
    assert (later.start, later.end) == (2.0, FINAL.end + 2)
    for before, after in zip(FINAL.words, later.words, strict=True):
        assert (after.start, after.end) == (before.start + 2, before.end + 2)
    assert later.segments[0].words == later.words
    assert later.tokens[0].start == FINAL.tokens[0].start + 2
    partial = Partial("Good", FINAL.words[:1], 0.0, 1.0, None, FINAL.tokens)
    assert shifted(partial, 1.0).words[0].start == FINAL.words[0].start + 1


def test_event_that_is_not_shifted_is_the_same() -> None:
    assert shifted(FINAL, 0.0) is FINAL
