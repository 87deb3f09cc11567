"""Steps of the encoder in C++ against those of onnxruntime, and the choice between the two."""

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from checkpoints import GEOMETRIES, TINY, speech
from hypothesis import given, settings
from hypothesis import strategies as st

import wheatear
from wheatear.audio.mel import MelSpectrogram
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
    """Returns all outputs of an encoder for some mel, and its caches."""
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


@pytest.mark.parametrize("isa", native.instruction_sets())
@pytest.mark.parametrize("model", [*TINY, *GEOMETRIES])
@pytest.mark.parametrize(("lookahead", "chunks"), [(0, 1), (3, 1), (13, 8)])
def test_float_steps_equal_onnxruntime(bundle_of, isa, model, lookahead, chunks):
    bundle = open_bundle(bundle_of(model))
    mel = mel_of(bundle, model)
    theirs = encode(bundle, OnnxBackend(bundle, 1), mel, lookahead, chunks)
    ours = encode(bundle, NativeBackend(native, bundle, 2, isa), mel, lookahead, chunks)
    for name, tensor in theirs.items():
        assert tensor.shape == ours[name].shape
        assert np.abs(tensor - ours[name]).max() < 1e-4, name


@pytest.mark.parametrize("model", [*TINY, *GEOMETRIES])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_quantized_steps_have_the_error_of_onnxruntime(bundle_of, model, precision):
    """They are not equal: a difference in the last bit of a float may change an 8-bit code."""
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


@pytest.mark.parametrize("isa", native.instruction_sets())
@pytest.mark.parametrize("precision", PRECISIONS)
def test_chunks_of_a_file_have_the_bits_of_a_stream(bundle_of, isa, precision):
    bundle = open_bundle(bundle_of("tiny-multi", precision))
    mel = mel_of(bundle, "tiny-multi")
    stream = encode(bundle, NativeBackend(native, bundle, 1, isa), mel, 1, 1)
    for threads, chunks in ((1, 7), (3, 50)):
        file = encode(bundle, NativeBackend(native, bundle, threads, isa), mel, 1, chunks)
        for name, tensor in stream.items():
            np.testing.assert_array_equal(tensor, file[name], name)


@cache
def loaded(folder: Path, isa: str) -> tuple[Bundle, NativeBackend]:
    bundle = open_bundle(folder)
    return bundle, NativeBackend(native, bundle, 2, isa)


@pytest.mark.parametrize("isa", native.instruction_sets())
@settings(max_examples=20, deadline=None)
@given(
    places=st.lists(st.tuples(st.integers(0, 300), st.sampled_from([0, 1, 3, 6, 13])), min_size=1),
    frames=st.integers(1, 14),
)
def test_other_streams_change_no_bit(bundle_of, isa, places, frames):
    """A step of many streams with different positions and latency modes."""
    bundle, step = loaded(bundle_of("mel80", "int4"), isa)
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

    together, separate = states(), states()
    batch = step.run(together, frames, frames)
    pick = int(rng.integers(len(places)))
    (single,) = step.run([separate[pick]], frames, frames)
    np.testing.assert_array_equal(batch[pick].joint_input, single.joint_input)
    np.testing.assert_array_equal(together[pick].keys_values, separate[pick].keys_values)
    np.testing.assert_array_equal(together[pick].conv, separate[pick].conv)


def test_rejected_step_leaves_the_state_unchanged(bundle_of):
    bundle = open_bundle(bundle_of("tiny-en"))
    step = NativeBackend(native, bundle, 1)
    state = state_of(bundle, np.zeros((400, 128), np.float32), bundle.manifest.default_mode)
    before = state.conv
    for frames, chunk in ((28, 28), (4, 3), (0, 1)):
        with pytest.raises(native.NativeError, match="number of frames or chunks"):
            step.run([state], frames, chunk)
    state.mode = LatencyMode(bundle.manifest.encoder.left + 1, 0)
    with pytest.raises(native.NativeError, match="left context exceeds"):
        step.run([state], 1, 1)
    state.keys_values = state.keys_values[1:]
    with pytest.raises(native.NativeError, match="keys_values is not float32 of"):
        step.run([state], 1, 1)
    assert state.conv is before
    assert not state.keys_values.any()


# -- which of the two ----------------------------------------------------------------------------


def test_package_is_used_unless_disabled(bundle_of, monkeypatch):
    bundle = open_bundle(bundle_of("tiny-en"))
    kinds = []
    for wanted in ("", "1", "0"):
        monkeypatch.setenv(NATIVE_VARIABLE, wanted)
        kinds.append((type(Encoder(bundle, 1).backend), type(open_networks(bundle, 1))))
    assert kinds == [(NativeBackend, NativeNetworks)] * 2 + [(OnnxBackend, OnnxNetworks)]


def test_variable_selects_the_instruction_set(bundle_of, monkeypatch):
    bundle, selected = open_bundle(bundle_of("tiny-en")), []

    class Recorded(native.Encoder):
        def __init__(self, *rest):
            selected.append(rest[-1])
            super().__init__(*rest)

    monkeypatch.setattr(native, "Encoder", Recorded)
    for isa in native.instruction_sets():
        monkeypatch.setenv(NATIVE_VARIABLE, isa)
        assert isinstance(Encoder(bundle, 1).backend, NativeBackend)
        assert native_isa() == selected[-1] == isa
    monkeypatch.setenv(NATIVE_VARIABLE, "1")
    assert native_isa() == native.instruction_sets()[0]
    monkeypatch.setenv(NATIVE_VARIABLE, "0")
    assert native_isa() is None
    monkeypatch.setenv(NATIVE_VARIABLE, "sse1")
    with pytest.raises(wheatear.BundleError, match=r"NATIVE=sse1: .* supports .*scalar on this"):
        Encoder(bundle, 1)


def test_unknown_weights_run_in_onnxruntime(bundle_of, monkeypatch):
    bundle = open_bundle(bundle_of("tiny-en"))
    monkeypatch.setattr(native_backend, "read_initializers", lambda _: {})
    monkeypatch.delenv(NATIVE_VARIABLE, raising=False)
    assert isinstance(Encoder(bundle, 1).backend, OnnxBackend)
    monkeypatch.setenv(NATIVE_VARIABLE, "1")
    with pytest.raises(wheatear.BundleError, match="wheatear-native cannot run"):
        Encoder(bundle, 1)


def test_unknown_joint_runs_in_onnxruntime(bundle_of, monkeypatch):
    bundle = open_bundle(bundle_of("tiny-en"))
    operators = ["Add", "Relu", "MatMul", "Softmax", "ArgMax"]
    monkeypatch.setattr(native_networks, "read_operators", lambda _: operators)
    monkeypatch.delenv(NATIVE_VARIABLE, raising=False)
    assert isinstance(open_networks(bundle, 1), OnnxNetworks)
    monkeypatch.setenv(NATIVE_VARIABLE, "1")
    with pytest.raises(wheatear.BundleError, match="its joint computes Add, Relu, MatMul, Softmax"):
        open_networks(bundle, 1)


def test_wrong_tensors_are_rejected(bundle_of):
    shape = native.EncoderShape(1, 16, 1, 9, 4, 2, 80, 16, 64, 0, 16)
    for weights, fault in (([], "fewer tensors"), ([native.Weight(None)], "tensor 0")):
        with pytest.raises(native.NativeError, match=fault):
            native.Encoder(shape, weights, 1)


def test_loaded_model_does_not_need_its_files(bundle_of, tmp_path):
    """A truncated file would end the process if its weights were still mapped."""
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
