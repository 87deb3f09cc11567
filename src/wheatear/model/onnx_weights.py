"""Reads the weights out of an ONNX file without the onnx package, and what it computes with them.

An ONNX file is a protobuf message. Of its many fields these few are needed (numbers from
onnx.proto): model.graph 7, graph.node 1, node.op_type 4, graph.initializer 5, and of a tensor
dims 1, data_type 2, name 8, raw_data 9 and external_data 13, which names a file and the place in
it.
"""

import math
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wheatear.model.protobuf import fields, integers

_TYPES = {1: np.float32, 2: np.uint8, 7: np.int64}
_MOST_AXES, _LONGEST_AXIS = 8, 2**31 - 1
_GRAPH, _NODE, _OPERATOR, _INITIALIZER = 7, 1, 4, 5
_DIMS, _TYPE, _NAME, _RAW, _EXTERNAL = 1, 2, 8, 9, 13


def read_initializers(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a graph by name, those beside it mapped into memory.

    Raises ValueError or OSError for a file that does not hold together.
    """
    mapped: dict[str, NDArray[np.uint8]] = {}

    def beside(place: dict[str, str]) -> NDArray[np.uint8]:
        name = place["location"]
        if not _is_beside(path.parent, name):
            raise ValueError(f"weights in {name!r}, which is no file beside the graph")
        if name not in mapped:
            mapped[name] = np.memmap(path.with_name(name), np.uint8, "r")
        start, length = int(place.get("offset", "0")), int(place["length"])
        if not 0 <= start <= start + length <= len(mapped[name]):
            raise ValueError(f"weights at {start} to {start + length} of {name}, beyond its end")
        return mapped[name][start : start + length]

    return dict(_tensor(tensor, beside) for tensor in _parts(path, _INITIALIZER))


def read_operators(path: Path) -> list[str]:
    """The kinds of a graph's nodes, in their order.

    Raises ValueError or OSError for a file that does not hold together.
    """
    return [
        str(value, "utf-8")
        for node in _parts(path, _NODE)
        for number, value in fields(node)
        if number == _OPERATOR and not isinstance(value, int)
    ]


def check_external_data(path: Path) -> None:
    """Raises ValueError for a graph that takes weights from anywhere but files beside it.

    Tensors are looked for wherever they may be: among the initialisers of a graph and of those
    inside it, in attributes of nodes and in functions.
    """
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _check_places(memoryview(mapped), "model", path.parent, 0)


# Which fields of a message hold which messages (onnx.proto).
_INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {_EXTERNAL: "place"},
}
_DEEPEST = 64


def _check_places(message: memoryview, kind: str, folder: Path, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError("its graphs are too deep inside each other")
    if kind == "place":
        entry = dict(_texts(message))
        name = entry.get(2, "")
        if entry.get(1) == "location" and not _is_beside(folder, name):
            raise ValueError(f"it takes weights from {name[:80]!r}, which is no file beside it")
        return
    inside = _INSIDE[kind]
    for number, value in fields(message):
        if number in inside and not isinstance(value, int):
            _check_places(value, inside[number], folder, depth + 1)


def _is_beside(folder: Path, name: str) -> bool:
    """True for the name of a file in the folder, on whatever system."""
    plain = name not in ("", ".", "..") and not any(c in name for c in "/\\:\0")
    return plain and (folder / name).is_file()


def _parts(path: Path, kind: int) -> Iterator[memoryview]:
    """The messages of that kind in a file's graph."""
    for number, graph in fields(memoryview(path.read_bytes())):
        if number != _GRAPH or isinstance(graph, int):
            continue
        for field, message in fields(graph):
            if field == kind and not isinstance(message, int):
                yield message


def _tensor(message: memoryview, beside: Any) -> tuple[str, NDArray[Any]]:
    dims: list[int] = []
    name, kind = "", 0
    data: NDArray[np.uint8] = np.empty(0, np.uint8)
    place: dict[str, str] = {}
    for number, value in fields(message):
        if isinstance(value, int):
            if number == _DIMS:
                dims.append(value)
            elif number == _TYPE:
                kind = value
        elif number == _DIMS:
            dims += integers(value)
        elif number == _NAME:
            name = str(value, "utf-8")
        elif number == _RAW:
            data = np.frombuffer(value, np.uint8)
        elif number == _EXTERNAL:
            entry = dict(_texts(value))
            place[entry[1]] = entry[2]
    if kind not in _TYPES:
        raise ValueError(f"{name} has the type {kind}")
    if len(dims) > _MOST_AXES or any(n > _LONGEST_AXIS for n in dims):
        raise ValueError(f"{name} has the shape {dims[:_MOST_AXES]}")
    if place:
        data = beside(place)
    if data.nbytes != math.prod(dims) * np.dtype(_TYPES[kind]).itemsize:
        raise ValueError(f"{name} has {data.nbytes} bytes for {dims}")
    return name, data.view(_TYPES[kind]).reshape(dims)


def _texts(message: memoryview) -> Iterator[tuple[int, str]]:
    for number, value in fields(message):
        if isinstance(value, int):
            raise ValueError(f"a number where a text should be: {value}")  # noqa: TRY004
        yield number, str(value, "utf-8")
