"""Many feeds at once: each gets the text it would have had alone, in its turn, or a refusal."""

import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wheatear
from wheatear.audio.reader import sample_speech
from wheatear.errors import AudioError, LanguageError, OverloadedError, StreamClosedError
from wheatear.recognizer.options import StreamOptions
from wheatear.server.scheduler.admission import LoadBudget, StepCostModel
from wheatear.server.scheduler.scheduler import (
    Flushed,
    Observer,
    Scheduler,
    StreamEnded,
    StreamFailed,
)
from wheatear.transcript.results import Final, Partial, Turn


class Heard:
    """What a feed's listener was told."""

    def __init__(self):
        self.told = []
        self.over = threading.Event()

    def __call__(self, told):
        self.told += told
        if any(isinstance(item, StreamEnded | StreamFailed) for item in told):
            self.over.set()

    def wait(self):
        assert self.over.wait(60), "the feed has not ended"
        return self

    @property
    def tokens(self):
        return [t for item in self.told if isinstance(item, Final) for t in item.tokens]


@pytest.fixture(scope="module")
def recognizer(recognizer_of):
    return recognizer_of("tiny-multi")


@pytest.fixture
def scheduler(recognizer):
    scheduler = Scheduler(recognizer, LoadBudget(1000))
    yield scheduler
    scheduler.close()


def test_every_feed_gets_its_own_text(recognizer, scheduler):
    samples = sample_speech()
    asked = [(ms, "auto") for ms in recognizer.latencies_ms for _ in range(3)]
    feeds = []
    for n, (ms, language) in enumerate(asked):
        heard = Heard()
        feed = scheduler.open(
            heard, StreamOptions(language=language, latency_ms=ms), live=n % 3 != 0
        )
        feeds.append((feed, heard, samples[n * 1000 :]))
    for start in range(0, len(samples), 1777):
        for feed, _, own in feeds:
            feed.push(own[start : start + 1777])
    for feed, _, _ in feeds:
        feed.finish()
    for (_, heard, own), (ms, language) in zip(feeds, asked, strict=True):
        expected = recognizer.transcribe(own, language=language, latency_ms=ms)
        assert heard.wait().tokens == list(expected.tokens)
        assert heard.told[-1] == StreamEnded(pytest.approx(expected.duration), expected.language)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([0, 1, 700, 16_000, 40_000, "cut", "switch"])),
        max_size=25,
    )
)
def test_however_it_is_pushed(recognizer, scheduler_for_good, script):
    """Pieces, cuts and switches in any order: as many streams one after the other would say."""
    samples = np.tile(sample_speech(), 4)
    heard = [Heard() for _ in range(3)]
    feeds = [scheduler_for_good.open(h, StreamOptions(latency_ms=160)) for h in heard]
    alone = [recognizer.stream(latency_ms=160) for _ in range(3)]
    expected, at, now = [[], [], []], [0, 0, 0], [160] * 3
    for n, action in script:
        if action == "cut":
            feeds[n].flush_and_reset()
            expected[n] += [t.id for t in alone[n].finish().tokens]
            alone[n] = recognizer.stream(latency_ms=now[n])
        elif action == "switch":
            now[n] = 560 if now[n] == 160 else 160
            feeds[n].switch(latency_ms=now[n])
            alone[n].switch(latency_ms=now[n])
        else:
            piece = samples[at[n] : at[n] + action]
            at[n] += action
            feeds[n].push(piece)
            alone[n].push(piece)
    for n, feed in enumerate(feeds):
        feed.finish()
        expected[n] += [t.id for t in alone[n].finish().tokens]
        assert [t.id for t in heard[n].wait().tokens] == expected[n]
        finals = [item for item in heard[n].told if isinstance(item, Final)]
        assert all(a.end == b.start for a, b in pairwise(finals))
        assert not finals or finals[-1].end == pytest.approx(min(at[n], len(samples)) / 16_000)
        numbers = [t.number for t in heard[n].told if isinstance(t, Turn) and t.kind == "started"]
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.fixture(scope="module")
def scheduler_for_good(recognizer):
    scheduler = Scheduler(recognizer, LoadBudget(1000))
    yield scheduler
    scheduler.close()


