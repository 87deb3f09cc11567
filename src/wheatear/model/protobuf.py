"""Reads protocol buffers, the format of ONNX graphs and SentencePiece models, without a schema.

All functions raise ValueError for a message that is cut short or damaged.
Source: https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields number and value of each field: an integer, or bytes (4 or 8 for fixed numbers)."""
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
    """Returns the integers of a packed field."""
    values, at = [], 0
    while at < len(message):
        value, at = _varint(message, at)
        values.append(value)
    return values


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Returns an integer of seven bits a byte, the lowest first, and the next position."""
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
