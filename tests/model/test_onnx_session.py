"""Sessions open graphs with their shapes checked, and end in errors of one line."""

import numpy as np
import pytest

from wheatear.errors import BundleError
from wheatear.model.onnx_session import Session, check_outputs, default_threads


@pytest.fixture
def session(bundle):
    return Session(bundle / "joint.onnx", 1)


def test_inputs_outputs_and_shapes_are_known(session):
    names = [tensor.name for tensor in session.inputs]
    assert {str(tensor.dtype) for tensor in session.outputs} >= {"float32"}
    assert not any(tensor.integer for tensor in session.inputs)
    shapes = {tensor.name: tensor.shape for tensor in session.inputs}
    session.expect(shapes)
    with pytest.raises(BundleError, match=f"does not fit its manifest: {names[0]} is"):
        session.expect({names[0]: (1, 2, 3, 4)})
    with pytest.raises(BundleError, match="other is None"):
        session.expect({"other": ()})


def test_graph_that_does_not_run_is_an_error_of_one_line(session):
    with pytest.raises(BundleError, match="does not run") as error:
        session.run(["logits"], {})
    assert "\n" not in str(error.value)


def test_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"\x00" * 10)
    with pytest.raises(BundleError, match=r"cannot load .*x\.onnx"):
        Session(tmp_path / "x.onnx", 1)


def test_outputs_must_have_their_shape_and_type(session):
    check_outputs(session, [np.ones((2, 3), np.float32)], [(2, 3)])
    for wrong in (np.ones((3, 2), np.float32), np.ones((2, 3))):
        with pytest.raises(BundleError, match="not float32 of"):
            check_outputs(session, [wrong], [(2, 3)])


def test_default_threads_are_few():
    assert 1 <= default_threads() <= 8
