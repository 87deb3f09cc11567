"""Codes and scales are what onnxruntime's MatMulNBits computes with, and as good as they can be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks.quantization.roundings import dequantize
from wheatear.convert.graphs.writer import GraphWriter
from wheatear.convert.quantize import BLOCK, quantize
from wheatear.errors import CheckpointError
from wheatear.model.onnx_session import Session

WEIGHTS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 70)),
    elements=st.floats(-4, 4, width=32),
)


@settings(max_examples=150, deadline=None)
@given(weight=WEIGHTS, bits=st.sampled_from([4, 8]))
def test_no_block_is_worse_than_plain_rounding(weight, bits):
    codes, scales = quantize(weight, bits)
    blocks = -(-weight.shape[1] // BLOCK)
    assert codes.shape == (len(weight), blocks, BLOCK * bits // 8)
    assert scales.shape == (len(weight), blocks)
    np.testing.assert_array_equal(scales, scales.astype(np.float16).astype(np.float32))
    back = dequantize(codes, scales, bits, weight.shape[1])
    assert back.shape == weight.shape
    padded = np.pad(weight, ((0, 0), (0, blocks * BLOCK - weight.shape[1])))
    error = (np.pad(back, ((0, 0), (0, padded.shape[1] - weight.shape[1]))) - padded) ** 2
    grouped = padded.reshape(len(weight), blocks, BLOCK)
    scale = np.abs(grouped).max(-1, keepdims=True) / (1 << bits - 1)
    scale[scale < 1e-36] = 1
    plain = np.clip(np.rint(grouped / scale), -(1 << bits - 1), (1 << bits - 1) - 1) * scale
    error = error.reshape(grouped.shape).sum(-1)
    plain_error = ((plain - grouped) ** 2).sum(-1)
    slack = 1e-6 * (grouped**2).sum(-1) + BLOCK * (scale[..., 0] / 2) ** 2 * (bits == 8)
    slack += BLOCK * (127 * 2.0**-25) ** 2  # float16 has no scale that is smaller
    assert np.all(error <= plain_error + slack)


def test_zeros_stay_zeros():
    for bits in (4, 8):
        codes, scales = quantize(np.zeros((2, 64), np.float32), bits)
        assert not dequantize(codes, scales, bits, 64).any()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
def test_what_no_scale_fits_is_refused(bits, value):
    weight = np.ones((3, 40), np.float32)
    weight[1, 35] = value
    with pytest.raises(CheckpointError, match="100000 or more, or not finite"):
        quantize(weight, bits)


def test_four_bits_beat_plain_rounding():
    weight = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    codes, scales = quantize(weight, 4)
    ours = np.mean((dequantize(codes, scales, 4, 256) - weight) ** 2)
    blocks = weight.reshape(256, -1, BLOCK)
    scale = np.abs(blocks).max(-1, keepdims=True) / 7
    plain = np.mean((np.rint(blocks / scale) * scale - blocks) ** 2)
    assert ours < 0.75 * plain


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("inputs", [32, 64, 72, 144, 250])
def test_onnxruntime_reads_our_layout(tmp_path, bits, inputs):
    """Also where the inputs are not whole blocks; only activations are rounded on top."""
    rng = np.random.default_rng(inputs)
    weight = rng.standard_normal((48, inputs)).astype(np.float32)
    bias = rng.standard_normal(48).astype(np.float32)
    with GraphWriter(tmp_path / "product.onnx") as graph:
        y = graph.linear("w", graph.input("x", ["N", inputs]), weight, bias, bits)
        graph.output("y", y, ["N", 48])
    x = rng.standard_normal((5, inputs)).astype(np.float32)
    (result,) = Session(tmp_path / "product.onnx", 1).run(["y"], {"x": x})
    codes, scales = quantize(weight, bits)
    expected = x @ dequantize(codes, scales, bits, inputs).T + bias
    assert np.abs(result - expected).max() < 0.03 * np.abs(expected).max()
    difference = np.sqrt(np.mean((result - expected) ** 2) / np.mean(expected**2))
    assert difference < 0.01
