"""Predictor and joint in C++ against those of onnxruntime."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from checkpoints import GEOMETRIES, TINY
from hypothesis import given, settings
from hypothesis import strategies as st
from native_products import packed_of, product

from wheatear.convert.quantize import quantize
from wheatear.decoder.native_networks import NativeNetworks
from wheatear.decoder.onnx_networks import OnnxNetworks
from wheatear.model.bundle import Bundle, open_bundle

native = pytest.importorskip("wheatear_native")

PRECISIONS = ("fp32", "int8", "int4")


def inputs_of(bundle: Bundle, rows: int, seed: int = 0) -> tuple[tuple, tuple]:
    """Returns random inputs of a predictor and of a joint."""
    s, rng = bundle.manifest.decoder, np.random.default_rng(seed)
    h = np.tanh(rng.standard_normal((s.layers, rows, s.hidden), np.float32))
    c = rng.standard_normal((s.layers, rows, s.hidden), np.float32)
    frames, predictions = rng.standard_normal((2, rows, s.joint), np.float32)
    return (rng.integers(0, s.blank + 1, rows), h, c), (frames, predictions)


@pytest.mark.parametrize("isa", native.instruction_sets())
@pytest.mark.parametrize("model", [*TINY, *GEOMETRIES])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_predictor_and_joint_equal_onnxruntime(bundle_of, isa, model, precision):
    """A quantized predictor is compared in its first layer: later ones may have other codes."""
    bundle = open_bundle(bundle_of(model, precision))
    theirs, ours = OnnxNetworks(bundle), NativeNetworks(native, bundle, 2, isa)
    for rows in (1, 3, 9):
        to_predictor, to_joint = inputs_of(bundle, rows)
        prediction, *expected = theirs.predict(*to_predictor)
        like_it, *found = ours.predict(*to_predictor)
        layers = slice(None if precision == "fp32" else 1)
        for state, other in zip(expected, found, strict=True):
            assert state.shape == other.shape
            assert np.abs(state - other)[layers].max() < 1e-4
        assert np.abs(prediction - like_it).max() < (1e-4 if precision == "fp32" else 0.1)
        logits = ours.logits(*to_joint)
        assert np.abs(theirs.logits(*to_joint) - logits).max() < 1e-4


@pytest.mark.parametrize("model", [*TINY, *GEOMETRIES])
def test_quantized_predictor_has_the_error_of_onnxruntime(bundle_of, model):
    exact, bundle = (open_bundle(bundle_of(model, kind)) for kind in ("fp32", "int8"))
    to_predictor, _ = inputs_of(bundle, 200)
    float_, theirs, ours = (
        network.predict(*to_predictor)
        for network in (
            OnnxNetworks(exact),
            OnnxNetworks(bundle),
            NativeNetworks(native, bundle, 1),
        )
    )
    for exactly, *others in zip(float_, ours, theirs, strict=True):
        off = [np.sqrt(np.mean((exactly - other) ** 2)) for other in others]
        assert 0 < off[0] < 1.05 * off[1]


SIZES = native.DecoderShape(2, 24, 40, 33, 0)
"""Layers, hidden, joint, outputs, activation: no multiples of a block or a tile."""


def decoder_of(bits: int, isa: str, threads: int = 1, activation: str = "Relu"):
    """Returns a native decoder with random weights, all weights and those of its joint."""
    s, rng = SIZES, np.random.default_rng(0)
    linears = [(2 * s.hidden, 4 * s.hidden)] * s.layers + [(s.hidden, s.joint)]
    weights = []
    for inputs, outputs in linears:
        matrix = rng.standard_normal((inputs, outputs), np.float32) / np.float32(np.sqrt(inputs))
        bias = rng.standard_normal(outputs, np.float32)
        weights += [native.Weight(matrix), native.Weight(bias)]
    output = rng.standard_normal((s.joint, s.outputs), np.float32)
    bias = rng.standard_normal(s.outputs, np.float32)
    if bits == 32:
        weights += [native.Weight(output), native.Weight(bias)]
        joint = output, bias
    else:
        codes, scales = quantize(output.T, bits)
        weights += [packed_of(native, codes, scales, s.joint), native.Weight(bias)]
        joint = codes, scales, bias
    which = native.ACTIVATIONS.index(activation)
    shape = native.DecoderShape(s.layers, s.hidden, s.joint, s.outputs, which)
    return native.Decoder(shape, weights, threads, isa), weights, joint


@pytest.mark.parametrize("isa", native.instruction_sets())
@pytest.mark.parametrize("bits", [4, 8])
@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 20), threads=st.integers(1, 3), seed=st.integers(0, 1000))
def test_joint_equals_integers(isa, bits, rows, threads, seed):
    decoder, _, joint = decoder_of(bits, isa, threads)
    rng = np.random.default_rng(seed)
    frames, predictions = rng.standard_normal((2, rows, SIZES.joint), np.float32)
    expected = product(*joint, np.maximum(frames + predictions, 0))
    np.testing.assert_array_equal(decoder.logits(frames, predictions), expected)


@pytest.mark.parametrize("isa", native.instruction_sets())
@pytest.mark.parametrize("activation", native.ACTIVATIONS)
def test_activations(isa, activation):
    decoder, _, (weight, bias) = decoder_of(32, isa, 1, activation)
    rng = np.random.default_rng(1)
    frames, predictions = rng.standard_normal((2, 5, SIZES.joint), np.float32) * 4
    x = (frames + predictions).astype(np.float64)
    activated = {"Relu": np.maximum(x, 0), "Tanh": np.tanh(x), "Sigmoid": 1 / (1 + np.exp(-x))}
    expected = activated[activation] @ weight + bias
    np.testing.assert_allclose(decoder.logits(frames, predictions), expected, atol=1e-4)


@pytest.mark.parametrize("isa", native.instruction_sets())
def test_predictor_is_an_lstm(isa):
    """The expected state is in float64, with gates from nearly closed to open."""
    decoder, weights, _ = decoder_of(8, isa)
    s, rng = SIZES, np.random.default_rng(2)
    x, h, c = (
        rng.standard_normal(shape, np.float32) * 8
        for shape in ((6, s.hidden), *[(s.layers, 6, s.hidden)] * 2)
    )
    prediction, next_h, next_c = decoder.predict(x, h, c)
    matrices = [weight.data.astype(np.float64) for weight in weights[:6]]
    for i in range(s.layers):
        gates = np.concatenate([x, h[i]], axis=1) @ matrices[2 * i] + matrices[2 * i + 1]
        enter, forget, candidate, leave = np.split(gates, 4, axis=1)
        enter, forget, leave = (1 / (1 + np.exp(-gate)) for gate in (enter, forget, leave))
        cell = forget * c[i] + enter * np.tanh(candidate)
        x = leave * np.tanh(cell)
        np.testing.assert_allclose(next_c[i], cell, atol=1e-5)
        np.testing.assert_allclose(next_h[i], x, atol=1e-5)
    np.testing.assert_allclose(prediction, x @ matrices[4] + matrices[5], atol=1e-5)


@cache
def networks(folder: Path, isa: str, threads: int) -> tuple[Bundle, NativeNetworks]:
    bundle = open_bundle(folder)
    return bundle, NativeNetworks(native, bundle, threads, isa)


@pytest.mark.parametrize("isa", native.instruction_sets())
@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 20), threads=st.integers(1, 3), data=st.data())
def test_other_rows_change_no_bit(bundle_of, isa, rows, threads, data):
    """Predictions, LSTM states and logits also do not depend on the number of threads."""
    folder = bundle_of("mel80", "int8")
    bundle, together = networks(folder, isa, threads)
    (token, h, c), (frames, predictions) = inputs_of(bundle, rows, data.draw(st.integers(0, 99)))
    row = data.draw(st.integers(0, rows - 1), "row")
    _, single = networks(folder, isa, 1)
    one = slice(row, row + 1)
    for many, expected in zip(
        together.predict(token, h, c), single.predict(token[one], h[:, one], c[:, one]), strict=True
    ):
        np.testing.assert_array_equal(many[..., one, :], expected)
    np.testing.assert_array_equal(
        together.logits(frames, predictions)[one], single.logits(frames[one], predictions[one])
    )


def test_concurrent_calls_have_the_same_results(bundle_of):
    bundle, decoder = networks(bundle_of("tiny-multi", "int8"), "", 2)

    def run(n: int) -> tuple[np.ndarray, ...]:
        to_predictor, to_joint = inputs_of(bundle, 1 + n % 7, n)
        return (*decoder.predict(*to_predictor), decoder.logits(*to_joint))

    expected = [run(n) for n in range(40)]
    with ThreadPoolExecutor(6) as pool:
        for first, second in zip(expected, pool.map(run, range(40)), strict=True):
            for one, other in zip(first, second, strict=True):
                np.testing.assert_array_equal(one, other)


def test_invalid_arguments_of_a_decoder_are_rejected(bundle_of):
    decoder, weights, _ = decoder_of(8, "")
    s = SIZES
    frames, state = np.zeros((3, s.joint), np.float32), np.zeros((2, 3, s.hidden), np.float32)
    with pytest.raises(native.NativeError, match=r"the predictions is not float32 of \(3, 40\)"):
        decoder.logits(frames, frames[:2])
    with pytest.raises(native.NativeError, match=r"the state is not float32 of \(2, 3, 24\)"):
        decoder.predict(np.zeros((3, s.hidden), np.float32), state[:1], state)
    with pytest.raises(native.NativeError, match="the embedding is not float32"):
        decoder.predict(np.zeros((3, s.hidden)), state, state)
    with pytest.raises(native.NativeError, match="does not support that instruction set"):
        native.Decoder(s, weights, 1, "abacus")
    with pytest.raises(native.NativeError, match="fewer tensors"):
        native.Decoder(s, weights[:-1], 1)
    with pytest.raises(native.NativeError, match="more tensors"):
        native.Decoder(s, [*weights, weights[-1]], 1)
    with pytest.raises(native.NativeError, match="tensor 2 does not have the shape"):
        native.Decoder(s, weights[2:], 1)