def test_what_was_cut_is_told_to_its_last_sample_and_times_go_on(scheduler):
    samples, heard = sample_speech(), Heard()
    feed = scheduler.open(heard, StreamOptions(latency_ms=560))
    for _ in range(2):
        feed.push(samples)
        feed.flush_and_reset()
    feed.finish()
    told = heard.wait().told
    cuts = [item.duration for item in told if isinstance(item, Flushed)]
    assert cuts == pytest.approx([len(samples) / 16_000, 2 * len(samples) / 16_000])
    finals = [item for item in told if isinstance(item, Final) and item.text]
    half = len(finals) // 2
    assert [f.text for f in finals[:half]] == [f.text for f in finals[half:]]
    assert finals[half].start == pytest.approx(cuts[0])
    assert finals[half].words[0].start == pytest.approx(finals[0].words[0].start + cuts[0])


def test_a_clear_forgets_what_came_after_the_last_cut(recognizer, scheduler):
    samples, heard = sample_speech(), Heard()
    feed = scheduler.open(heard, StreamOptions(latency_ms=560))
    feed.push(samples)
    feed.flush_and_reset()
    feed.push(samples)
    feed.discard()
    feed.push(samples[:16_000])
    feed.finish()
    told = heard.wait().told
    durations = [item.duration for item in told if isinstance(item, Flushed | StreamEnded)]
    lengths = (len(samples), 2 * len(samples), 2 * len(samples) + 16_000)
    assert durations == pytest.approx([n / 16_000 for n in lengths])
    cut = next(n for n, item in enumerate(told) if isinstance(item, Flushed))
    before = [t.id for item in told[:cut] if isinstance(item, Final) for t in item.tokens]
    assert before == [t.id for t in recognizer.transcribe(samples, latency_ms=560).tokens]


def test_bad_input_is_the_callers_alone(scheduler):
    heard = Heard()
    with pytest.raises(LanguageError):
        scheduler.open(heard, StreamOptions(language="xx-YY"))
    feed = scheduler.open(heard, StreamOptions())
    with pytest.raises(AudioError):
        feed.push(np.array([np.nan], np.float32))
    with pytest.raises(LanguageError):
        feed.switch(language="xx-YY")
    feed.push(np.zeros(16_000, np.float32))
    feed.finish()
    with pytest.raises(StreamClosedError):
        feed.push(np.zeros(1, np.float32))
    with pytest.raises(StreamClosedError):
        feed.finish()
    assert isinstance(heard.wait().told[-1], StreamEnded)
    assert scheduler.live == 0


def test_a_fault_in_a_step_ends_only_the_feed_it_belongs_to(recognizer, scheduler, monkeypatch):
    samples, step = sample_speech(), recognizer.engine.step
    bad: list[object] = []

    def failing(states, frames):
        if any(state is one for state in states for one in bad):
            raise RuntimeError("a fault")
        return step(states, frames)

    monkeypatch.setattr(recognizer.engine, "step", failing)
    heard = [Heard() for _ in range(4)]
    feeds = [scheduler.open(h, StreamOptions(latency_ms=160)) for h in heard]
    bad.append(feeds[2]._stream.state)
    for feed in feeds:
        feed.push(samples)
    for n, feed in enumerate(feeds):
        if n != 2 or not feed._closed:
            feed.finish()
    expected = recognizer.transcribe(samples, latency_ms=160).tokens
    for n, h in enumerate(heard):
        h.wait()
        if n == 2:
            assert isinstance(h.told[-1], StreamFailed)
        else:
            assert h.tokens == list(expected)


def test_a_listener_that_fails_gives_up_its_feed(scheduler):
    def fails(told):
        raise RuntimeError("a listener's fault")

    feed = scheduler.open(fails, StreamOptions())
    feed.push(np.tile(sample_speech(), 2))
    feed.cancel()
    assert feed.wait_for_room(0.1, 10)
    heard = Heard()
    other = scheduler.open(heard, StreamOptions())
    other.finish()
    assert isinstance(heard.wait().told[-1], StreamEnded)


def test_abandoned_feeds_leave_nothing(scheduler):
    feeds = [scheduler.open(Heard(), StreamOptions()) for _ in range(20)]
    for feed in feeds:
        feed.push(sample_speech())
        feed.cancel()
        feed.cancel()
    for feed in feeds:
        assert feed.wait_for_room(0.001, 10)
    wait_until(lambda: not scheduler._feeds)
    assert scheduler.budget.load == 0


