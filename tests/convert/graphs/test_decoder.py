"""The graphs of predictor and joint against the reference in numpy."""

import numpy as np
import pytest
from checkpoints import ORACLE

from wheatear.convert import reference
from wheatear.convert.architecture import read_architecture
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.convert.graphs.decoder import write_joint, write_predictor
from wheatear.convert.quantize import RECIPES
from wheatear.model.onnx_session import Session


@pytest.fixture(scope="module")
def checkpoint():
    with open_checkpoint(ORACLE / "tiny-en.nemo") as opened:
        yield opened


def test_predictor_equals_the_reference_token_by_token(checkpoint, tmp_path):
    arch, weights = read_architecture(checkpoint), checkpoint.weights
    write_predictor(tmp_path / "predictor.onnx", arch, weights, RECIPES["fp32"])
    session = Session(tmp_path / "predictor.onnx", 1)
    expected = reference.Predictor(arch, weights)
    h = c = np.zeros((arch.predictor_layers, 1, arch.hidden), np.float32)
    for token in (arch.blank, 3, 3, 17):
        prediction, h, c = session.run(
            ["prediction", "h_next", "c_next"], {"token": np.array([token]), "h": h, "c": c}
        )
        np.testing.assert_allclose(prediction[0], expected.step(token), atol=1e-5)


def test_joint_adds_its_inputs_before_the_activation(checkpoint, tmp_path):
    arch, weights = read_architecture(checkpoint), checkpoint.weights
    write_joint(tmp_path / "joint.onnx", arch, weights, RECIPES["fp32"])
    rng = np.random.default_rng(0)
    projected, prediction = rng.standard_normal((2, 3, arch.joint)).astype(np.float32)
    token, logits = Session(tmp_path / "joint.onnx", 1).run(
        ["token", "logits"], {"projected": projected, "prediction": prediction}
    )
    expected = weights.linear(arch.output, np.maximum(projected + prediction, 0))
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert token.tolist() == logits.argmax(1).tolist()
    assert logits.shape == (3, arch.blank + 1)
