"""Samples and commands of one scheduled stream, in any order and from any thread."""

from itertools import pairwise

import numpy as np
import pytest
from event_recorder import EventRecorder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wheatear.audio.reader import sample_speech
from wheatear.errors import AudioError, LanguageError, StreamClosedError
from wheatear.recognizer.options import StreamOptions
from wheatear.server.scheduler.events import Flushed, StreamEnded
from wheatear.server.scheduler.feed import Inbox
from wheatear.server.scheduler.timeline import Command
from wheatear.transcript.results import Final, Partial, Turn

PIECE = np.zeros(1000, np.float32)


def samples(count: int = 1) -> list[Command]:
    return [Command("samples", PIECE, n) for n in range(count)]


def test_inbox_joins_samples_once_there_are_enough():
    inbox = Inbox()
    inbox.put(*samples(2))
    assert inbox.take(2500) is None
    inbox.put(*samples(2))
    command = inbox.take(2500)
    assert command is not None
    assert command.samples is not None
    assert (len(command.samples), inbox.samples) == (3000, 1000)


def test_inbox_passes_too_few_samples_before_another_command():
    inbox = Inbox()
    inbox.put(*samples(), Command("flush"))
    kinds = [command.kind for command in (inbox.take(5000), inbox.take(5000)) if command]
    assert kinds == ["samples", "flush"]


def test_discard_removes_samples_since_the_last_flush():
    inbox = Inbox()
    inbox.put(*samples(), Command("flush"), *samples(3), Command("switch"))
    inbox.discard()
    kinds = []
    while command := inbox.take(1):
        kinds.append(command.kind)
    assert kinds == ["samples", "flush", "switch", "discard"]
    assert command is None
    assert inbox.samples == 0


def test_inbox_takes_nothing_after_a_finish_or_where_the_check_fails():
    inbox = Inbox()

    def fails() -> None:
        raise LanguageError("no")

    with pytest.raises(LanguageError):
        inbox.put(Command("switch"), before=fails)
    assert inbox.take(1) is None
    inbox.put(Command("finish"))
    for call in (lambda: inbox.put(Command("flush")), inbox.discard):
        with pytest.raises(StreamClosedError):
            call()
    assert inbox.cancel()
    assert inbox.close()
    assert not inbox.cancel()
    assert not inbox.close()


def test_waiting_for_room_ends_when_samples_are_taken():
    inbox = Inbox()
    inbox.put(*samples(3))
    assert not inbox.wait_for_room(2000, 0.01)
    inbox.take(1000)
    assert not inbox.wait_for_room(2000, 0.01)
    inbox.take(1000)
    assert inbox.wait_for_room(2000, 0.01)


# Two switches with a complete chunk at the latency between them, and an empty push.
@example([(0, "switch"), (0, 16_000), (0, "switch"), (0, "switch")])
@example([(0, "switch"), (0, 16_000), (0, "switch"), (0, 0), (0, "switch")])
@example([(0, "switch"), (0, 16_000), (0, "switch"), (0, "flush"), (0, 700), (0, "switch")])
@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.sampled_from([0, 1, 700, 16_000, 40_000, "flush", "switch"])
        ),
        max_size=25,
    )
)
def test_any_order_of_commands_gives_the_text_of_separate_streams(
    recognizer, scheduler_of_module, script
):
    speech = np.tile(sample_speech(), 4)
    recorders = [EventRecorder() for _ in range(3)]
    options = StreamOptions(latency_ms=160)
    streams = [scheduler_of_module.open(recorder, options) for recorder in recorders]
    alike = [recognizer.stream(latency_ms=160) for _ in range(3)]
    expected: list[list[int]] = [[], [], []]
    at, latency = [0, 0, 0], [160] * 3
    for n, action in script:
        if action == "flush":
            streams[n].flush_and_reset()
            expected[n] += [t.id for t in alike[n].finish().tokens]
            alike[n] = recognizer.stream(latency_ms=latency[n])
        elif action == "switch":
            latency[n] = 560 if latency[n] == 160 else 160
            streams[n].switch(latency_ms=latency[n])
            alike[n].switch(latency_ms=latency[n])
        else:
            piece = speech[at[n] : at[n] + action]
            at[n] += action
            streams[n].push(piece)
            alike[n].push(piece)
    for n, stream in enumerate(streams):
        stream.finish()
        expected[n] += [t.id for t in alike[n].finish().tokens]
        recorder = recorders[n].wait()
        assert [t.id for t in recorder.tokens] == expected[n]
        finals = recorder.finals
        assert all(a.end == b.start for a, b in pairwise(finals))
        assert not finals or finals[-1].end == pytest.approx(min(at[n], len(speech)) / 16_000)
        turns = [event for event in recorder.events if isinstance(event, Turn)]
        numbers = [turn.number for turn in turns if turn.kind == "started"]
        assert numbers == list(range(1, len(numbers) + 1))


