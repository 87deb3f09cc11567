"""Reads the weights of an ONNX file, and checks where they are, without the onnx package.

An ONNX file is a protocol buffer; field numbers are those of onnx.proto.
"""

import math
import mmap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wheatear.model.protobuf import fields, integers

_TYPES = {1: np.float32, 2: np.uint8, 7: np.int64}
_MAX_AXES, _MAX_AXIS, _MAX_DEPTH = 8, 2**31 - 1, 64
_GRAPH, _NODE, _OPERATOR, _INITIALIZER = 7, 1, 4, 5
_DIMS, _TYPE, _NAME, _RAW, _EXTERNAL = 1, 2, 8, 9, 13
# Message -> its fields that hold messages.
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {_GRAPH: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {_NODE: "node", _INITIALIZER: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {_EXTERNAL: "external"},
}


def read_initializers(path: Path) -> dict[str, NDArray[Any]]:
    """Returns the tensors of a graph by name; external ones are mapped into memory.

    Raises:
        ValueError: The file is damaged.
        OSError: It cannot be read.
    """
    mapped: dict[str, NDArray[np.uint8]] = {}

    def external(entry: dict[str, str]) -> NDArray[np.uint8]:
        name = entry["location"]
        if not _is_beside(path.parent, name):
            raise ValueError(f"weights in {name!r}, which is no file beside the graph")
        if name not in mapped:
            mapped[name] = np.memmap(path.with_name(name), np.uint8, "r")
        start, length = int(entry.get("offset", "0")), int(entry["length"])
        if not 0 <= start <= start + length <= len(mapped[name]):
            raise ValueError(f"weights at {start} to {start + length} of {name}, beyond its end")
        return mapped[name][start : start + length]

    return dict(_tensor(message, external) for message in _graph_messages(path, _INITIALIZER))


def read_operators(path: Path) -> list[str]:
    """Returns the operators of a graph's nodes in order. Raises like `read_initializers`."""
    return [
        str(value, "utf-8")
        for node in _graph_messages(path, _NODE)
        for number, value in fields(node)
        if number == _OPERATOR and not isinstance(value, int)
    ]


def check_external_data(path: Path) -> None:
    """Raises ValueError if a graph loads weights from outside of its folder.

    Tensors can be initializers of a graph or subgraph, attributes of nodes, or in functions.
    """
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _check_external_data(memoryview(mapped), "model", path.parent, 0)


def _check_external_data(message: memoryview, kind: str, folder: Path, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError("its graphs are nested too deeply")
    if kind == "external":
        entry = dict(_texts(message))
        name = entry.get(2, "")
        if entry.get(1) == "location" and not _is_beside(folder, name):
            raise ValueError(f"it takes weights from {name[:80]!r}, which is no file beside it")
        return
    inner = _MESSAGES[kind]
    for number, value in fields(message):
        if number in inner and not isinstance(value, int):
            _check_external_data(value, inner[number], folder, depth + 1)


def _is_beside(folder: Path, name: str) -> bool:
    """True for the plain name of a file in a folder, on any operating system."""
    plain = name not in ("", ".", "..") and not any(c in name for c in "/\\:\0")
    return plain and (folder / name).is_file()


def _graph_messages(path: Path, wanted: int) -> Iterator[memoryview]:
    """Yields the messages in one field of a file's graph."""
    for number, graph in fields(memoryview(path.read_bytes())):
        if number == _GRAPH and not isinstance(graph, int):
            for inner, message in fields(graph):
                if inner == wanted and not isinstance(message, int):
                    yield message


def _tensor(
    message: memoryview, external: Callable[[dict[str, str]], NDArray[np.uint8]]
) -> tuple[str, NDArray[Any]]:
    """Returns name and values of a tensor."""
    dims: list[int] = []
    name, kind = "", 0
    data: NDArray[np.uint8] = np.empty(0, np.uint8)
    entry: dict[str, str] = {}
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
            pair = dict(_texts(value))
            entry[pair[1]] = pair[2]
    if kind not in _TYPES:
        raise ValueError(f"{name} has the type {kind}")
    if len(dims) > _MAX_AXES or any(size > _MAX_AXIS for size in dims):
        raise ValueError(f"{name} has the shape {dims[:_MAX_AXES]}")
    if entry:
        data = external(entry)
    if data.nbytes != math.prod(dims) * np.dtype(_TYPES[kind]).itemsize:
        raise ValueError(f"{name} has {data.nbytes} bytes for {dims}")
    return name, data.view(_TYPES[kind]).reshape(dims)


def _texts(message: memoryview) -> Iterator[tuple[int, str]]:
    for number, value in fields(message):
        if isinstance(value, int):
            raise ValueError(f"an integer instead of a text: {value}")  # noqa: TRY004
        yield number, str(value, "utf-8")
