"""Checks the invariants of turn events."""

from wheatear.transcript.results import Turn


def kinds(events: list[Turn]) -> list[str]:
    return [event.kind for event in events]


def check(events: list[Turn]) -> None:
    """Asserts the invariants of `wheatear.transcript.turns`."""
    state, number, time = "quiet", 0, 0.0
    after = {
        ("quiet", "started"): "speaking", ("speaking", "eager"): "eager",
        ("eager", "resumed"): "speaking", ("speaking", "ended"): "quiet",
        ("eager", "ended"): "quiet",
    }  # fmt: skip
    for event in events:
        state = after[state, event.kind]  # KeyError: it must not come here
        number += event.kind == "started"
        assert event.number == number
        assert event.time >= time
        assert not event.forced or event.kind == "ended"
        time = event.time
