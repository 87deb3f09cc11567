"""Silence that is not computed: the text is the same, and idle streams cost next to nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wheatear
from wheatear.audio.reader import sample_speech
from wheatear.encoder.encoder import Encoder
from wheatear.encoder.silence import SilenceSkipper
from wheatear.recognizer.stream import Stream

SPEECH = sample_speech()


@pytest.fixture(scope="module")
def shipped(engine) -> wheatear.Recognizer:
    return wheatear.load(threads=1)


def zeros(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * 16_000), np.float32)


def events_of(stream: Stream, samples: np.ndarray, size: int = 16_000) -> list:
    events = []
    for at in range(0, len(samples), size):
        events += stream.push(samples[at : at + size])
    stream.finish()
    return [*events, *stream.last_events]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch):
    """Number of encoded frames, and a switch to encode all of them."""
    counts = {"frames": 0}
    step = Encoder.step

    def counting(self, states, frames):
        counts["frames"] += frames * len(states)
        return step(self, states, frames)

    monkeypatch.setattr(Encoder, "step", counting)

    def all_of_it(on: bool) -> None:
        monkeypatch.setattr(SilenceSkipper, "skip", (lambda *_: False) if on else SKIPS)

    return counts, all_of_it


SKIPS = SilenceSkipper.skip


@pytest.mark.parametrize("latency", [80, 320, 1120])
@pytest.mark.parametrize("whole", [True, False])
def test_events_after_silence_are_the_same(shipped, computed, latency, whole) -> None:
    counts, all_of_it = computed
    for pause in (91.37 if whole else 71.37,):
        samples = np.concatenate([SPEECH, zeros(pause), SPEECH, zeros(1), SPEECH])
        events = []
        for everything in (True, False):
            all_of_it(everything)
            counts["frames"] = 0
            if whole:
                found: list = []
                shipped.transcribe(samples, latency_ms=latency, on_event=found.append)
            else:
                found = events_of(shipped.stream(latency_ms=latency), samples)
            events.append((found, counts["frames"]))
        (expected, all_frames), (found, some_frames) = events
        assert found == expected
        assert [
            token.confidence for e in found if isinstance(e, wheatear.Final) for token in e.tokens
        ] == [
            token.confidence
            for e in expected
            if isinstance(e, wheatear.Final)
            for token in e.tokens
        ]
        assert some_frames < all_frames - 50


def test_half_an_hour_of_silence_takes_few_steps(shipped, computed) -> None:
    counts, _ = computed
    stream = shipped.stream(latency_ms=160, language="en-US", keep=False)
    for _ in range(30 * 60):
        stream.push(zeros(1))
    assert counts["frames"] < 700  # of 22,500
    events = events_of(stream, SPEECH)
    single = shipped.transcribe(SPEECH, language="en-US", latency_ms=160)
    assert [e.text for e in events if isinstance(e, wheatear.Final) and e.text]
    assert single.text


def test_almost_silence_is_computed(shipped, computed) -> None:
    counts, _ = computed
    samples = zeros(60)
    samples[::4000] = 1 / 32768
    events_of(shipped.stream(), samples)
    assert counts["frames"] >= 750


@settings(deadline=None, max_examples=5)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 800)), min_size=1, max_size=3),
    st.lists(st.integers(1, 60_000), min_size=1, max_size=4),
    st.sampled_from([80, 320, 1120]),
)
def test_switches_between_silences_change_nothing(shipped, parts, cuts, latency) -> None:
    """Speech, silences, switches of latency and language: as if all had been computed."""
    results = []
    for skips in (SKIPS, lambda *_: False):
        SilenceSkipper.skip = skips  # type: ignore[method-assign]
        try:
            stream = shipped.stream(latency_ms=latency, language="en-US")
            events, sizes = [], itertools.cycle(cuts)
            for kind, tenths in parts:
                samples = np.concatenate([SPEECH[: tenths * 160], zeros(tenths / 10)])
                at = 0
                while at < len(samples):
                    size = next(sizes)
                    events += stream.push(samples[at : at + size])
                    at += size
                if kind == 1:
                    stream.switch(language="ru-RU")
                elif kind == 2:
                    stream.switch(latency_ms=560)
            stream.finish()
            results.append([*events, *stream.last_events])
        finally:
            SilenceSkipper.skip = SKIPS  # type: ignore[method-assign]
    assert results[0] == results[1]
