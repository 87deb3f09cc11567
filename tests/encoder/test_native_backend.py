"""The networks in C++: products bit for bit, steps of the encoder, predictor and joint against
onnxruntime's.
"""

import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from checkpoints import GEOMETRIES, TINY, speech
from hypothesis import given, settings
from hypothesis import strategies as st
from native_products import fused, product

import wheatear
from wheatear.audio.mel import MelSpectrogram
from wheatear.convert.quantize import BLOCK, quantize
from wheatear.decoder import native_networks
from wheatear.decoder.native_networks import NativeNetworks
from wheatear.decoder.networks import open_networks
from wheatear.decoder.onnx_networks import OnnxNetworks
from wheatear.encoder import native_backend
from wheatear.encoder.encoder import Encoder
from wheatear.encoder.native_backend import NativeBackend
from wheatear.encoder.onnx_backend import OnnxBackend
from wheatear.encoder.state import EncoderState, LanguagePrompt, fresh_state
from wheatear.model.bundle import Bundle, open_bundle
from wheatear.model.latency import LatencyMode
from wheatear.model.native_library import NATIVE_VARIABLE, native_isa

native = pytest.importorskip("wheatear_native")

PRECISIONS = ("fp32", "int8", "int4")


# -- products ------------------------------------------------------------------------------------


def packed_of(codes: np.ndarray, scales: np.ndarray, inputs: int) -> native.Weight:
    return native.Weight(codes, scales.astype(np.float16).reshape(-1), inputs)


@pytest.mark.parametrize("path", native.paths())
@pytest.mark.parametrize("bits", [4, 8, 32])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_product_equals_integers(path, bits, data):
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
        packed = packed_of(codes, scales, inputs)
    threads = data.draw(st.integers(1, 3), "threads")
    ours, _ = native.product(packed, bias, x, path, threads)
    np.testing.assert_array_equal(ours, expected)
    row = data.draw(st.integers(0, rows - 1), "row")
    alone, _ = native.product(packed, bias, x[row : row + 1], path)
    np.testing.assert_array_equal(alone[0], ours[row])


