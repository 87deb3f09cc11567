"""The encoder in C++: its products bit for bit, its steps against onnxruntime's."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from checkpoints import GEOMETRIES, TINY, speech
from hypothesis import given, settings
from hypothesis import strategies as st

import wheatear
from wheatear.bundle import Bundle, open_bundle
from wheatear.caches import EncoderState
from wheatear.convert.quantize import BLOCK, quantize
from wheatear.encoder import Encoder
from wheatear.features import MelSpectrogram
from wheatear.graph_step import GraphStep
from wheatear.latency import LatencyMode
from wheatear.native_step import VARIABLE, NativeStep

native = pytest.importorskip("wheatear_native")

PRECISIONS = ("fp32", "int8", "int4")


# -- products ------------------------------------------------------------------------------------


def fused(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c in float32, rounded once.

    The product is exact in float64; the sum is rounded to odd there, which makes the second
    rounding, to float32, come out as if it had been the only one.
    """
    product, c = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    total = product + c
    of_c = total - product
    lost = (product - (total - of_c)) + (c - of_c)
    even = total.view(np.int64) % 2 == 0
    towards = np.nextafter(total, np.copysign(np.inf, lost))
    return np.where((lost != 0) & even, towards, total).astype(np.float32)


def quantised(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x [rows, inputs] as codes [rows, blocks, 32] and scales [rows, blocks]."""
    blocks = -(-x.shape[1] // BLOCK)
    padded = np.zeros((len(x), blocks * BLOCK), np.float32)
    padded[:, : x.shape[1]] = x
    padded = padded.reshape(len(x), blocks, BLOCK)
    most = np.abs(padded).max(-1)
    some = most > np.float32(1e-30)
    inverse = np.divide(np.float32(127), most, out=np.zeros_like(most), where=some)
    scales = np.where(some, most / np.float32(127), np.float32(0))
    return np.rint(padded * inverse[..., None]).astype(np.int64), scales


def product(codes: np.ndarray, scales: np.ndarray, bias: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What a linear layer is to give, in integers: blocks summed exactly, then added in order."""
    outputs, blocks, width = codes.shape
    if width == BLOCK:
        weights = codes.astype(np.int64) - 128
    else:
        weights = np.stack([codes & 15, codes >> 4], -1).reshape(outputs, blocks, BLOCK)
        weights = weights.astype(np.int64) - 8
    activations, activation_scales = quantised(x)
    scales = scales.reshape(outputs, blocks)
    out = np.broadcast_to(bias, (len(x), outputs))
    for b in range(blocks):
        sums = (activations[:, b] @ weights[:, b].T).astype(np.float32)
        out = fused(sums, scales[:, b] * activation_scales[:, b, None], out)
    return out


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
        packed = native.Weight(codes, scales.reshape(-1), inputs)
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
    scales = np.ones(16 * 3, np.float32)
    x = np.full((7, 3 * BLOCK), 127 * sign, np.float32)
    bias = np.zeros(16, np.float32)
    ours, _ = native.product(native.Weight(codes, scales, 3 * BLOCK), bias, x, path)
    np.testing.assert_array_equal(ours, product(codes, scales, bias, x))


def test_what_is_not_a_product():
    codes, scales = np.zeros((8, 2, 16), np.uint8), np.zeros(16, np.float32)
    x = np.zeros((1, 64), np.float32)
    with pytest.raises(native.NativeError, match="no path 'abacus'"):
        native.product(native.Weight(codes, scales, 64), None, x, "abacus")
    with pytest.raises(native.NativeError, match="blocks of 32"):
        native.product(native.Weight(codes, scales, 65), None, x)
    with pytest.raises(native.NativeError, match=r"not \[rows, 60\]"):
        native.product(native.Weight(codes, scales, 60), None, x)
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
    bundle: Bundle, step: NativeStep | GraphStep, mel: np.ndarray, lookahead: int, chunks: int
) -> dict[str, np.ndarray]:
    """All that comes out of an encoder for some mel, and what it remembers then."""
    encoder = Encoder(bundle, threads=1)
    encoder._step = step
    state = state_of(bundle, mel, LatencyMode(bundle.manifest.encoder.left, lookahead))
    bias = bundle.language_bias[0] if bundle.manifest.prompts else None
    outputs = []
    while frames := encoder.ready(state, chunks):
        outputs += encoder.step([state], frames, [bias])
    kinds = ("projected", "encoded", "hidden")
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
    theirs = encode(bundle, GraphStep(bundle, 1), mel, lookahead, chunks)
    ours = encode(bundle, NativeStep(native, bundle, 2, path), mel, lookahead, chunks)
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
        encode(exact, GraphStep(exact, 1), mel, 3, 1),
        encode(bundle, GraphStep(bundle, 1), mel, 3, 1),
        encode(bundle, NativeStep(native, bundle, 1), mel, 3, 1),
    )
    for name, tensor in float_.items():
        off = [np.sqrt(np.mean((tensor - other[name]) ** 2)) for other in (ours, theirs)]
        assert off[0] < 1.05 * off[1] + 1e-5, name


