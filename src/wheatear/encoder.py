"""The cache-aware encoder: mel frames in, projected frames out, everything remembered in a state.

What a stream has yet to encode and what later frames may look back at is in its `EncoderState`;
the `Encoder` is shared. A step takes one chunk of each of many streams, or many chunks of one,
through the same graph (its inputs are described in `convert/encoder_graph.py`).

Keys and values of past frames lie in a ring: frame f in slot f mod left. Which slots hold what,
how far back each is and whether it may be seen is worked out here, per chunk, as small arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wheatear.bundle import ENCODER, Bundle, EncoderShape
from wheatear.latency import MEL_PER_FRAME, LatencyMode
from wheatear.sessions import Session

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

PAST_MEL = 7  # mel frames before a chunk's own that its first output looks at
_BEFORE_START = 7  # the chunk grid begins 7 mel frames before the signal: frame k ends at mel 8k
_UNSEEN = np.float32(-1e4)  # NeMo's masked score; its exponential is exactly zero


@dataclass
class EncoderState:
    """What one stream's encoder remembers. Changed by `Encoder.step` only when a step succeeds."""

    mode: LatencyMode
    mel: Floats
    """Frames [n, bands] not encoded yet, after the 7 last ones that were."""
    keys_values: Floats
    """[layers, 2, heads, left, head_width], a ring over the frames."""
    conv: Floats
    """[layers, kernel - 1, width]"""
    frames: int = 0
    """Encoder frames so far."""
    mel_total: int | None = None
    """Mel frames of the whole signal, once its end is known."""


@dataclass(frozen=True)
class Encoded:
    """Output of a step for one stream, [frames, ...] each."""

    projected: Floats
    encoded: Floats
    hidden: Floats


class Encoder:
    """Runs a bundle's encoder graph; shared by all streams and safe to use from many threads."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self.bundle = bundle
        self.shape: EncoderShape = bundle.manifest.encoder
        self._session = Session(bundle.path / ENCODER, threads)
        s, m = self.shape, bundle.manifest
        last = s.layers - 1
        self._session.expect(
            {
                "mel": [None, None, m.features.bands],
                "past": [None, s.left],
                f"v{last}": [None, s.heads, s.left, s.head_width],
                f"c{last}": [None, s.kernel - 1, s.width],
                "kv": [2 * s.layers, None, s.heads, None, s.head_width],
                "projected": [None, None, m.decoder.joint],
            }
            | ({"language": [None, bundle.language_bias.shape[1]]} if m.prompts else {})
        )
        self._lone_frame_differs = False
        self._lone_frame_differs = not self._lone_frame_agrees()

    def start(self, mode: LatencyMode) -> EncoderState:
        s, bands = self.shape, self.bundle.manifest.features.bands
        return EncoderState(
            mode=mode,
            mel=np.zeros((PAST_MEL + _BEFORE_START, bands), np.float32),
            keys_values=np.zeros((s.layers, 2, s.heads, s.left, s.head_width), np.float32),
            conv=np.zeros((s.layers, s.kernel - 1, s.width), np.float32),
        )

    def feed(self, state: EncoderState, mel: Floats) -> None:
        """Appends mel frames [n, bands] to what the stream has yet to encode."""
        state.mel = np.concatenate([state.mel, mel])

    def end(self, state: EncoderState) -> None:
        """Says that no more mel will come: the last chunk may then be short.

        Not for a signal without a single sample, which has no frames at all.
        """
        state.mel_total = state.frames * MEL_PER_FRAME + len(state.mel) - PAST_MEL - _BEFORE_START

    def ready(self, state: EncoderState, most_chunks: int) -> int:
        """Frames that the next step should encode: `most_chunks` whole chunks; once the end is
        known also fewer, and at last the rest. 0 as long as there is nothing to do.
        """
        chunk = state.mode.chunk
        if state.mel_total is None:
            waiting = (len(state.mel) - PAST_MEL) // MEL_PER_FRAME
            return most_chunks * chunk if waiting >= most_chunks * chunk else 0
        left = _frames_of(state.mel_total) - state.frames
        return min(left // chunk, most_chunks) * chunk or left

    def wants(self, state: EncoderState, chunks: int) -> int:
        """Mel frames that must come before a step of so many whole chunks is ready."""
        return MEL_PER_FRAME * chunks * state.mode.chunk + PAST_MEL - len(state.mel)

    def step(
        self, states: Sequence[EncoderState], frames: int, languages: Sequence[Floats | None]
    ) -> list[Encoded]:
        """Encodes the next `frames` frames of each stream; `ready` must allow them.

        Either one chunk (or a short last one) of any number of streams, whatever their modes,
        or several whole chunks of a single stream. `languages` are bias vectors [2 width] of
        models with a language prompt.
        """
        chunk = min(frames, states[0].mode.chunk) if len(states) == 1 else frames
        rows = list(states)
        biases = list(languages)
        if self._lone_frame_differs and len(states) == frames == 1:
            rows, biases = rows * 2, biases * 2
        outputs = self._session.run(
            ["projected", "encoded", "hidden", "kv", "conv"],
            self._inputs(rows, frames, chunk, biases),
        )
        projected, encoded, hidden, kv, conv = outputs
        for b, state in enumerate(states):
            first, last = b * frames // chunk, (b + 1) * frames // chunk
            self._remember(state, frames, kv[:, first:last], conv[:, b])
        return [Encoded(projected[b], encoded[b], hidden[b]) for b in range(len(states))]

    # -- inputs ----------------------------------------------------------------------------------

    def _inputs(
        self,
        states: Sequence[EncoderState],
        frames: int,
        chunk: int,
        languages: Sequence[Floats | None],
    ) -> dict[str, NDArray[Any]]:
        starts = np.concatenate(
            [np.arange(s.frames, s.frames + frames, chunk, dtype=np.int64) for s in states]
        )  # [R]: frames before each chunk row
        lefts = np.repeat([s.mode.left for s in states], frames // chunk)
        slots = np.arange(self.shape.left)
        age = (starts[:, None] - 1 - slots) % self.shape.left + 1  # [R, left]: 1 is the newest
        inputs: dict[str, NDArray[Any]] = {
            "mel": np.stack([_window(s, frames) for s in states]),
            "live1": np.stack([_live(s, frames, 1) for s in states]),
            "live2": np.stack([_live(s, frames, 2) for s in states]),
            "mask": _mask(age, np.minimum(starts, lefts), chunk),
            "offset": self._offsets(age, chunk),
            "past": self._past(age, starts, states[0].frames),
        }
        alone = len(states) == 1
        for i in range(self.shape.layers):
            for j, kv in enumerate("kv"):
                parts = [s.keys_values[i, j] for s in states]
                inputs[f"{kv}{i}"] = parts[0][None] if alone else np.stack(parts)
            inputs[f"c{i}"] = (
                states[0].conv[i][None] if alone else np.stack([s.conv[i] for s in states])
            )
        if self.bundle.manifest.prompts:
            inputs["language"] = np.stack([bias for bias in languages if bias is not None])
        return inputs

    def _offsets(self, age: Integers, chunk: int) -> Integers:
        """Column of the position table for every query and key, [R, chunk, left + chunk]."""
        query = np.arange(chunk)
        offsets = np.empty((len(age), chunk, age.shape[1] + chunk), np.int64)
        offsets[:, :, : age.shape[1]] = query[:, None] + age[:, None, :]
        offsets[:, :, age.shape[1] :] = query[:, None] - query
        return offsets + (self.shape.longest_chunk - 1)

    def _past(self, age: Integers, starts: Integers, first: int) -> Integers:
        """Where each slot's frame is found in (ring, frames of this run), [R, left]."""
        frame = starts[:, None] - age
        in_ring = np.broadcast_to(np.arange(self.shape.left), frame.shape)
        return np.where(frame >= first, self.shape.left + frame - first, in_ring)

    # -- state -----------------------------------------------------------------------------------

    def _remember(self, state: EncoderState, frames: int, kv: Floats, conv: Floats) -> None:
        """kv [2 layers, chunks, heads, chunk, head_width], conv [layers, kernel - 1, width]"""
        s = self.shape
        kv = kv.transpose(0, 2, 1, 3, 4).reshape(s.layers, 2, s.heads, frames, s.head_width)
        kept = min(frames, s.left)
        slots = np.arange(state.frames + frames - kept, state.frames + frames) % s.left
        state.keys_values[:, :, :, slots] = kv[:, :, :, frames - kept :]
        state.conv = conv.copy()  # a view would keep the whole batch alive
        state.mel = state.mel[frames * MEL_PER_FRAME :]
        state.frames += frames

    def _lone_frame_agrees(self) -> bool:
        """Whether one frame alone gets the bits it gets in a batch, on this machine.

        On some processors onnxruntime multiplies a single row of 4-bit weights by another path
        than several rows; a lone frame is then run twice. Also warms the session up.
        """
        mode = self.bundle.manifest.default_mode
        noise = np.random.default_rng(0).normal(-8, 4, (MEL_PER_FRAME, 1)).astype(np.float32)
        bias = self.bundle.language_bias[0] if self.bundle.manifest.prompts else None
        results = []
        for copies in (1, 2):
            states = [self.start(mode) for _ in range(copies)]
            for state in states:
                self.feed(state, np.broadcast_to(noise, (MEL_PER_FRAME, state.mel.shape[1])))
            results.append(self.step(states, 1, [bias] * copies)[0].projected)
        return bool(np.array_equal(results[0], results[1]))