@pytest.mark.parametrize("path", native.paths())
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("code", [0, 255])
@pytest.mark.parametrize("sign", [-1, 1])
def test_largest_numbers_do_not_overflow(path, bits, code, sign):
    codes = np.full((16, 3, BLOCK * bits // 8), code, np.uint8)
    scales = np.ones(16 * 3, np.float16)
    x = np.full((7, 3 * BLOCK), 127 * sign, np.float32)
    bias = np.zeros(16, np.float32)
    ours, _ = native.product(native.Weight(codes, scales, 3 * BLOCK), bias, x, path)
    np.testing.assert_array_equal(ours, product(codes, scales, bias, x))


@pytest.mark.parametrize("path", native.paths())
@pytest.mark.parametrize("bits", [4, 8])
def test_every_scale_is_read(path, bits):
    """All finite numbers of 16 bits: of either sign, zero and those next to it as well."""
    patterns = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    scales = patterns[np.isfinite(patterns)].reshape(-1, 1)
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 256, (len(scales), 1, BLOCK * bits // 8), np.uint8)
    x = rng.standard_normal((2, BLOCK), np.float32)
    bias = np.zeros(len(scales), np.float32)
    ours, _ = native.product(native.Weight(codes, scales.reshape(-1), BLOCK), bias, x, path)
    np.testing.assert_array_equal(ours, product(codes, scales.astype(np.float32), bias, x))


def test_what_is_not_a_product():
    codes, scales = np.zeros((8, 2, 16), np.uint8), np.zeros(16, np.float16)
    x = np.zeros((1, 64), np.float32)
    with pytest.raises(native.NativeError, match="no path 'abacus'"):
        native.product(native.Weight(codes, scales, 64), None, x, "abacus")
    with pytest.raises(native.NativeError, match="blocks of 32"):
        native.product(native.Weight(codes, scales, 65), None, x)
    with pytest.raises(native.NativeError, match=r"not \[rows, 60\]"):
        native.product(native.Weight(codes, scales, 60), None, x)
    scales[3] = np.inf
    with pytest.raises(native.NativeError, match="a scale is not finite"):
        native.product(native.Weight(codes, scales, 64), None, x)
    with pytest.raises(native.NativeError, match="row by row"):
        native.product(native.Weight(np.zeros((8, 4), np.float32).T), None, x)


# -- steps ---------------------------------------------------------------------------------------


def state_of(bundle: Bundle, mel: np.ndarray, mode: LatencyMode) -> EncoderState:
    encoder = Encoder(bundle, threads=1)
    state = encoder.start(mode)
    encoder.feed(state, mel)
    encoder.end(state)
    return state


def encode(
    bundle: Bundle, step: NativeBackend | OnnxBackend, mel: np.ndarray, lookahead: int, chunks: int
) -> dict[str, np.ndarray]:
    """All that comes out of an encoder for some mel, and what it remembers then."""
    encoder = Encoder(bundle, threads=1, backend=step)
    state = state_of(bundle, mel, LatencyMode(bundle.manifest.encoder.left, lookahead))
    if bundle.manifest.prompts:
        state.language = encoder.language_prompt(0)
    outputs = []
    while frames := encoder.ready(state, chunks):
        outputs += encoder.step([state], frames)
    kinds = ("joint_input", "encoder_out", "before_prompt")
    tensors = {kind: np.concatenate([getattr(o, kind) for o in outputs]) for kind in kinds}
    return tensors | {"keys_values": state.keys_values, "conv": state.conv}


def mel_of(bundle: Bundle, model: str) -> np.ndarray:
    spectrogram = MelSpectrogram(bundle.manifest.features)
    state = spectrogram.start()
    samples = speech(model)[: 16_000 * 8]
    return np.concatenate([spectrogram.push(state, samples), spectrogram.finish(state)])


@pytest.mark.parametrize("path", native.paths())
@pytest.mark.parametrize("model", [*TINY, *GEOMETRIES])
@pytest.mark.parametrize(("lookahead", "chunks"), [(0, 1), (3, 1), (13, 8)])
def test_float_steps_equal_onnxruntimes(bundle_of, path, model, lookahead, chunks):
    bundle = open_bundle(bundle_of(model))
    mel = mel_of(bundle, model)
    theirs = encode(bundle, OnnxBackend(bundle, 1), mel, lookahead, chunks)
    ours = encode(bundle, NativeBackend(native, bundle, 2, path), mel, lookahead, chunks)
    for name, tensor in theirs.items():
        assert tensor.shape == ours[name].shape
        assert np.abs(tensor - ours[name]).max() < 1e-4, name


@pytest.mark.parametrize("model", [*TINY, *GEOMETRIES])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_quantised_steps_are_as_far_from_float_as_onnxruntimes(bundle_of, model, precision):
    """Not equal: where the last bit of a float differs, a code of 8 bits may be the next one."""
    exact, bundle = (open_bundle(bundle_of(model, kind)) for kind in ("fp32", precision))
    mel = mel_of(bundle, model)
    float_, theirs, ours = (
        encode(exact, OnnxBackend(exact, 1), mel, 3, 1),
        encode(bundle, OnnxBackend(bundle, 1), mel, 3, 1),
        encode(bundle, NativeBackend(native, bundle, 1), mel, 3, 1),
    )
    for name, tensor in float_.items():
        off = [np.sqrt(np.mean((tensor - other[name]) ** 2)) for other in (ours, theirs)]
        assert off[0] < 1.05 * off[1] + 1e-5, name


@pytest.mark.parametrize("path", native.paths())
@pytest.mark.parametrize("precision", PRECISIONS)
def test_chunks_of_a_file_have_the_bits_of_a_stream(bundle_of, path, precision):
    bundle = open_bundle(bundle_of("tiny-multi", precision))
    mel = mel_of(bundle, "tiny-multi")
    stream = encode(bundle, NativeBackend(native, bundle, 1, path), mel, 1, 1)
    for threads, chunks in ((1, 7), (3, 50)):
        file = encode(bundle, NativeBackend(native, bundle, threads, path), mel, 1, chunks)
        for name, tensor in stream.items():
            np.testing.assert_array_equal(tensor, file[name], name)


@cache
def loaded(folder: Path, path: str) -> tuple[Bundle, NativeBackend]:
    bundle = open_bundle(folder)
    return bundle, NativeBackend(native, bundle, 2, path)


@pytest.mark.parametrize("path", native.paths())
@settings(max_examples=20, deadline=None)
@given(
    places=st.lists(st.tuples(st.integers(0, 300), st.sampled_from([0, 1, 3, 6, 13])), min_size=1),
    frames=st.integers(1, 14),
)
def test_neighbours_change_no_bit(bundle_of, path, places, frames):
    """A step of many streams, each at a place and of a mode of its own."""
    bundle, step = loaded(bundle_of("mel80", "int4"), path)
    left = bundle.manifest.encoder.left
    rng = np.random.default_rng(len(places))

    def states() -> list[EncoderState]:
        rng = np.random.default_rng(7)
        made = []
        for start, lookahead in places:
            mel = rng.normal(-8, 4, (8 * frames + 7, 80)).astype(np.float32)
            state = Encoder(bundle, 1).start(LatencyMode(left, lookahead))
            state.mel, state.frames = mel, start
            state.keys_values[:] = rng.standard_normal(state.keys_values.shape)
            state.conv = rng.standard_normal(state.conv.shape, np.float32)
            made.append(state)
        return made

    together, alone = states(), states()
    batch = step.run(together, frames, frames)
    pick = int(rng.integers(len(places)))
    (single,) = step.run([alone[pick]], frames, frames)
    np.testing.assert_array_equal(batch[pick].joint_input, single.joint_input)
    np.testing.assert_array_equal(together[pick].keys_values, alone[pick].keys_values)
    np.testing.assert_array_equal(together[pick].conv, alone[pick].conv)


def test_a_step_that_cannot_be_leaves_the_state_as_it_was(bundle_of):
    bundle = open_bundle(bundle_of("tiny-en"))
    step = NativeBackend(native, bundle, 1)
    state = state_of(bundle, np.zeros((400, 128), np.float32), bundle.manifest.default_mode)
    before = state.conv
    for frames, chunk in ((28, 28), (4, 3), (0, 1)):
        with pytest.raises(native.NativeError, match="no such chunks"):
            step.run([state], frames, chunk)
    state.mode = LatencyMode(bundle.manifest.encoder.left + 1, 0)
    with pytest.raises(native.NativeError, match="so far back"):
        step.run([state], 1, 1)
    state.keys_values = state.keys_values[1:]
    with pytest.raises(native.NativeError, match="keys_values is not float32 of"):
        step.run([state], 1, 1)
    assert state.conv is before
    assert not state.keys_values.any()


# -- predictor and joint -------------------------------------------------------------------------


def inputs_of(bundle: Bundle, rows: int, seed: int = 0) -> tuple[tuple, tuple]:
    """What a predictor and what a joint is asked."""
    s, rng = bundle.manifest.decoder, np.random.default_rng(seed)
    h = np.tanh(rng.standard_normal((s.layers, rows, s.hidden), np.float32))
    c = rng.standard_normal((s.layers, rows, s.hidden), np.float32)
    frames, predictions = rng.standard_normal((2, rows, s.joint), np.float32)
    return (rng.integers(0, s.blank + 1, rows), h, c), (frames, predictions)


@pytest.mark.parametrize("path", native.paths())
@pytest.mark.parametrize("model", [*TINY, *GEOMETRIES])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_predictor_and_joint_equal_onnxruntimes(bundle_of, path, model, precision):
    """Of a quantised predictor, the first layer: where the last bit of a float differs, a code of
    the next one may be another.
    """
    bundle = open_bundle(bundle_of(model, precision))
    theirs, ours = OnnxNetworks(bundle), NativeNetworks(native, bundle, 2, path)
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
def test_quantised_predictor_is_as_far_from_float_as_onnxruntimes(bundle_of, model):
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


def decoder_of(bits: int, path: str, threads: int = 1, activation: str = "Relu"):
    """A native decoder of random weights, and those of its joint."""
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
        weights += [packed_of(codes, scales, s.joint), native.Weight(bias)]
        joint = codes, scales, bias
    which = native.ACTIVATIONS.index(activation)
    shape = native.DecoderShape(s.layers, s.hidden, s.joint, s.outputs, which)
    return native.Decoder(shape, weights, threads, path), weights, joint


@pytest.mark.parametrize("path", native.paths())
@pytest.mark.parametrize("bits", [4, 8])
@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 20), threads=st.integers(1, 3), seed=st.integers(0, 1000))
def test_joint_equals_integers(path, bits, rows, threads, seed):
    decoder, _, joint = decoder_of(bits, path, threads)
    rng = np.random.default_rng(seed)
    frames, predictions = rng.standard_normal((2, rows, SIZES.joint), np.float32)
    expected = product(*joint, np.maximum(frames + predictions, 0))
    np.testing.assert_array_equal(decoder.logits(frames, predictions), expected)


@pytest.mark.parametrize("path", native.paths())
@pytest.mark.parametrize("activation", native.ACTIVATIONS)
def test_activations(path, activation):
    decoder, _, (weight, bias) = decoder_of(32, path, 1, activation)
    rng = np.random.default_rng(1)
    frames, predictions = rng.standard_normal((2, 5, SIZES.joint), np.float32) * 4
    x = (frames + predictions).astype(np.float64)
    activated = {"Relu": np.maximum(x, 0), "Tanh": np.tanh(x), "Sigmoid": 1 / (1 + np.exp(-x))}
    expected = activated[activation] @ weight + bias
    np.testing.assert_allclose(decoder.logits(frames, predictions), expected, atol=1e-4)


@pytest.mark.parametrize("path", native.paths())
def test_predictor_is_an_lstm(path):
    """With gates from nearly shut to wide open, in float64."""
    decoder, weights, _ = decoder_of(8, path)
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
def networks(folder: Path, path: str, threads: int) -> tuple[Bundle, NativeNetworks]:
    bundle = open_bundle(folder)
    return bundle, NativeNetworks(native, bundle, threads, path)


@pytest.mark.parametrize("path", native.paths())
@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 20), threads=st.integers(1, 3), data=st.data())
def test_other_rows_change_no_bit(bundle_of, path, rows, threads, data):
    """Of a prediction, an LSTM state or an answer of the joint; nor does the number of threads."""
    folder = bundle_of("mel80", "int8")
    bundle, together = networks(folder, path, threads)
    (token, h, c), (frames, predictions) = inputs_of(bundle, rows, data.draw(st.integers(0, 99)))
    row = data.draw(st.integers(0, rows - 1), "row")
    _, alone = networks(folder, path, 1)
    one = slice(row, row + 1)
    for many, single in zip(
        together.predict(token, h, c), alone.predict(token[one], h[:, one], c[:, one]), strict=True
    ):
        np.testing.assert_array_equal(many[..., one, :], single)
    np.testing.assert_array_equal(
        together.logits(frames, predictions)[one], alone.logits(frames[one], predictions[one])
    )


