"""Mel rows that a step of the encoder reads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheatear.encoder.state import (
    PRE_ENCODE_CACHE,
    EncoderState,
    fresh_state,
    mel_window,
    subsampled_length,
    valid_rows,
)
from wheatear.model.latency import LatencyMode
from wheatear.model.manifest import EncoderShape

SHAPE = EncoderShape(layers=1, width=4, heads=1, kernel=3, left=4, longest_chunk=4)


def state_with(mel_frames: int, frames: int = 0, total: int | None = None) -> EncoderState:
    state = fresh_state(SHAPE, 2, LatencyMode(4, 0))
    state.mel = np.ones((mel_frames, 2), np.float32)
    state.frames, state.mel_total = frames, total
    return state


@pytest.mark.parametrize(
    ("mel_frames", "expected"), [(0, 1), (1, 1), (2, 2), (8, 2), (9, 2), (10, 3)]
)
def test_subsampled_length_follows_nemos_law(mel_frames, expected):
    assert subsampled_length(mel_frames) == expected


def test_window_past_the_end_is_zero():
    window = mel_window(state_with(10), frames=2)
    assert window.shape == (16 + PRE_ENCODE_CACHE, 2)
    assert window[:10].all()
    assert not window[10:].any()


@given(frames=st.integers(1, 20), convolutions=st.integers(1, 3))
def test_rows_before_the_signal_are_not_valid(frames, convolutions):
    mask = valid_rows(state_with(0), frames, convolutions)
    per_frame = 8 >> convolutions
    assert len(mask) == per_frame * (frames + 1) - 1
    assert mask.sum() == per_frame * (frames - 1) + 1


@given(total=st.integers(1, 200), convolutions=st.integers(1, 3))
def test_rows_of_a_whole_signal_are_as_many_as_its_subsampled_length(total, convolutions):
    state = state_with(0, total=total)
    mask = valid_rows(state, subsampled_length(total), convolutions)
    assert mask.sum() == subsampled_length(total, convolutions)
