"""Writes an ONNX graph node by node, and its weights to a file next to it.

Each weight is quantized and written at once, so that a graph of any size takes the memory of its
largest tensor.
"""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper, save

from wheatear.convert.quantize import BLOCK, quantize

CONTRIB = "com.microsoft"
_ALIGNMENT = 4096  # onnxruntime maps weights of page-aligned offsets instead of copying them
_INLINE = 1024  # bytes; smaller constants are stored in the graph itself
Shape = list[int | str]


class GraphWriter:
    """Collects nodes and streams weights to `<name>.weights`.

    The end of the `with` block writes `<name>.onnx`. Methods take and return names of values.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._location = path.with_suffix(".weights").name
        self._weights = path.with_suffix(".weights").open("wb")
        self._weights_bytes = 0
        self._nodes: list[Any] = []
        self._constants: dict[str, TensorProto] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._count = 0

    # -- values ----------------------------------------------------------------------------------

    def input(self, name: str, shape: Shape, dtype: int = TensorProto.FLOAT) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, value: str, shape: Shape, dtype: int = TensorProto.FLOAT) -> None:
        self.op("Identity", value, out=name)
        self._outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Writes a weight and returns its name."""
        array = np.asarray(array, order="C")
        if array.nbytes < _INLINE:
            self._constants[name] = numpy_helper.from_array(array, name)
            return name
        padding = -self._weights_bytes % _ALIGNMENT
        self._weights.write(bytes(padding))
        self._weights_bytes += padding
        tensor = TensorProto(
            name=name,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
            dims=array.shape,
            data_location=TensorProto.EXTERNAL,
        )
        place = {
            "location": self._location,
            "offset": str(self._weights_bytes),
            "length": str(array.nbytes),
        }
        for key, value in place.items():
            tensor.external_data.add(key=key, value=value)
        self._weights.write(array.data)
        self._weights_bytes += array.nbytes
        self._constants[name] = tensor
        return name

    def integers(self, *values: int) -> str:
        """Returns a small int64 vector; equal vectors share one constant."""
        name = "int_" + "_".join(map(str, values))
        if name not in self._constants:
            self.constant(name, np.array(values, np.int64))
        return name

    # -- nodes -----------------------------------------------------------------------------------

    def op(
        self, kind: str, *inputs: str, out: str = "", domain: str = "", **attributes: Any
    ) -> str:
        return self.ops(kind, *inputs, outs=[out or ""], domain=domain, **attributes)[0]

    def ops(
        self,
        kind: str,
        *inputs: str,
        outs: list[str] | int,
        domain: str = "",
        **attributes: Any,
    ) -> list[str]:
        """Adds a node with several outputs; a number of outputs gives them generated names."""
        node = self.unique(kind)
        given = [""] * outs if isinstance(outs, int) else outs
        names = [out or f"{node}_{i}" for i, out in enumerate(given)]
        self._nodes.append(
            helper.make_node(kind, inputs, names, name=node, domain=domain, **attributes)
        )
        return names

    def unique(self, kind: str) -> str:
        """Returns a name that no node or value has."""
        self._count += 1
        return f"{kind}_{self._count}"

    def choose(
        self, condition: str, if_true: "tuple[str, Subgraph]", if_false: "tuple[str, Subgraph]"
    ) -> str:
        """Adds an If node; each branch is a result and the subgraph that computes it."""
        (result, branch), (other_result, other_branch) = if_true, if_false
        return self.op(
            "If",
            condition,
            then_branch=branch.close(result, self.unique("then_branch")),
            else_branch=other_branch.close(other_result, self.unique("else_branch")),
        )

    def linear(
        self,
        name: str,
        x: str,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32] | None,
        bits: int = 32,
    ) -> str:
        """Adds x [..., inputs] @ weight [outputs, inputs].T (+ bias [outputs]).

        The weight is stored in `bits` bits: 32, 8 or 4.
        """
        outputs, inputs = weight.shape
        if bits == 32:
            y = self.op("MatMul", x, self.constant(f"{name}.weight", weight.T))
        else:
            codes, scales = quantize(weight, bits)
            y = self.op(
                "MatMulNBits",
                x,
                self.constant(f"{name}.codes", codes),
                self.constant(f"{name}.scales", scales.reshape(-1)),
                domain=CONTRIB,
                K=inputs,
                N=outputs,
                bits=bits,
                block_size=BLOCK,
                accuracy_level=4,  # activations in 8 bits, scaled per row and block
            )
        return y if bias is None else self.op("Add", y, self.constant(f"{name}.bias", bias))

    # -- begin and end ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_rest: object) -> None:
        self._weights.close()
        if failure is not None:
            return
        graph = helper.make_graph(
            self._nodes,
            self._path.stem,
            self._inputs,
            self._outputs,
            list(self._constants.values()),
        )
        save(_model(graph), self._path)


class Subgraph:
    """A branch of an If node, with access to all values and constants of its parent."""

    def __init__(self, parent: GraphWriter) -> None:
        self._parent = parent
        self._nodes: list[Any] = []

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = self._parent.unique(kind)
        self._nodes.append(
            helper.make_node(kind, inputs, [name], name=name, domain=domain, **attributes)
        )
        return name

    def integers(self, *values: int) -> str:
        return self._parent.integers(*values)

    def close(self, result: str, name: str) -> GraphProto:
        value = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
        return helper.make_graph(self._nodes, name, [], [value])


def _model(graph: GraphProto) -> ModelProto:
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(CONTRIB, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="wheatear")
