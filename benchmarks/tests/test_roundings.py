"""Rounding methods: bounds of their errors, and comparisons with each other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks.quantization.roundings import (
    BITS,
    BLOCKS,
    CALIBRATED,
    METHODS,
    Rounding,
    dequantize,
    output_error,
    parse_rounding,
    round_weight,
)
from wheatear.convert.quantize import quantize
from wheatear.errors import CheckpointError

WEIGHTS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 140)),
    elements=st.floats(-4, 4, width=32),
)
ROUNDINGS = st.builds(
    Rounding, st.sampled_from(METHODS), st.sampled_from(BITS), st.sampled_from(BLOCKS)
)


def gram_of(inputs: int, seed: int = 0, rows: int = 200) -> np.ndarray:
    """Gram matrix of correlated inputs."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, inputs)) @ rng.standard_normal((inputs, inputs))
    x = x.astype(np.float32)
    return x.T @ x


def in_blocks(values: np.ndarray, block: int) -> np.ndarray:
    padded = np.pad(values, ((0, 0), (0, -values.shape[1] % block)))
    return padded.reshape(len(values), -1, block)


@settings(max_examples=150, deadline=None)
@given(weight=WEIGHTS, rounding=ROUNDINGS)
def test_block_has_no_more_values_than_codes(weight, rounding):
    """Shapes include those with an incomplete last block."""
    back = round_weight(weight, rounding, gram_of(weight.shape[1]))
    assert back.shape == weight.shape
    assert back.dtype == np.float32
    assert np.isfinite(back).all()
    for block in in_blocks(back, rounding.block).reshape(-1, rounding.block):
        steps = np.unique(block)
        assert len(steps) <= 1 << rounding.bits
        if (apart := np.diff(steps).min(initial=np.inf)) < np.inf:
            # All are whole numbers of some step; none is smaller than the span's 256th part.
            assert apart > (steps[-1] - steps[0]) / (1.01 * (1 << rounding.bits))


@settings(max_examples=100, deadline=None)
@given(weight=WEIGHTS, bits=st.sampled_from(BITS), block=st.sampled_from(BLOCKS))
def test_nearest_has_at_most_half_a_step_of_error(weight, bits, block):
    back = round_weight(weight, Rounding("nearest", bits, block))
    off = np.abs(in_blocks(weight - back, block)).max(-1)
    step = np.abs(in_blocks(weight, block)).max(-1) / ((1 << bits - 1) - 1)
    assert np.all(off <= 0.5001 * step + 1e-37)


@settings(max_examples=100, deadline=None)
@given(weight=WEIGHTS, block=st.sampled_from(BLOCKS))
def test_more_scales_never_increase_the_error(weight, block):
    """The scale of rounding to nearest is among those tried."""
    error = {
        how: (in_blocks(round_weight(weight, Rounding(how, 4, block)) - weight, block) ** 2).sum(-1)
        for how in ("nearest", "fine")
    }
    slack = 1e-5 * (in_blocks(weight, block) ** 2).sum(-1)
    assert np.all(error["fine"] <= error["nearest"] + slack)


@settings(max_examples=60, deadline=None)
@given(weight=WEIGHTS, rounding=ROUNDINGS, power=st.integers(-4, 12))
def test_rounding_commutes_with_powers_of_two(weight, rounding, power):
    """`convert` folds factors into weights: one half, and the scale of the encoder's input."""
    gram, factor = gram_of(weight.shape[1]), np.float32(2.0**power)
    weight[np.abs(weight) < 2.0**-6 / min(factor, 1)] = 0  # below, float16 has fewer digits
    once = round_weight(weight, rounding, gram) * factor
    np.testing.assert_allclose(
        round_weight(weight * factor, rounding, gram), once, rtol=1e-5, atol=1e-6 * factor
    )


@settings(max_examples=60, deadline=None)
@given(weight=WEIGHTS, bits=st.sampled_from(BITS), power=st.integers(-24, -8))
def test_scale_below_float16_has_a_small_error(weight, bits, power):
    """Below 2^-14 float16 has a grid of 2^-24, which bounds the error of a scale."""
    weight *= np.float32(2.0**power)
    back = round_weight(weight, Rounding("search", bits, 32))
    step = np.abs(in_blocks(weight, 32)).max(-1) / ((1 << bits - 1) - 1)
    off = np.abs(in_blocks(weight - back, 32)).max(-1)
    assert np.all(off <= 1.2 * step + 2.0**-25 * (1 << bits - 1))


