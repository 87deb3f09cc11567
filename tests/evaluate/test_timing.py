"""Latencies on a made-up clock."""

from __future__ import annotations

import pytest
from fake_engines import TEXTS, WORK, Clock, FakeEngine, StreamingFakeEngine, tone

from wheatear.evaluate.timing import time_file, time_stream, time_turn_end


def test_whole_file_starts_when_it_is_complete(clock: Clock):
    timed = time_file(FakeEngine(clock, TEXTS), tone(5), "en-US")
    assert timed.hypothesis.text == "One two free"
    assert (timed.compute_s, timed.end_s, timed.first_s) == (
        pytest.approx(WORK),
        timed.compute_s,
        None,
    )


def test_stream_waits_for_audio(clock: Clock):
    """Blocks of 20 ms that take a millisecond each: the computer waits for the audio."""
    timed = time_stream(StreamingFakeEngine(clock, TEXTS), tone(5), "en-US", 2.0)
    assert timed.hypothesis.text == "One two free"
    assert timed.compute_s == pytest.approx(25 * 0.001 + WORK)
    assert timed.first_s == pytest.approx(
        0.02 + 0.001, abs=0.002
    )  # the first loud block, and its work
    assert timed.end_s == pytest.approx(0.001 + WORK)


def test_slow_engine_falls_behind(clock: Clock):
    class Slow(StreamingFakeEngine):
        def start_stream(self, locale, window_s):
            session = super().start_stream(locale, window_s)
            push = session.push

            def slow(samples):
                clock.now += 0.05
                return push(samples)

            session.push = slow
            return session

    timed = time_stream(Slow(clock, TEXTS), tone(5), "en-US", 2.0)
    assert timed.end_s == pytest.approx(0.02 + 25 * 0.051 + WORK - 0.5)


def test_end_of_turn_counts_from_the_end_of_speech(clock: Clock):
    session = StreamingFakeEngine(clock, TEXTS)
    assert time_turn_end(session, tone(5), None, 2.0) == pytest.approx(0.5, abs=0.03)
    assert time_turn_end(FakeEngine(clock, TEXTS), tone(5), None, 9.0) is None