@pytest.mark.parametrize("path", native.paths())
@pytest.mark.parametrize("precision", PRECISIONS)
def test_chunks_of_a_file_have_the_bits_of_a_stream(bundle_of, path, precision):
    bundle = open_bundle(bundle_of("tiny-multi", precision))
    mel = mel_of(bundle, "tiny-multi")
    stream = encode(bundle, NativeStep(native, bundle, 1, path), mel, 1, 1)
    for threads, chunks in ((1, 7), (3, 50)):
        file = encode(bundle, NativeStep(native, bundle, threads, path), mel, 1, chunks)
        for name, tensor in stream.items():
            np.testing.assert_array_equal(tensor, file[name], name)


@cache
def loaded(folder: Path, path: str) -> tuple[Bundle, NativeStep]:
    bundle = open_bundle(folder)
    return bundle, NativeStep(native, bundle, 2, path)


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

    biases: Sequence[np.ndarray | None] = [None] * len(places)
    together, alone = states(), states()
    batch = step.run(together, frames, frames, biases)
    pick = int(rng.integers(len(places)))
    (single,) = step.run([alone[pick]], frames, frames, biases[:1])
    np.testing.assert_array_equal(batch[pick].projected, single.projected)
    np.testing.assert_array_equal(together[pick].keys_values, alone[pick].keys_values)
    np.testing.assert_array_equal(together[pick].conv, alone[pick].conv)


def test_a_step_that_cannot_be_leaves_the_state_as_it_was(bundle_of):
    bundle = open_bundle(bundle_of("tiny-en"))
    step = NativeStep(native, bundle, 1)
    state = state_of(bundle, np.zeros((400, 128), np.float32), bundle.manifest.default_mode)
    before = state.conv
    for frames, chunk in ((28, 28), (4, 3), (0, 1)):
        with pytest.raises(native.NativeError, match="no such chunks"):
            step.run([state], frames, chunk, [None])
    state.mode = LatencyMode(bundle.manifest.encoder.left + 1, 0)
    with pytest.raises(native.NativeError, match="so far back"):
        step.run([state], 1, 1, [None])
    state.keys_values = state.keys_values[1:]
    with pytest.raises(native.NativeError, match="keys_values is not float32 of"):
        step.run([state], 1, 1, [None])
    assert state.conv is before
    assert not state.keys_values.any()


# -- which of the two ----------------------------------------------------------------------------


def test_it_is_used_where_it_is_and_wanted(bundle_of, monkeypatch):
    bundle = open_bundle(bundle_of("tiny-en"))
    kinds = []
    for wanted in ("", "1", "0"):
        monkeypatch.setenv(VARIABLE, wanted)
        kinds.append(type(Encoder(bundle, 1)._step))
    assert kinds == [NativeStep, NativeStep, GraphStep]


def test_other_weights_are_left_to_onnxruntime(bundle_of, monkeypatch):
    bundle = open_bundle(bundle_of("tiny-en"))
    monkeypatch.setattr("wheatear.native_step.read_initialisers", lambda _: {})
    monkeypatch.delenv(VARIABLE, raising=False)
    assert isinstance(Encoder(bundle, 1)._step, GraphStep)
    monkeypatch.setenv(VARIABLE, "1")
    with pytest.raises(wheatear.BundleError, match="native encoder cannot run"):
        Encoder(bundle, 1)


def test_tensors_that_do_not_fit(bundle_of):
    shape = native.Shape(1, 16, 1, 9, 4, 2, 80, 16, 64, 0, 16)
    for weights, fault in (([], "fewer tensors"), ([native.Weight(None)], "tensor 0")):
        with pytest.raises(native.NativeError, match=fault):
            native.Encoder(shape, weights, 1)