@settings(max_examples=60, deadline=None)
@given(
    method=st.sampled_from(METHODS),
    bits=st.sampled_from(BITS),
    block=st.sampled_from(BLOCKS),
    inputs=st.integers(1, 140),
    scale=st.sampled_from([2.0**-10, 0.25, 3.0]),  # of those that 16 bits hold
    seed=st.integers(0, 99),
)
def test_weight_on_the_grid_is_unchanged(method, bits, block, inputs, scale, seed):
    """Multiples of a step, with the largest code in every block, are exact codes."""
    rng, top = np.random.default_rng(seed), (1 << bits - 1) - 1
    weight = rng.integers(-top, top + 1, (3, inputs)).astype(np.float32)
    weight[:, ::block] = top
    if method == "k-quant":
        weight[:, ::block] = 2 * top + 1  # so that all its codes are on one side
        weight = np.abs(weight)
    weight *= np.float32(scale)
    back = round_weight(weight, Rounding(method, bits, block), gram_of(inputs))
    if bits == 4 or method == "nearest":
        np.testing.assert_allclose(back, weight, rtol=1e-4, atol=1e-5 * scale)
    else:  # with 8 bits not every scale is tried, so that one code may be clipped
        assert np.abs(back - weight).max() <= 1.2 * scale


@settings(max_examples=60, deadline=None)
@given(weight=WEIGHTS, bits=st.sampled_from(BITS), seed=st.integers(0, 99))
def test_gptq_is_no_worse_than_nearest_on_its_calibration(weight, bits, seed):
    gram = gram_of(weight.shape[1], seed, rows=50)
    error = {
        how: output_error(weight, round_weight(weight, Rounding(how, bits, 32), gram), gram)
        for how in ("nearest", "gptq")
    }
    assert np.all(error["gptq"] <= error["nearest"] * (1 + 1e-5) + 1e-6)


def test_calibration_reduces_the_output_error():
    """The inputs are correlated."""
    weight = np.random.default_rng(1).standard_normal((64, 96)).astype(np.float32)
    gram = gram_of(96)
    error = {
        how: output_error(weight, round_weight(weight, Rounding(how, 4, 32), gram), gram).sum()
        for how in ("nearest", "fine", "gptq")
    }
    assert error["gptq"] < 0.5 * error["fine"] < 0.5 * error["nearest"]


def test_loud_inputs_have_more_weight():
    weight = np.random.default_rng(1).standard_normal((64, 96)).astype(np.float32)
    gram = np.diag(np.where(np.arange(96) % 8, 1, 100).astype(np.float32))
    error = {
        how: output_error(weight, round_weight(weight, Rounding(how, 4, 32), gram), gram).sum()
        for how in ("fine", "activations")
    }
    assert error["activations"] < 0.8 * error["fine"]


def test_a_zero_point_helps_weights_of_one_sign():
    weight = np.random.default_rng(2).random((32, 128)).astype(np.float32)
    error = {
        how: np.mean((round_weight(weight, Rounding(how, 4, 32)) - weight) ** 2)
        for how in ("fine", "k-quant")
    }
    assert error["k-quant"] < 0.5 * error["fine"]


@pytest.mark.parametrize("method", METHODS)
def test_zeros_stay_zeros(method):
    weight = np.zeros((2, 70), np.float32)
    for gram in (gram_of(70), np.zeros((70, 70), np.float32)):  # also for silent inputs
        assert not round_weight(weight, Rounding(method, 4, 32), gram).any()


def test_search_equals_the_quantization_of_convert():
    weight = np.random.default_rng(3).standard_normal((8, 70)).astype(np.float32)
    expected = dequantize(*quantize(weight, 4), 4, 70)
    assert np.array_equal(round_weight(weight, parse_rounding("search-4-32")), expected)


def test_names_and_sizes():
    assert str(parse_rounding("k-quant-4-128")) == "k-quant-4-128"
    assert parse_rounding("nearest-8-32").size == 1.125
    assert parse_rounding("k-quant-4-32").size == 0.640625
    for wrong in ("nearest", "nearest-4", "nearest-5-32", "nearest-4-16", "best-4-32", "4-32", ""):
        with pytest.raises(CheckpointError, match="METHOD-BITS-BLOCK with nearest, search"):
            parse_rounding(wrong)
    for method in CALIBRATED:
        with pytest.raises(CheckpointError, match=f"{method}-4-32 is for layers, with recordings"):
            round_weight(np.ones((1, 32), np.float32), Rounding(method, 4, 32))
