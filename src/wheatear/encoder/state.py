"""What one stream's encoder remembers, and the part of it that a step looks at."""

from dataclasses import dataclass

import numpy as np

from wheatear.audio.mel import MEL_PER_FRAME
from wheatear.common.arrays import Floats
from wheatear.model.latency import LatencyMode
from wheatear.model.manifest import EncoderShape

PAST_MEL = 7  # mel frames before a chunk's own that its first output looks at
BEFORE_START = 7  # the chunk grid begins 7 mel frames before the signal: frame k ends at mel 8k


@dataclass
class EncoderState:
    """What one stream's encoder remembers. Changed by `Encoder.step` only when a step succeeds."""

    mode: LatencyMode
    mel: Floats
    """Frames [n, bands] not encoded yet, after the `past` last ones that were."""
    keys_values: Floats
    """[layers, 2, heads, left, head_width], a ring over the frames: frame f in slot f mod left.
    Changed in place. A graph of others keeps what it will
    (`wheatear.recognizer.external.package`)."""
    conv: Floats
    """[layers, kernel - 1, width]; replaced by each step, never changed."""
    frames: int = 0
    """Encoder frames so far."""
    mel_total: int | None = None
    """Mel frames of the whole signal, once its end is known."""
    past: int = PAST_MEL
    """Mel frames before a chunk's own that the encoder is given."""


@dataclass(frozen=True)
class Encoded:
    """Output of a step for one stream, [frames, ...] each."""

    projected: Floats
    encoded: Floats
    hidden: Floats


def fresh_state(shape: EncoderShape, bands: int, mode: LatencyMode) -> EncoderState:
    """The state of a stream that has heard nothing."""
    s = shape
    return EncoderState(
        mode=mode,
        mel=np.zeros((PAST_MEL + BEFORE_START, bands), np.float32),
        keys_values=np.zeros((s.layers, 2, s.heads, s.left, s.head_width), np.float32),
        conv=np.zeros((s.layers, s.kernel - 1, s.width), np.float32),
    )


def frames_of(mel: int, convolutions: int = 3) -> int:
    """Frames left of `mel` frames after that many convolutions of stride 2 (NeMo's law: a signal
    too short for one mel frame still has one encoder frame)."""
    for _ in range(convolutions):
        mel = mel // 2 + 1
    return mel


def window(state: EncoderState, frames: int) -> Floats:
    """The mel [8 frames + 7, bands] that the next frames look at, zero past the end."""
    wanted = MEL_PER_FRAME * frames + PAST_MEL
    mel = state.mel[:wanted]
    if len(mel) < wanted:
        missing = np.zeros((wanted - len(mel), mel.shape[1]), np.float32)
        mel = np.concatenate([mel, missing])
    return mel


def live(state: EncoderState, frames: int, convolutions: int) -> Floats:
    """Which rows of the window exist after that many convolutions: those neither before the
    start of the signal nor after its end. [per_frame * (frames + 1) - 1]
    """
    per_frame = MEL_PER_FRAME >> convolutions
    # Encoder frame k ends at row per_frame * k and looks back over two rows per level; the first
    # row of the window is the first that frame `state.frames` looks at.
    first = per_frame * (state.frames - 1) + 2 - per_frame
    position = np.arange(first, first + per_frame * (frames + 1) - 1)
    exists = position >= 0
    if state.mel_total is not None:
        exists &= position < frames_of(state.mel_total, convolutions)
    return exists.astype(np.float32)
