"""The oracle's checkpoints, and what NeMo computed for them."""

from functools import cache
from pathlib import Path

import numpy as np

import wheatear
from wheatear.audio.reader import sample_speech

ORACLE = Path(__file__).parents[1] / "oracle"
TINY = ("tiny-en", "tiny-multi")
GEOMETRIES = ("bias", "prompt16", "mel80", "batchnorm", "nested", "bytes")
LOOKAHEADS = (0, 1, 3, 6, 13)


@cache
def answers(model: str) -> dict[str, np.ndarray]:
    """NeMo's results for a checkpoint, or the `speech` that they were computed from."""
    with np.load(ORACLE / f"{model}.npz") as archive:
        return dict(archive)


@cache
def speech(model: str) -> np.ndarray:
    """The samples that a checkpoint's answers belong to, float32."""
    if model in TINY:
        return answers("speech")["wav"].astype(np.float32) / 32768
    return sample_speech()


def language_of(recognizer: wheatear.Recognizer, prompt: int) -> str:
    """A language with this prompt id."""
    prompts = recognizer.model.manifest.prompts
    return next((key for key, value in prompts.items() if value == prompt), "auto")
