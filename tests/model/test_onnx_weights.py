"""Weights are those that the onnx package reads, and lie beside the graph."""

from contextlib import suppress

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from wheatear.model.bundle import ENCODER, JOINT
from wheatear.model.onnx_weights import check_external_data, read_initializers, read_operators


@pytest.mark.parametrize("model", ["tiny-multi", "mel80"])
@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_tensors_are_those_of_onnx(bundle_of, model, precision):
    path = bundle_of(model, precision) / ENCODER
    expected = onnx.load(path).graph.initializer
    found = read_initializers(path)
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
def test_damaged_graphs_raise_value_errors(bundle_of, tmp_path_factory, data):
    whole = (bundle_of("tiny-en", "int4") / ENCODER).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + data.draw(st.binary(max_size=4))
    path = tmp_path_factory.mktemp("damaged") / ENCODER
    path.write_bytes(damaged)
    with suppress(ValueError, KeyError, OSError):
        read_initializers(path)
    with suppress(ValueError, OSError):
        read_operators(path)


def outside(where):
    """A graph with a tensor that lies in another folder."""
    tensor = onnx.TensorProto(name="x", data_type=1, dims=[4])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    model = onnx.ModelProto(ir_version=8)
    if where == "initializer":
        model.graph.initializer.append(tensor)
    elif where == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    else:
        node = model.functions.add().node.add() if where == "function" else model.graph.node.add()
        attribute = node.attribute.add(name="value")
        if where == "subgraph":
            attribute.g.node.add().attribute.add(name="value").tensors.append(tensor)
        else:
            attribute.t.CopyFrom(tensor)
    return model


@pytest.mark.parametrize("where", ["initializer", "sparse", "constant", "subgraph", "function"])
def test_tensor_in_another_folder_is_refused(tmp_path, where):
    (tmp_path / "secret").write_bytes(bytes(16))
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "graph.onnx"
    path.write_bytes(outside(where).SerializeToString())
    with pytest.raises(ValueError, match=r"weights from '\.\./secret'"):
        check_external_data(path)


def wrapped(field, message):
    """A field of that number with a message."""
    length, size = b"", len(message)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([field << 3 | 2]) + length + bytes([size]) + message


def test_deeply_nested_graphs_are_refused(tmp_path):
    graph = b""
    for _ in range(400):
        graph = wrapped(1, wrapped(5, wrapped(6, graph)))  # node, attribute, graph
    path = tmp_path / "graph.onnx"
    path.write_bytes(wrapped(7, graph))
    with pytest.raises(ValueError, match="too deep"):
        check_external_data(path)
