"""Steps of the encoder in onnxruntime."""

import numpy as np
import pytest

from wheatear.encoder.encoder import Encoder
from wheatear.encoder.onnx_backend import OnnxBackend
from wheatear.model.bundle import open_bundle
from wheatear.model.latency import LatencyMode


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_streams_of_several_modes_get_the_same_bits_in_a_batch(bundle_of, precision):
    bundle = open_bundle(bundle_of("mel80", precision))
    encoder = Encoder(bundle, 1, OnnxBackend(bundle, threads=1))
    modes = [LatencyMode(bundle.manifest.encoder.left, lookahead) for lookahead in (0, 1, 3)]
    mel = np.random.default_rng(0).normal(-8, 4, (3, 40, 80)).astype(np.float32)

    def states():
        made = [encoder.start(mode) for mode in modes]
        for state, rows in zip(made, mel, strict=True):
            encoder.feed(state, rows)
        return made

    together = encoder.step(states(), 1)
    for output, state in zip(together, states(), strict=True):
        (single,) = encoder.step([state], 1)
        np.testing.assert_array_equal(output.joint_input, single.joint_input)
        np.testing.assert_array_equal(output.before_prompt, single.before_prompt)


def test_a_step_replaces_the_cache_of_the_convolutions(bundle_of):
    bundle = open_bundle(bundle_of("tiny-en"))
    encoder = Encoder(bundle, 1, OnnxBackend(bundle, threads=1))
    state = encoder.start(bundle.manifest.default_mode)
    encoder.feed(state, np.zeros((40, bundle.manifest.features.n_mels), np.float32))
    before = state.conv
    encoder.step([state], 1)
    assert state.conv is not before
    assert not before.any()
    assert state.keys_values[:, :, :, 0].any()
    assert not state.keys_values[:, :, :, 1:].any()
