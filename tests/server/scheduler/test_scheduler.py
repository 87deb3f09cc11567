"""Many streams at once: each gets the text that it would get without the others, or a rejection."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from event_recorder import EventRecorder

import wheatear
from wheatear.audio.reader import sample_speech
from wheatear.errors import OverloadedError, StreamClosedError
from wheatear.recognizer.options import StreamOptions
from wheatear.server.scheduler.admission import LoadBudget
from wheatear.server.scheduler.events import StreamEnded, StreamFailed
from wheatear.server.scheduler.scheduler import Observer, Scheduler


def test_every_stream_gets_its_own_text(recognizer, scheduler):
    samples = sample_speech()
    latencies = [ms for ms in recognizer.latencies_ms for _ in range(3)]
    streams = []
    for n, latency_ms in enumerate(latencies):
        recorder = EventRecorder()
        options = StreamOptions(latency_ms=latency_ms)
        stream = scheduler.open(recorder, options, live=n % 3 != 0)
        streams.append((stream, recorder, samples[n * 1000 :]))
    for start in range(0, len(samples), 1777):
        for stream, _, own in streams:
            stream.push(own[start : start + 1777])
    for stream, _, _ in streams:
        stream.finish()
    for (_, recorder, own), latency_ms in zip(streams, latencies, strict=True):
        expected = recognizer.transcribe(own, latency_ms=latency_ms)
        assert recorder.wait().tokens == list(expected.tokens)
        end = StreamEnded(pytest.approx(expected.duration), expected.language)
        assert recorder.events[-1] == end


def test_error_in_a_step_ends_only_its_stream(recognizer, scheduler, monkeypatch):
    samples, step = sample_speech(), recognizer.engine.step
    bad: list[object] = []

    def failing(states, frames):
        if any(state is one for state in states for one in bad):
            raise RuntimeError("an error")
        return step(states, frames)

    monkeypatch.setattr(recognizer.engine, "step", failing)
    recorders = [EventRecorder() for _ in range(4)]
    streams = [scheduler.open(r, StreamOptions(latency_ms=160)) for r in recorders]
    bad.append(streams[2].timeline.stream.state)
    for stream in streams:
        stream.push(samples)
    recorders[2].wait()
    for n, stream in enumerate(streams):
        if n != 2:
            stream.finish()
    expected = recognizer.transcribe(samples, latency_ms=160).tokens
    for n, recorder in enumerate(recorders):
        recorder.wait()
        if n == 2:
            assert isinstance(recorder.events[-1], StreamFailed)
        else:
            assert recorder.tokens == list(expected)


def test_listener_that_raises_loses_its_stream(scheduler):
    def fails(events):
        raise RuntimeError("the listener's error")

    stream = scheduler.open(fails, StreamOptions())
    stream.push(np.tile(sample_speech(), 2))
    stream.cancel()
    assert stream.wait_for_room(0.1, 10)
    recorder = EventRecorder()
    other = scheduler.open(recorder, StreamOptions())
    other.finish()
    assert isinstance(recorder.wait().events[-1], StreamEnded)


def test_canceled_streams_leave_no_load(scheduler):
    streams = [scheduler.open(EventRecorder(), StreamOptions()) for _ in range(20)]
    for stream in streams:
        stream.push(sample_speech())
        stream.cancel()
        stream.cancel()
    for stream in streams:
        assert stream.wait_for_room(0.001, 10)
    wait_until(lambda: not scheduler.streams)
    assert scheduler.admission.budget.load == 0


def test_live_streams_beyond_the_budget_are_rejected_and_files_are_not(recognizer):
    scheduler = Scheduler(recognizer, LoadBudget(0.0))
    try:
        # One is always admitted.
        first = scheduler.open(EventRecorder(), StreamOptions(latency_ms=80))
        with pytest.raises(OverloadedError, match="80 ms"):
            scheduler.open(EventRecorder(), StreamOptions(latency_ms=80))
        recorder = EventRecorder()
        scheduler.open(recorder, StreamOptions(), live=False).finish()
        recorder.wait()
        first.cancel()
        wait_until(lambda: scheduler.admission.streams == 0)
        scheduler.open(EventRecorder(), StreamOptions(latency_ms=560))
    finally:
        scheduler.close()


def test_file_gets_no_step_while_a_live_chunk_is_due(recognizer):
    order: list[tuple[bool, int]] = []
    started = threading.Event()

    class Watch(Observer):
        def on_step(self, streams, frames, seconds, live):
            order.append((live, frames))
            started.wait(10)

    scheduler = Scheduler(recognizer, LoadBudget(1000), Watch())
    try:
        of_file, of_live = EventRecorder(), EventRecorder()
        file = scheduler.open(of_file, StreamOptions(latency_ms=80), live=False)
        live = scheduler.open(of_live, StreamOptions(latency_ms=80))
        file.push(np.tile(sample_speech(), 20))
        wait_until(lambda: order)  # in the first step of the file
        live.push(sample_speech()[:8000])
        live.finish()
        file.finish()
        started.set()
        of_file.wait()
        of_live.wait()
        places = [n for n, (is_live, _) in enumerate(order) if is_live]
        assert places[0] == 1  # right after the step that was running
        assert len(order) > places[-1] + 1  # the file had more steps
    finally:
        started.set()
        scheduler.close()


def test_faster_than_realtime_stream_does_not_delay_others(scheduler):
    flood, paced = EventRecorder(), EventRecorder()
    fast = scheduler.open(flood, StreamOptions(latency_ms=80))
    slow = scheduler.open(paced, StreamOptions(latency_ms=80))
    fast.push(np.tile(sample_speech(), 400))  # half an hour
    samples = sample_speech()[:16_000]
    for start in range(0, len(samples), 1280):
        slow.push(samples[start : start + 1280])
        time.sleep(0.02)
    slow.finish()
    paced.wait()
    assert fast.backlog_s > 60
    assert flood.events
    fast.cancel()


def test_closed_scheduler_fails_every_stream(recognizer):
    scheduler = Scheduler(recognizer)
    recorder = EventRecorder()
    stream = scheduler.open(recorder, StreamOptions())
    stream.push(sample_speech()[:100])
    scheduler.close()
    assert isinstance(recorder.wait().events[-1], StreamFailed)
    assert not scheduler.alive
    with pytest.raises(StreamClosedError):
        scheduler.open(EventRecorder(), StreamOptions())


def test_shipped_model_gives_the_text_of_a_transcription():
    recognizer = wheatear.load(threads=1)
    scheduler = Scheduler(recognizer)
    try:
        recorder = EventRecorder()
        stream = scheduler.open(recorder, StreamOptions(latency_ms=560), live=False)
        stream.push(sample_speech())
        stream.finish()
        text = " ".join(final.text for final in recorder.wait().finals if final.text)
        assert text == recognizer.transcribe(sample_speech(), latency_ms=560).text
    finally:
        scheduler.close()


def test_scheduler_imports_no_web_framework():
    code = "import sys, wheatear.server.scheduler.scheduler; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"starlette", "uvicorn", "websockets", "asyncio"} & set(out.stdout.split())


def wait_until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)
