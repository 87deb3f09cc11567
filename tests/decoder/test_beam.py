"""Beam search: the likeliest text of all where the beam is wide, and the contract of a stream."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
from event_contract import check
from hypothesis import given, settings
from hypothesis import strategies as st

import wheatear
from wheatear import BeamRules
from wheatear.audio.reader import sample_speech
from wheatear.decoder.beam import BeamSearch
from wheatear.model.manifest import DecoderShape

MOST = 2


class TableDecoder:
    """A transducer of two tokens whose answers are drawn for each frame and each text."""

    shape = DecoderShape(layers=1, hidden=8, joint=8, blank=2, max_symbols=MOST)
    frames_per_call = 1

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def predict(self, token, h, c):
        """Writes the tokens of the text into the prediction: their number and each of them."""
        h = h.copy()
        for n, t in enumerate(token):
            if t == self.shape.blank:
                continue  # the start token
            size = int(h[0, n, 0])
            h[0, n, 0] = size + 1
            h[0, n, 1 + size] = t + 1
        return h[0], h, c

    def row(self, frame: int, text: tuple[int, ...]) -> np.ndarray:
        key = hashlib.sha256(f"{self.seed} {frame} {text}".encode()).digest()
        logits = np.random.default_rng(list(key[:8])).normal(0, 2, 3)
        return (logits - np.log(np.exp(logits).sum())).astype(np.float32)

    def logits(self, projected, prediction):
        texts = [tuple(int(x) - 1 for x in p[1 : 1 + int(p[0])]) for p in prediction]
        frames = projected[:, 0].astype(int)
        return np.stack([self.row(f, t) for f, t in zip(frames, texts, strict=True)])


def all_texts(decoder: TableDecoder, frames: int) -> dict[tuple[int, ...], float]:
    """Probability of every text, summed over its paths."""
    found = {(): 1.0}
    for frame in range(frames):
        through: dict[tuple[int, ...], float] = defaultdict(float)
        for text, share in found.items():
            for count in range(MOST + 1):
                for emitted in itertools.product((0, 1), repeat=count):
                    p, now = share, text
                    for token in emitted:
                        p *= math.exp(decoder.row(frame, now)[token])
                        now = (*now, token)
                    through[now] += p * math.exp(decoder.row(frame, now)[2])
        found = dict(through)
    return found


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 3), st.integers(0, 1000), st.lists(st.integers(1, 3), min_size=3))
def test_a_wide_beam_finds_the_likeliest_text(frames: int, seed: int, cuts: list[int]) -> None:
    decoder = TableDecoder(seed)
    texts = all_texts(decoder, frames)
    search = BeamSearch(decoder, "probability")  # type: ignore[arg-type]
    state = search.start(BeamRules(width=64, margin=1e3), None)
    projected = np.repeat(np.arange(frames, dtype=np.float32)[:, None], 8, axis=1)
    found, at = [], 0
    for cut in cuts:
        found += search.step([state], [projected[at : at + cut]])[0]
        at += cut
        assert all(f.frame < state.frames for f in found)
        assert state.settled <= state.frames
        if at >= frames:
            break
    found += search.step([state], [projected[at:]])[0]
    settled = tuple(f.token for f in found)
    best = max(texts, key=texts.__getitem__)
    ranked = sorted(texts.values())
    scores = {settled + b.tokens: b.score for b in state.beam}
    top = max(scores, key=scores.__getitem__)
    assert texts[top] == pytest.approx(ranked[-1])
    # What is summed up is the probability of the text, as long as the beam holds all of them.
    for text, score in scores.items() if frames < 3 else ():
        assert score - scores[top] == pytest.approx(math.log(texts[text] / texts[best]), abs=1e-3)
    assert settled + tuple(f.token for f in state.commit()) == top
    assert state.settled == state.frames == frames


@pytest.fixture(scope="module")
def shipped() -> wheatear.Recognizer:
    return wheatear.load(threads=1)


def noisy(seed: int) -> np.ndarray:
    """The sample in noise, where hypotheses differ."""
    rng = np.random.default_rng(seed)
    return (sample_speech() + rng.normal(0, 0.02, len(sample_speech()))).astype(np.float32)


@settings(deadline=None, max_examples=8)
@given(
    st.integers(0, 50), st.sampled_from([80, 320, 1120]), st.integers(1, 8),
    st.lists(st.integers(1, 20_000), min_size=1, max_size=5),
)  # fmt: skip
def test_streams_keep_the_contract_however_they_are_cut(shipped, seed, latency, width, cuts):
    samples = noisy(seed)
    rules = BeamRules(width=width)
    whole = shipped.transcribe(samples, latency_ms=latency, beam=rules)
    stream = shipped.stream(latency_ms=latency, beam=rules)
    events, at = [], 0
    for size in itertools.cycle([*cuts, 16_000]):
        if at >= len(samples):
            break
        events += stream.push(samples[at : at + size])
        at += size
    transcript = stream.finish()
    check([*events, *stream.last_events], len(samples) / 16_000, transcript)
    assert transcript.tokens == whole.tokens


def test_beam_is_independent_of_other_streams(shipped) -> None:
    single = [
        shipped.transcribe(noisy(n), beam=BeamRules(4), latency_ms=320).text for n in range(4)
    ]
    streams = [shipped.stream(beam=BeamRules(4), latency_ms=320) for _ in range(4)]
    greedy = shipped.stream(latency_ms=320)
    for at in range(0, len(sample_speech()), 3001):
        blocks = [(s, noisy(n)[at : at + 3001]) for n, s in enumerate(streams)]
        shipped.push_many([*blocks, (greedy, noisy(0)[at : at + 3001])])
    assert [s.finish().text for s in streams] == single
    assert greedy.finish().text == shipped.transcribe(noisy(0), latency_ms=320).text


@pytest.mark.parametrize("seed", range(4))
def test_hypotheses_are_settled_within_two_seconds(shipped, seed) -> None:
    stream = shipped.stream(latency_ms=80, beam=BeamRules(8, margin=50))
    samples = np.tile(noisy(seed), 3)
    for at in range(0, len(samples), 1280):
        stream.push(samples[at : at + 1280])
        assert stream.state.search.settled >= stream.state.search.frames - 26


def test_ended_turn_has_all_its_words(shipped) -> None:
    stream = shipped.stream(language="en-US", latency_ms=320, beam=BeamRules(8, margin=50))
    half = sample_speech()[: len(sample_speech()) // 2]
    events = [*stream.push(half), *stream.end_turn()]
    final = next(e for e in events if isinstance(e, wheatear.Final))
    assert final.text
    assert not any(b.emissions for b in stream.state.search.beam)


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"width": 65}, {"margin": 0}, {"model_weight": -1}]
)
def test_invalid_rules_are_rejected(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="beam"):
        BeamRules(**wrong)
