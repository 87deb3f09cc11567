"""Token rates independent of the weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wheatear
from wheatear.audio.reader import sample_speech
from wheatear.bench.token_rate import SPEECH, draw_tokens, forced_token_rate, token_probability


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 30), st.integers(3, 14_000))
def test_tokens_are_drawn_row_by_row(seed, rate, outputs):
    rng = np.random.default_rng(seed)
    frames, predictions = rng.standard_normal((2, 40, 8), np.float32)
    probability = token_probability(rate)
    together = draw_tokens(frames, predictions, outputs, probability)
    single = [
        draw_tokens(f[None], p[None], outputs, probability)[0]
        for f, p in zip(frames, predictions, strict=True)
    ]
    assert together.tolist() == single
    assert together.min() >= 1
    assert together.max() <= outputs - 1


@pytest.mark.parametrize("rate", [1.0, 3.0, 12.0])
def test_stream_emits_the_requested_rate(tiny, rate):
    recognizer = wheatear.load(tiny, threads=1)
    samples = np.resize(sample_speech(), 60 * 16000)
    with forced_token_rate(rate):
        found = recognizer.transcribe(samples, latency_ms=560)
    assert len(found.tokens) / 60 == pytest.approx(rate, rel=0.3)


def test_tokens_depend_only_on_the_samples(tiny):
    recognizer = wheatear.load(tiny, threads=1)
    with forced_token_rate(SPEECH):
        stream = recognizer.stream(latency_ms=160)
        for block in np.array_split(sample_speech(), 7):
            stream.push(block)
        assert stream.finish() == recognizer.transcribe(sample_speech(), latency_ms=160)