def test_flushed_audio_has_its_text_and_times_continue(scheduler):
    speech, recorder = sample_speech(), EventRecorder()
    stream = scheduler.open(recorder, StreamOptions(latency_ms=560))
    for _ in range(2):
        stream.push(speech)
        stream.flush_and_reset()
    stream.finish()
    events = recorder.wait().events
    flushed = [event.duration for event in events if isinstance(event, Flushed)]
    assert flushed == pytest.approx([len(speech) / 16_000, 2 * len(speech) / 16_000])
    finals = [final for final in recorder.finals if final.text]
    half = len(finals) // 2
    assert [f.text for f in finals[:half]] == [f.text for f in finals[half:]]
    assert finals[half].start == pytest.approx(flushed[0])
    assert finals[half].words[0].start == pytest.approx(finals[0].words[0].start + flushed[0])


def test_discard_drops_audio_after_the_last_flush(recognizer, scheduler):
    speech, recorder = sample_speech(), EventRecorder()
    stream = scheduler.open(recorder, StreamOptions(latency_ms=560))
    stream.push(speech)
    stream.flush_and_reset()
    stream.push(speech)
    stream.discard()
    stream.push(speech[:16_000])
    stream.finish()
    events = recorder.wait().events
    durations = [event.duration for event in events if isinstance(event, Flushed | StreamEnded)]
    lengths = (len(speech), 2 * len(speech), 2 * len(speech) + 16_000)
    assert durations == pytest.approx([n / 16_000 for n in lengths])
    first = next(n for n, event in enumerate(events) if isinstance(event, Flushed))
    before = [t.id for event in events[:first] if isinstance(event, Final) for t in event.tokens]
    assert before == [t.id for t in recognizer.transcribe(speech, latency_ms=560).tokens]


def test_bad_input_raises_and_leaves_the_stream_open(scheduler):
    recorder = EventRecorder()
    with pytest.raises(LanguageError):
        scheduler.open(recorder, StreamOptions(language="xx-YY"))
    stream = scheduler.open(recorder, StreamOptions())
    with pytest.raises(AudioError):
        stream.push(np.array([np.nan], np.float32))
    with pytest.raises(LanguageError):
        stream.switch(language="xx-YY")
    stream.push(np.zeros(16_000, np.float32))
    stream.finish()
    with pytest.raises(StreamClosedError):
        stream.push(np.zeros(1, np.float32))
    with pytest.raises(StreamClosedError):
        stream.finish()
    assert isinstance(recorder.wait().events[-1], StreamEnded)
    assert scheduler.admission.streams == 0


def test_partials_grow_to_their_final(scheduler):
    recorder = EventRecorder()
    stream = scheduler.open(recorder, StreamOptions(latency_ms=80))
    stream.push(np.tile(sample_speech(), 3))
    stream.finish()
    text = ""
    for event in recorder.wait().events:
        if isinstance(event, Partial | Final):
            assert event.text.startswith(text)
            text = event.text if isinstance(event, Partial) else ""