def test_many_threads_at_once(bundle_of):
    bundle, decoder = networks(bundle_of("tiny-multi", "int8"), "", 2)

    def ask(n: int) -> tuple[np.ndarray, ...]:
        to_predictor, to_joint = inputs_of(bundle, 1 + n % 7, n)
        return (*decoder.predict(*to_predictor), decoder.logits(*to_joint))

    expected = [ask(n) for n in range(40)]
    with ThreadPoolExecutor(6) as pool:
        for alone, among in zip(expected, pool.map(ask, range(40)), strict=True):
            for one, other in zip(alone, among, strict=True):
                np.testing.assert_array_equal(one, other)


def test_what_a_decoder_cannot_be_asked(bundle_of):
    decoder, weights, _ = decoder_of(8, "")
    s = SIZES
    frames, state = np.zeros((3, s.joint), np.float32), np.zeros((2, 3, s.hidden), np.float32)
    with pytest.raises(native.NativeError, match=r"the predictions is not float32 of \(3, 40\)"):
        decoder.logits(frames, frames[:2])
    with pytest.raises(native.NativeError, match=r"the state is not float32 of \(2, 3, 24\)"):
        decoder.predict(np.zeros((3, s.hidden), np.float32), state[:1], state)
    with pytest.raises(native.NativeError, match="the embedding is not float32"):
        decoder.predict(np.zeros((3, s.hidden)), state, state)
    with pytest.raises(native.NativeError, match="cannot run that path"):
        native.Decoder(s, weights, 1, "abacus")
    with pytest.raises(native.NativeError, match="fewer tensors"):
        native.Decoder(s, weights[:-1], 1)
    with pytest.raises(native.NativeError, match="more tensors"):
        native.Decoder(s, [*weights, weights[-1]], 1)
    with pytest.raises(native.NativeError, match="tensor 2 is not of the shape"):
        native.Decoder(s, weights[2:], 1)


