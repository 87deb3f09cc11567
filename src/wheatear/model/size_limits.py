"""Maximum sizes of a model.

Each is far above every model of the family, and small enough that a hostile file cannot cause a
large allocation. The native library has the same bounds (`native/cpp/bounds.h`).
"""

import reprlib
from collections.abc import Mapping
from typing import Any

MAX_SIZES: Mapping[str, int] = {
    "features.bands": 512,
    "features.fft": 8192,
    "features.window": 8192,
    "features.hop": 160,
    "encoder.layers": 128,
    "encoder.width": 8192,
    "encoder.heads": 128,
    "encoder.kernel": 256,
    "encoder.left": 4096,
    "encoder.longest_chunk": 1024,
    "encoder.channels": 4096,
    "encoder.feed_forward": 1 << 16,
    "encoder.prompt": 1 << 16,
    "decoder.layers": 16,
    "decoder.hidden": 8192,
    "decoder.joint": 8192,
    "decoder.blank": 1 << 20,
    "decoder.max_symbols": 100,
}
MAX_SYMBOLS = 10
"""Tokens emitted for a frame at most, where a model does not set it; the default of NeMo."""
MAX_STATE_BYTES = 1 << 28
"""State of an encoder for one stream; the largest model of the family has 11 MB."""
MAX_MODES, MAX_PROMPTS, MAX_FILES = 256, 4096, 1024
MAX_MANIFEST_BYTES, MAX_VOCABULARY_BYTES, MAX_TEXT_BYTES = 16 << 20, 64 << 20, 16 << 20
MAX_TOKENIZER_BYTES, MAX_JSON_BYTES = 16 << 20, 32 << 20
MAX_MODEL_BYTES = 1 << 36  # bytes of all files together


def check_size(name: str, value: Any) -> int:
    """Returns a whole number from 1 to the maximum of its name. Raises ValueError for others."""
    if type(value) is not int or not 0 < value <= MAX_SIZES[name]:
        raise ValueError(
            f"{name} is {reprlib.repr(value)}, not a whole number from 1 to {MAX_SIZES[name]}"
        )
    return value


def check_state(layers: int, width: int, left: int, kernel: int) -> None:
    """Raises ValueError for an encoder with too large a state."""
    size = 4 * layers * width * (2 * left + kernel)
    if size > MAX_STATE_BYTES:
        raise ValueError(
            f"its encoder would keep {size >> 20:,} MB for each stream, "
            f"more than {MAX_STATE_BYTES >> 20}"
        )
