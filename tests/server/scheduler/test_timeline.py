"""Continuous times across resets, and due times of chunks."""

import pytest

from wheatear.audio.reader import sample_speech
from wheatear.recognizer.options import StreamOptions
from wheatear.server.scheduler.events import Flushed, StreamEnded
from wheatear.server.scheduler.timeline import Command, Pace, Timeline


def test_times_and_turns_continue_after_a_flush(recognizer):
    timeline = Timeline(recognizer, StreamOptions(latency_ms=560))
    samples = sample_speech()
    seconds = len(samples) / 16_000
    for n in (1, 2):
        timeline.apply(Command("samples", samples))
        timeline.apply(Command("flush"))
        assert timeline.ending == "flush"
        *_, flushed = timeline.end_stream()
        assert flushed == Flushed(pytest.approx(n * seconds))
    assert timeline.apply(Command("discard", discarded_s=1.5)) == [
        Flushed(pytest.approx(2 * seconds + 1.5))
    ]
    timeline.apply(Command("finish"))
    *_, ended = timeline.end_stream()
    assert isinstance(ended, StreamEnded)
    assert ended.duration == pytest.approx(2 * seconds + 1.5)


def test_options_of_a_switch_hold_after_a_reset(recognizer):
    timeline = Timeline(recognizer, StreamOptions(latency_ms=560))
    timeline.apply(Command("switch", change={"language": "de-DE", "latency_ms": 160}))
    timeline.apply(Command("discard"))
    assert (timeline.stream.language, timeline.stream.latency_ms) == ("de-DE", 160)


def test_chunk_that_arrives_in_time_is_due_at_once():
    pace = Pace(0.0)
    pace.frames = 7
    pace.set_due(100.0)
    assert (pace.due, pace.is_paced) == (100.0, True)
    assert pace.deadline == pytest.approx(100.56)


def test_chunks_faster_than_speech_are_due_at_its_pace():
    pace = Pace(0.0)
    pace.frames = 7
    due = []
    for _ in range(10):
        pace.set_due(100.0)
        due.append(pace.due)
    assert due[0] == 100.0
    assert due[-1] == pytest.approx(99.0 + 9 * 0.56)
    assert not pace.is_paced