# -- which of the two ----------------------------------------------------------------------------


def test_it_is_used_where_it_is_and_wanted(bundle_of, monkeypatch):
    bundle = open_bundle(bundle_of("tiny-en"))
    kinds = []
    for wanted in ("", "1", "0"):
        monkeypatch.setenv(NATIVE_VARIABLE, wanted)
        kinds.append((type(Encoder(bundle, 1).backend), type(open_networks(bundle, 1))))
    assert kinds == [(NativeBackend, NativeNetworks)] * 2 + [(OnnxBackend, OnnxNetworks)]


def test_by_the_instructions_that_were_asked_for(bundle_of, monkeypatch):
    bundle, asked = open_bundle(bundle_of("tiny-en")), []

    class Asked(native.Encoder):
        def __init__(self, *rest):
            asked.append(rest[-1])
            super().__init__(*rest)

    monkeypatch.setattr(native, "Encoder", Asked)
    for path in native.paths():
        monkeypatch.setenv(NATIVE_VARIABLE, path)
        assert isinstance(Encoder(bundle, 1).backend, NativeBackend)
        assert native_isa() == asked[-1] == path
    monkeypatch.setenv(NATIVE_VARIABLE, "1")
    assert native_isa() == native.paths()[0]
    monkeypatch.setenv(NATIVE_VARIABLE, "0")
    assert native_isa() is None
    monkeypatch.setenv(NATIVE_VARIABLE, "sse1")
    with pytest.raises(wheatear.BundleError, match=r"NATIVE=sse1: .* supports .*scalar on this"):
        Encoder(bundle, 1)


