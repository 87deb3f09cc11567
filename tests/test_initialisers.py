"""Weights read out of a graph without onnx are those that onnx reads."""

from contextlib import suppress

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from wheatear.bundle import ENCODER, JOINT
from wheatear.initialisers import read_initialisers, read_operators


@pytest.mark.parametrize("model", ["tiny-multi", "mel80"])
@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_as_onnx_reads_them(bundle_of, model, precision):
    path = bundle_of(model, precision) / ENCODER
    expected = onnx.load(path).graph.initializer
    found = read_initialisers(path)
    assert found.keys() == {tensor.name for tensor in expected}
    for tensor in expected:
        array = numpy_helper.to_array(tensor)
        assert found[tensor.name].dtype == array.dtype
        np.testing.assert_array_equal(found[tensor.name], array)


@pytest.mark.parametrize("graph", [ENCODER, JOINT])
def test_operators_are_those_of_the_nodes(bundle_of, graph):
    path = bundle_of("tiny-multi", "int4") / graph
    assert read_operators(path) == [node.op_type for node in onnx.load(path).graph.node]


@settings(deadline=None)
@given(st.data())
def test_damage_is_an_error_and_never_another_one(bundle_of, tmp_path_factory, data):
    whole = (bundle_of("tiny-en", "int4") / ENCODER).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + data.draw(st.binary(max_size=4))
    path = tmp_path_factory.mktemp("damaged") / ENCODER
    path.write_bytes(damaged)
    with suppress(ValueError, KeyError, OSError):
        read_initialisers(path)
    with suppress(ValueError, OSError):
        read_operators(path)
