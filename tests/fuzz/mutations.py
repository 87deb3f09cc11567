"""Changes data such that it is almost what it was."""

import json
import random
import struct
from collections.abc import Callable
from typing import Any

NUMBERS = (
    *(0, 1, 2, 7, 127, 128, 255, 256, 32767, 65535, 65536, 1 << 20, 67108878),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32 + 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
)
VALUES: tuple[Any, ...] = (
    *NUMBERS, -1, -(2**63), 2**70, 10**400, 1e308, 1e-300, float("nan"), float("inf"), 0.5,
    None, True, "", "x", "no", "\x1b[31m", "../../x", "\ud800", "a" * 5000, [], {}, [[]],
    [[-1, -1]], [[2**31, 2**31]], [[56, 13]] * 300, {"a": {"b": {}}},
)  # fmt: skip


def changed(data: bytes, rng: random.Random) -> bytes:
    """Some bytes flipped, replaced by telling numbers, left out, doubled or cut off."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if not out:
            break
        reach = min(len(out), rng.choice((64, 512, 4096, len(out))))
        at = rng.randrange(reach)
        rng.choice(_CHANGES)(out, at, rng)
    return bytes(out)


def _flip(out: bytearray, at: int, rng: random.Random) -> None:
    out[at] ^= 1 << rng.randrange(8)


def _number(out: bytearray, at: int, rng: random.Random) -> None:
    size, form = rng.choice(((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
    value = rng.choice(NUMBERS) % (1 << 8 * size)
    out[at : at + size] = struct.pack(rng.choice("<>") + form, value)


def _noise(out: bytearray, at: int, rng: random.Random) -> None:
    size = rng.choice((1, 4, 32))
    out[at : at + size] = rng.randbytes(size)


def _remove(out: bytearray, at: int, rng: random.Random) -> None:
    del out[at : at + rng.choice((1, 2, 8, 100))]


def _repeat(out: bytearray, at: int, rng: random.Random) -> None:
    out[at:at] = out[at : at + rng.choice((1, 8, 64, 512))] * rng.choice((1, 2, 50))


def _insert(out: bytearray, at: int, rng: random.Random) -> None:
    out[at:at] = rng.randbytes(rng.choice((1, 4, 60)))


def _cut(out: bytearray, at: int, _rng: random.Random) -> None:
    del out[at + 1 :]


_CHANGES: tuple[Callable[[bytearray, int, random.Random], None], ...] = (
    _flip, _flip, _number, _number, _noise, _remove, _repeat, _insert, _cut,
)  # fmt: skip


def changed_json(data: Any, rng: random.Random) -> Any:
    """A value somewhere in it replaced, left out or repeated."""
    if isinstance(data, dict) and data and rng.random() < 0.9:
        key = rng.choice(list(data))
        if rng.random() < 0.1:
            return {name: value for name, value in data.items() if name != key}
        if rng.random() < 0.05:
            return data | {rng.choice(("x", key.upper())): rng.choice(VALUES)}
        return data | {key: changed_json(data[key], rng)}
    if isinstance(data, list) and data and rng.random() < 0.8:
        at = rng.randrange(len(data))
        out = [*data[:at], changed_json(data[at], rng), *data[at + 1 :]]
        return out * rng.choice((0, 2, 40)) if rng.random() < 0.1 else out
    if isinstance(data, int | float) and rng.random() < 0.4:
        return data * rng.choice((2, -1, 1000)) + rng.choice((0, 1))
    return rng.choice(VALUES)


def written(data: Any) -> bytes:
    """JSON; values that it cannot represent are written as by Python."""
    return json.dumps(data).encode()
