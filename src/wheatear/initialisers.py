"""Reads the weights out of an ONNX file without the onnx package, and what it computes with them.

An ONNX file is a protobuf message. Of its many fields these few are needed (numbers from
onnx.proto): model.graph 7, graph.node 1, node.op_type 4, graph.initializer 5, and of a tensor
dims 1, data_type 2, name 8, raw_data 9 and external_data 13, which names a file and the place in
it.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES = {1: np.float32, 2: np.uint8, 7: np.int64}
_GRAPH, _NODE, _OPERATOR, _INITIALIZER = 7, 1, 4, 5
_DIMS, _TYPE, _NAME, _RAW, _EXTERNAL = 1, 2, 8, 9, 13


def read_initialisers(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a graph by name, those beside it mapped into memory.

    Raises ValueError or OSError for a file that does not hold together.
    """
    mapped: dict[str, NDArray[np.uint8]] = {}

    def beside(place: dict[str, str]) -> NDArray[np.uint8]:
        name = place["location"]
        if Path(name).name != name:
            raise ValueError(f"weights in {name!r}, which is not beside the graph")
        if name not in mapped:
            mapped[name] = np.memmap(path.with_name(name), np.uint8, "r")
        start = int(place.get("offset", "0"))
        return mapped[name][start : start + int(place["length"])]

    return dict(_tensor(tensor, beside) for tensor in _parts(path, _INITIALIZER))


def read_operators(path: Path) -> list[str]:
    """The kinds of a graph's nodes, in their order.

    Raises ValueError or OSError for a file that does not hold together.
    """
    return [
        str(value, "utf-8")
        for node in _parts(path, _NODE)
        for number, value in _fields(node)
        if number == _OPERATOR and not isinstance(value, int)
    ]


def _parts(path: Path, kind: int) -> Iterator[memoryview]:
    """The messages of that kind in a file's graph."""
    for number, graph in _fields(memoryview(path.read_bytes())):
        if number != _GRAPH or isinstance(graph, int):
            continue
        for field, message in _fields(graph):
            if field == kind and not isinstance(message, int):
                yield message


def _tensor(message: memoryview, beside: Any) -> tuple[str, NDArray[Any]]:
    dims: list[int] = []
    name, kind = "", 0
    data: NDArray[np.uint8] = np.empty(0, np.uint8)
    place: dict[str, str] = {}
    for number, value in _fields(message):
        if isinstance(value, int):
            if number == _DIMS:
                dims.append(value)
            elif number == _TYPE:
                kind = value
        elif number == _DIMS:
            dims += _packed(value)
        elif number == _NAME:
            name = str(value, "utf-8")
        elif number == _RAW:
            data = np.frombuffer(value, np.uint8)
        elif number == _EXTERNAL:
            entry = dict(_texts(value))
            place[entry[1]] = entry[2]
    if kind not in _TYPES:
        raise ValueError(f"{name} has the type {kind}")
    if place:
        data = beside(place)
    if data.nbytes != math.prod(dims) * np.dtype(_TYPES[kind]).itemsize:
        raise ValueError(f"{name} has {data.nbytes} bytes for {dims}")
    return name, data.view(_TYPES[kind]).reshape(dims)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: an integer, or bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        match key & 7:
            case 0:
                value, at = _varint(message, at)
                yield key >> 3, value
            case 2:
                size, at = _varint(message, at)
                if at + size > len(message):
                    raise ValueError("a field is cut off")
                yield key >> 3, message[at : at + size]
                at += size
            case 1:
                at += 8
            case 5:
                at += 4
            case other:
                raise ValueError(f"a field of kind {other}")


def _texts(message: memoryview) -> Iterator[tuple[int, str]]:
    for number, value in _fields(message):
        if isinstance(value, int):
            raise ValueError(f"a number where a text should be: {value}")  # noqa: TRY004
        yield number, str(value, "utf-8")


def _packed(message: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(message):
        value, at = _varint(message, at)
        values.append(value)
    return values


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """An integer of seven bits a byte, the lowest first, and where the next field begins."""
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError("a number is cut off")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