def _frames_of(mel: int, convolutions: int = 3) -> int:
    """Frames left of `mel` frames after that many convolutions of stride 2 (NeMo's law: a signal
    too short for one mel frame still has one encoder frame)."""
    for _ in range(convolutions):
        mel = mel // 2 + 1
    return mel


def _window(state: EncoderState, frames: int) -> Floats:
    """The mel [8 frames + 7, bands] that the next frames look at, zero past the end."""
    wanted = MEL_PER_FRAME * frames + PAST_MEL
    window = state.mel[:wanted]
    if len(window) < wanted:
        missing = np.zeros((wanted - len(window), window.shape[1]), np.float32)
        window = np.concatenate([window, missing])
    return window


def _live(state: EncoderState, frames: int, convolutions: int) -> Floats:
    """Which rows of the window exist after that many convolutions: those neither before the
    start of the signal nor after its end. [per_frame * (frames + 1) - 1]
    """
    per_frame = MEL_PER_FRAME >> convolutions
    # Encoder frame k ends at row per_frame * k and looks back over two rows per level; the first
    # row of the window is the first that frame `state.frames` looks at.
    first = per_frame * (state.frames - 1) + 2 - per_frame
    position = np.arange(first, first + per_frame * (frames + 1) - 1)
    live = position >= 0
    if state.mel_total is not None:
        live &= position < _frames_of(state.mel_total, convolutions)
    return live.astype(np.float32)


def _mask(age: Integers, seen: Integers, chunk: int) -> Floats:
    """0 for keys that chunk row r may see: its own, and those of the `seen[r]` last frames."""
    mask = np.zeros((len(age), 1, age.shape[1] + chunk), np.float32)
    mask[:, 0, : age.shape[1]][age > seen[:, None]] = _UNSEEN
    return mask
