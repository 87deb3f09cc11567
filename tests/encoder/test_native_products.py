"""Products of wheatear-native, bit for bit those of integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_products import fused, packed_of, product

from wheatear.convert.quantize import BLOCK, quantize

native = pytest.importorskip("wheatear_native")

PRECISIONS = ("fp32", "int8", "int4")


@pytest.mark.parametrize("isa", native.instruction_sets())
@pytest.mark.parametrize("bits", [4, 8, 32])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_linear_layer_equals_integers(isa, bits, data):
    inputs = data.draw(st.integers(1, 200), "inputs")
    outputs = data.draw(st.integers(1, 70), "outputs")
    rows = data.draw(st.integers(1, 20), "rows")
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    size = np.float32(10.0 ** data.draw(st.integers(-12, 12), "size"))
    x = rng.standard_normal((rows, inputs), np.float32) * size
    x[rng.random((rows, inputs)) < data.draw(st.sampled_from([0.0, 0.5, 1.0]), "zeros")] = 0
    weight = rng.standard_normal((outputs, inputs), np.float32)
    bias = rng.standard_normal(outputs, np.float32) * size
    if bits == 32:
        expected = np.broadcast_to(bias, (rows, outputs))
        for i in range(inputs):
            expected = fused(x[:, i, None], weight[:, i], expected)
        packed = native.Weight(np.ascontiguousarray(weight.T))
    else:
        codes, scales = quantize(weight, bits)
        expected = product(codes, scales, bias, x)
        packed = packed_of(native, codes, scales, inputs)
    threads = data.draw(st.integers(1, 3), "threads")
    ours, _ = native.linear(packed, bias, x, isa, threads)
    np.testing.assert_array_equal(ours, expected)
    row = data.draw(st.integers(0, rows - 1), "row")
    single, _ = native.linear(packed, bias, x[row : row + 1], isa)
    np.testing.assert_array_equal(single[0], ours[row])


@pytest.mark.parametrize("isa", native.instruction_sets())
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("code", [0, 255])
@pytest.mark.parametrize("sign", [-1, 1])
def test_largest_numbers_do_not_overflow(isa, bits, code, sign):
    codes = np.full((16, 3, BLOCK * bits // 8), code, np.uint8)
    scales = np.ones(16 * 3, np.float16)
    x = np.full((7, 3 * BLOCK), 127 * sign, np.float32)
    bias = np.zeros(16, np.float32)
    ours, _ = native.linear(native.Weight(codes, scales, 3 * BLOCK), bias, x, isa)
    np.testing.assert_array_equal(ours, product(codes, scales, bias, x))


@pytest.mark.parametrize("isa", native.instruction_sets())
@pytest.mark.parametrize("bits", [4, 8])
def test_every_scale_is_read(isa, bits):
    """All finite float16 numbers, with zeros of both signs and subnormal numbers."""
    patterns = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    scales = patterns[np.isfinite(patterns)].reshape(-1, 1)
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 256, (len(scales), 1, BLOCK * bits // 8), np.uint8)
    x = rng.standard_normal((2, BLOCK), np.float32)
    bias = np.zeros(len(scales), np.float32)
    ours, _ = native.linear(native.Weight(codes, scales.reshape(-1), BLOCK), bias, x, isa)
    np.testing.assert_array_equal(ours, product(codes, scales.astype(np.float32), bias, x))


def test_invalid_linear_layer_is_rejected():
    codes, scales = np.zeros((8, 2, 16), np.uint8), np.zeros(16, np.float16)
    x = np.zeros((1, 64), np.float32)
    with pytest.raises(native.NativeError, match="no instruction set 'abacus'"):
        native.linear(native.Weight(codes, scales, 64), None, x, "abacus")
    with pytest.raises(native.NativeError, match="blocks of 32"):
        native.linear(native.Weight(codes, scales, 65), None, x)
    with pytest.raises(native.NativeError, match=r"not \[rows, 60\]"):
        native.linear(native.Weight(codes, scales, 60), None, x)
    scales[3] = np.inf
    with pytest.raises(native.NativeError, match="a scale is not finite"):
        native.linear(native.Weight(codes, scales, 64), None, x)
    with pytest.raises(native.NativeError, match="not contiguous"):
        native.linear(native.Weight(np.zeros((8, 4), np.float32).T), None, x)