def test_other_weights_are_left_to_onnxruntime(bundle_of, monkeypatch):
    bundle = open_bundle(bundle_of("tiny-en"))
    monkeypatch.setattr(native_backend, "read_initializers", lambda _: {})
    monkeypatch.delenv(NATIVE_VARIABLE, raising=False)
    assert isinstance(Encoder(bundle, 1).backend, OnnxBackend)
    monkeypatch.setenv(NATIVE_VARIABLE, "1")
    with pytest.raises(wheatear.BundleError, match="wheatear-native cannot run"):
        Encoder(bundle, 1)


def test_another_joint_is_left_to_onnxruntime(bundle_of, monkeypatch):
    bundle = open_bundle(bundle_of("tiny-en"))
    operators = ["Add", "Relu", "MatMul", "Softmax", "ArgMax"]
    monkeypatch.setattr(native_networks, "read_operators", lambda _: operators)
    monkeypatch.delenv(NATIVE_VARIABLE, raising=False)
    assert isinstance(open_networks(bundle, 1), OnnxNetworks)
    monkeypatch.setenv(NATIVE_VARIABLE, "1")
    with pytest.raises(wheatear.BundleError, match="its joint computes Add, Relu, MatMul, Softmax"):
        open_networks(bundle, 1)


def test_tensors_that_do_not_fit(bundle_of):
    shape = native.Shape(1, 16, 1, 9, 4, 2, 80, 16, 64, 0, 16)
    for weights, fault in (([], "fewer tensors"), ([native.Weight(None)], "tensor 0")):
        with pytest.raises(native.NativeError, match=fault):
            native.Encoder(shape, weights, 1)


def test_a_model_that_runs_needs_its_files_no_more(bundle_of, tmp_path):
    """Weights that stay mapped end the process when somebody cuts the file off."""
    folder = shutil.copytree(bundle_of("tiny-multi", "int8"), tmp_path / "bundle")
    opened = open_bundle(folder)
    decoder, step = NativeNetworks(native, opened, 1), NativeBackend(native, opened, 1)
    bias = opened.language_bias
    for path in folder.iterdir():
        path.write_bytes(b"")
    shape = opened.manifest.decoder
    zeros = np.zeros((shape.layers, 1, shape.hidden), np.float32)
    assert np.isfinite(decoder.predict(np.array([shape.blank]), zeros, zeros)[0]).all()
    mode = opened.manifest.default_mode
    state = fresh_state(opened.manifest.encoder, opened.manifest.features.n_mels, mode)
    state.language = LanguagePrompt(0, bias[0])
    assert np.isfinite(step.run([state], 1, 1)[0].joint_input).all()
