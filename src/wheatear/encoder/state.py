"""The state of one stream's encoder, and the mel rows that a step reads of it."""

from dataclasses import dataclass

import numpy as np

from wheatear.audio.mel import MEL_PER_FRAME
from wheatear.common.arrays import Floats
from wheatear.model.latency import LatencyMode
from wheatear.model.manifest import EncoderShape

PRE_ENCODE_CACHE = 7
"""Mel frames before those of a chunk that its first output depends on."""
LEFT_PADDING = 7
"""Mel frames before the signal where the chunk grid begins: encoder frame k ends at mel 8k."""


@dataclass(frozen=True, slots=True)
class LanguagePrompt:
    """A language as the encoder takes it."""

    id: int
    """Prompt id."""
    bias: Floats | None = None
    """Bias [prompt width] before the ReLU of the prompt kernel; None for external graphs."""


@dataclass(slots=True, eq=False)
class EncoderState:
    """The state of one stream's encoder. A step changes it only if the step succeeds."""

    mode: LatencyMode
    mel: Floats
    """Frames [n, bands] not encoded yet, after the last `mel_cache` frames that were."""
    keys_values: Floats
    """[layers, 2, heads, left, head_width], a ring over the frames: frame f in slot f mod left.
    Changed in place. The caches of external graphs have other shapes."""
    conv: Floats
    """[layers, kernel - 1, width]; replaced by each step, never changed."""
    language: LanguagePrompt | None = None
    """None for models without a language prompt."""
    frames: int = 0
    """Number of encoder frames computed."""
    mel_total: int | None = None
    """Mel frames of the whole signal, once its end is known."""
    mel_cache: int = PRE_ENCODE_CACHE
    """Mel frames before those of a chunk that the encoder is given."""


@dataclass(frozen=True, slots=True)
class EncoderOutput:
    """Output of a step for one stream, float32 [frames, ...] each."""

    joint_input: Floats
    """[frames, joint]: `encoder_out` after the encoder projection of the joint."""
    encoder_out: Floats
    """[frames, width]: after the language prompt."""
    before_prompt: Floats
    """[frames, width]: output of the last layer."""


def fresh_state(shape: EncoderShape, n_mels: int, mode: LatencyMode) -> EncoderState:
    """Returns the state before the first sample."""
    s = shape
    return EncoderState(
        mode=mode,
        mel=np.zeros((PRE_ENCODE_CACHE + LEFT_PADDING, n_mels), np.float32),
        keys_values=np.zeros((s.layers, 2, s.heads, s.left, s.head_width), np.float32),
        conv=np.zeros((s.layers, s.kernel - 1, s.width), np.float32),
    )


def subsampled_length(mel_frames: int, convolutions: int = 3) -> int:
    """Number of frames after convolutions of stride 2.

    As in NeMo, a signal too short for one mel frame still has one encoder frame.
    """
    for _ in range(convolutions):
        mel_frames = mel_frames // 2 + 1
    return mel_frames


def mel_window(state: EncoderState, frames: int) -> Floats:
    """Mel [8 frames + 7, bands] that the next encoder frames depend on, zero past the end."""
    wanted = MEL_PER_FRAME * frames + PRE_ENCODE_CACHE
    mel = state.mel[:wanted]
    if len(mel) < wanted:
        missing = np.zeros((wanted - len(mel), mel.shape[1]), np.float32)
        mel = np.concatenate([mel, missing])
    return mel


def valid_rows(state: EncoderState, frames: int, convolutions: int) -> Floats:
    """Mask [rows] of the window after that many convolutions.

    1 for rows within the signal, 0 for rows before its start or after its end. There are
    `per_frame * (frames + 1) - 1` rows.
    """
    per_frame = MEL_PER_FRAME >> convolutions
    # Encoder frame k ends at row per_frame * k and depends on two earlier rows per level; the first
    # row of the window is the first that frame `state.frames` depends on.
    first = per_frame * (state.frames - 1) + 2 - per_frame
    position = np.arange(first, first + per_frame * (frames + 1) - 1)
    valid = position >= 0
    if state.mel_total is not None:
        valid &= position < subsampled_length(state.mel_total, convolutions)
    return valid.astype(np.float32)