def test_live_streams_are_refused_beyond_the_budget(recognizer):
    scheduler = Scheduler(recognizer, LoadBudget(0.0))
    try:
        first = scheduler.open(Heard(), StreamOptions(latency_ms=80))  # one is always let in
        with pytest.raises(OverloadedError, match="80 ms"):
            scheduler.open(Heard(), StreamOptions(latency_ms=80))
        heard = Heard()
        scheduler.open(heard, StreamOptions(), live=False).finish()  # files wait their turn instead
        heard.wait()
        first.cancel()
        wait_until(lambda: scheduler.live == 0)
        scheduler.open(Heard(), StreamOptions(latency_ms=560))
    finally:
        scheduler.close()


def test_files_yield_to_live_streams(recognizer):
    """A step of a file never comes while a live chunk is due."""
    order: list[tuple[bool, int]] = []
    started = threading.Event()

    class Watch(Observer):
        def stepped(self, streams, frames, seconds, live):
            order.append((live, frames))
            started.wait(10)

    scheduler = Scheduler(recognizer, LoadBudget(1000), Watch())
    try:
        file_heard, live_heard = Heard(), Heard()
        file = scheduler.open(file_heard, StreamOptions(latency_ms=80), live=False)
        live = scheduler.open(live_heard, StreamOptions(latency_ms=80))
        file.push(np.tile(sample_speech(), 20))
        wait_until(lambda: order)  # in the first step of the file
        live.push(sample_speech()[:8000])
        live.finish()
        file.finish()
        started.set()
        file_heard.wait()
        live_heard.wait()
        places = [n for n, (is_live, _) in enumerate(order) if is_live]
        assert places[0] == 1  # at once after the step that was going on
        assert len(order) > places[-1] + 1  # the file had more to do
    finally:
        started.set()
        scheduler.close()


def test_who_sends_faster_than_speech_does_not_delay_who_does_not(scheduler):
    flood, paced = Heard(), Heard()
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
    assert flood.told
    fast.cancel()


def test_closing_tells_every_feed(recognizer):
    scheduler = Scheduler(recognizer)
    heard = Heard()
    feed = scheduler.open(heard, StreamOptions())
    feed.push(sample_speech()[:100])
    scheduler.close()
    assert isinstance(heard.wait().told[-1], StreamFailed)
    assert not scheduler.alive
    with pytest.raises(StreamClosedError):
        scheduler.open(Heard(), StreamOptions())


def test_partials_come_before_their_final(scheduler):
    heard = Heard()
    feed = scheduler.open(heard, StreamOptions(latency_ms=80))
    feed.push(np.tile(sample_speech(), 3))
    feed.finish()
    text = ""
    for item in heard.wait().told:
        if isinstance(item, Partial):
            assert item.text.startswith(text)
            text = item.text
        elif isinstance(item, Final):
            assert item.text.startswith(text)
            text = ""


@given(
    st.floats(0, 1),
    st.floats(1e-5, 0.1),
    st.lists(st.integers(1, 64), min_size=2, max_size=40).filter(lambda rows: len(set(rows)) > 1),
)
def test_the_cost_of_steps_is_found_again(fixed, each, rows):
    cost = StepCostModel()
    for count in rows:
        cost.measured(count, fixed + each * count)
    assert cost.seconds(10) == pytest.approx(fixed + each * 10, rel=1e-3, abs=1e-6)
    streams = {1: 2, 7: 3}
    expected = (fixed + 2 * each) / 0.08 + (fixed + 21 * each) / 0.56
    assert cost.load(streams) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_the_budget_is_shared_by_models():
    budget, costs = LoadBudget(0.5), [StepCostModel(), StepCostModel()]
    for cost in costs:
        cost.measured(1, 0.02)  # a quarter of an 80 ms chunk
    assert budget.acquire(costs[0], 1)
    assert budget.acquire(costs[1], 1)
    assert not budget.acquire(costs[0], 1)
    budget.release(costs[1], 1)
    assert budget.acquire(costs[0], 1)
    assert budget.load == pytest.approx(0.5)


def wait_until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def test_the_shipped_model_in_a_scheduler():
    recognizer = wheatear.load(threads=1)
    scheduler = Scheduler(recognizer)
    try:
        heard = Heard()
        feed = scheduler.open(heard, StreamOptions(latency_ms=560), live=False)
        feed.push(sample_speech())
        feed.finish()
        text = " ".join(i.text for i in heard.wait().told if isinstance(i, Final) and i.text)
        assert text == recognizer.transcribe(sample_speech(), latency_ms=560).text
    finally:
        scheduler.close()
