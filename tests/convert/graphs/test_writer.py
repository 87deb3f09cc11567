"""The graph writer: where weights are stored, and what its nodes compute."""

import numpy as np
import onnx
import pytest

from wheatear.convert.graphs.writer import GraphWriter, Subgraph
from wheatear.model.onnx_session import Session


def test_large_constant_is_stored_outside_at_a_page(tmp_path):
    small, large = np.arange(4, dtype=np.float32), np.arange(1024, dtype=np.float32)
    with GraphWriter(tmp_path / "g.onnx") as graph:
        x = graph.input("x", [1])
        for name, array in (("small", small), ("first", large), ("second", large + 1)):
            x = graph.op("Add", x, graph.op("ReduceSum", graph.constant(name, array)))
        graph.output("y", x, [1])
    stored = onnx.load(tmp_path / "g.onnx", load_external_data=False).graph.initializer
    places = {t.name: {e.key: e.value for e in t.external_data} for t in stored}
    assert places["small"] == {}
    assert [places[n]["offset"] for n in ("first", "second")] == ["0", "4096"]
    assert places["first"]["location"] == "g.weights"
    assert (tmp_path / "g.weights").stat().st_size == 2 * large.nbytes
    (y,) = Session(tmp_path / "g.onnx", 1).run(["y"], {"x": np.zeros(1, np.float32)})
    assert y == small.sum() + 2 * large.sum() + 1024


def test_equal_integers_share_a_constant(tmp_path):
    with GraphWriter(tmp_path / "g.onnx") as graph:
        assert graph.integers(0, 2) == graph.integers(0, 2) != graph.integers(2)
        assert graph.unique("Add") != graph.unique("Add")
        graph.output("y", graph.input("x", [1]), [1])


def test_choose_computes_one_branch(tmp_path):
    with GraphWriter(tmp_path / "g.onnx") as graph:
        x = graph.input("x", ["N"])
        more = graph.op("Greater", graph.op("ReduceMax", x, keepdims=0), graph.op("Sum", "zero"))
        graph.constant("zero", np.float32(0))
        plus, minus = Subgraph(graph), Subgraph(graph)
        branches = (plus.op("Abs", x), plus), (minus.op("Neg", x), minus)
        graph.output("y", graph.choose(more, *branches), ["N"])
    session = Session(tmp_path / "g.onnx", 1)
    for values, expected in (([-1, 2], [1, 2]), ([-1, -2], [1, 2]), ([3, 0], [3, 0])):
        (y,) = session.run(["y"], {"x": np.array(values, np.float32)})
        assert y.tolist() == expected


@pytest.mark.parametrize("bits", [32, 8, 4])
def test_linear_layer_computes_the_product(tmp_path, bits):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((16, 32)).astype(np.float32)
    bias = rng.standard_normal(16).astype(np.float32)
    x = rng.standard_normal((3, 32)).astype(np.float32)
    with GraphWriter(tmp_path / "g.onnx") as graph:
        y = graph.linear("w", graph.input("x", ["N", 32]), weight, bias, bits)
        graph.output("y", y, ["N", 16])
    (y,) = Session(tmp_path / "g.onnx", 1).run(["y"], {"x": x})
    exact = x @ weight.T + bias
    error = np.sqrt(np.mean((y - exact) ** 2) / np.mean(exact**2))
    assert error < {32: 1e-6, 8: 0.02, 4: 0.2}[bits]


def test_failure_writes_no_graph(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), GraphWriter(tmp_path / "g.onnx"):
        raise RuntimeError("stop")
    assert not (tmp_path / "g.onnx").exists()
