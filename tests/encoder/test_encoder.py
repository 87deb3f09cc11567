"""Chunk schedule of the encoder."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheatear.encoder.encoder import ChunkedEncoder, Encoder
from wheatear.encoder.state import LEFT_PADDING, EncoderState, fresh_state, subsampled_length
from wheatear.model.bundle import open_bundle
from wheatear.model.latency import LatencyMode
from wheatear.model.manifest import EncoderShape

SHAPE = EncoderShape(layers=1, width=4, heads=1, kernel=3, left=8, longest_chunk=8)


class CountingEncoder(ChunkedEncoder):
    """Advances states and computes nothing."""

    def start(self, mode: LatencyMode) -> EncoderState:
        return fresh_state(SHAPE, 1, mode)

    def step(self, states, frames):
        for state in states:
            state.mel = state.mel[8 * frames :]
            state.frames += frames
        return []


@given(
    lookahead=st.integers(0, 7),
    blocks=st.lists(st.integers(0, 90), min_size=1, max_size=10),
    chunks=st.integers(1, 4),
)
def test_all_frames_are_encoded_in_chunks_and_a_rest(lookahead, blocks, chunks):
    encoder, mode = CountingEncoder(), LatencyMode(8, lookahead)
    state, steps = encoder.start(mode), []
    for size in blocks:
        encoder.feed(state, np.zeros((size, 1), np.float32))
        while frames := encoder.ready(state, chunks):
            encoder.step([state], frames)
            steps.append(frames)
    assert all(frames == chunks * mode.chunk for frames in steps)
    encoder.end(state)
    assert state.mel_total == sum(blocks)
    while frames := encoder.ready(state, chunks):
        encoder.step([state], frames)
        steps.append(frames)
    assert sum(steps) == subsampled_length(sum(blocks))


@pytest.mark.parametrize("lookahead", [0, 3])
def test_the_frames_needed_make_a_step_ready(lookahead):
    encoder = CountingEncoder()
    state = encoder.start(LatencyMode(8, lookahead))
    needed = encoder.mel_needed(state, chunks=1)
    assert needed == 8 * (lookahead + 1) - LEFT_PADDING
    encoder.feed(state, np.zeros((needed - 1, 1), np.float32))
    assert encoder.ready(state, 1) == 0
    encoder.feed(state, np.zeros((1, 1), np.float32))
    assert encoder.ready(state, 1) == lookahead + 1


def test_a_language_prompt_has_the_bias_of_its_id(bundle_of):
    bundle = open_bundle(bundle_of("tiny-multi"))
    prompt = Encoder(bundle, threads=1).language_prompt(3)
    assert prompt.id == 3
    np.testing.assert_array_equal(prompt.bias, bundle.language_bias[3])
