"""Reads protocol buffers, the container of ONNX graphs and SentencePiece models, without a schema.

Source: https://protobuf.dev/programming-guides/encoding. Everything raises ValueError for a message
that is cut short or damaged.
"""

from collections.abc import Iterator


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: an integer, or bytes (4 or 8 of numbers of that size)."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        match key & 7:
            case 0:
                value, at = _varint(message, at)
                yield key >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(message, at)
            case 5:
                size = 4
            case other:
                raise ValueError(f"it is damaged: a field of kind {other}")
        if size > len(message) - at:
            raise ValueError("it is cut short")
        yield key >> 3, message[at : at + size]
        at += size


def integers(message: memoryview) -> list[int]:
    """A packed field of them."""
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
            raise ValueError("it is cut short: a number has no end")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
