"""Encoder steps by the ONNX graph in onnxruntime, which runs everywhere.

`wheatear.convert.graphs.encoder` describes the inputs of the graph. For each chunk, small arrays
give the age of every slot in the ring of keys and values, and whether attention may see it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wheatear.audio.mel import MEL_PER_FRAME
from wheatear.common.arrays import Floats
from wheatear.encoder.state import (
    EncoderOutput,
    EncoderState,
    LanguagePrompt,
    fresh_state,
    mel_window,
    valid_rows,
)
from wheatear.model.bundle import ENCODER, Bundle
from wheatear.model.manifest import EncoderShape
from wheatear.model.onnx_session import Session, check_outputs

Integers = NDArray[np.int64]

_MASKED = np.float32(-1e4)  # NeMo's masked score; its exponential is exactly zero


class OnnxBackend:
    """Safe to use from many threads."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        """Raises BundleError if the graph does not fit the manifest."""
        self._bundle = bundle
        self._shape: EncoderShape = bundle.manifest.encoder
        self._session = Session(bundle.path / ENCODER, threads)
        s, m = self._shape, bundle.manifest
        last = s.layers - 1
        self._session.expect(
            {
                "mel": [None, None, m.features.n_mels],
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

    def run(self, states: Sequence[EncoderState], frames: int, chunk: int) -> list[EncoderOutput]:
        """Encodes `frames` frames of each stream in chunks of `chunk` and advances the caches."""
        rows = list(states)
        if self._lone_frame_differs and len(states) == frames == 1:
            rows *= 2
        outputs = self._session.run(
            ["projected", "encoded", "hidden", "kv", "conv"],
            self._inputs(rows, frames, chunk),
        )
        self._check(outputs, len(rows), frames, chunk)
        joint_input, encoder_out, before_prompt, kv, conv = outputs
        for b, state in enumerate(states):
            first, last = b * frames // chunk, (b + 1) * frames // chunk
            self._update_caches(state, frames, kv[:, first:last], conv[:, b])
        return [
            EncoderOutput(joint_input[b], encoder_out[b], before_prompt[b])
            for b in range(len(states))
        ]

    def _check(self, outputs: Sequence[NDArray[Any]], rows: int, frames: int, chunk: int) -> None:
        """Raises BundleError if the graph computes other shapes than it declares."""
        s, joint = self._shape, self._bundle.manifest.decoder.joint
        shapes = [
            *((rows, frames, joint), (rows, frames, s.width), (rows, frames, s.width)),
            (2 * s.layers, rows * frames // chunk, s.heads, chunk, s.head_width),
            (s.layers, rows, s.kernel - 1, s.width),
        ]
        check_outputs(self._session, outputs, shapes)

    # -- inputs ----------------------------------------------------------------------------------

    def _inputs(
        self, states: Sequence[EncoderState], frames: int, chunk: int
    ) -> dict[str, NDArray[Any]]:
        starts = np.concatenate(
            [np.arange(s.frames, s.frames + frames, chunk, dtype=np.int64) for s in states]
        )  # [R]: frames before each chunk row
        lefts = np.repeat([s.mode.left for s in states], frames // chunk)
        slots = np.arange(self._shape.left)
        age = (starts[:, None] - 1 - slots) % self._shape.left + 1  # [R, left]: 1 is the newest
        inputs: dict[str, NDArray[Any]] = {
            "mel": np.stack([mel_window(s, frames) for s in states]),
            "live1": np.stack([valid_rows(s, frames, 1) for s in states]),
            "live2": np.stack([valid_rows(s, frames, 2) for s in states]),
            "mask": _mask(age, np.minimum(starts, lefts), chunk),
            "offset": self._offsets(age, chunk),
            "past": self._past(age, starts, states[0].frames),
        }
        single = len(states) == 1
        for i in range(self._shape.layers):
            for j, kv in enumerate("kv"):
                parts = [s.keys_values[i, j] for s in states]
                inputs[f"{kv}{i}"] = parts[0][None] if single else np.stack(parts)
            inputs[f"c{i}"] = (
                states[0].conv[i][None] if single else np.stack([s.conv[i] for s in states])
            )
        if self._bundle.manifest.prompts:
            prompts = [s.language for s in states if s.language is not None]
            inputs["language"] = np.stack([p.bias for p in prompts if p.bias is not None])
        return inputs

    def _offsets(self, age: Integers, chunk: int) -> Integers:
        """Columns of the position table for all queries and keys, [R, chunk, left + chunk]."""
        query = np.arange(chunk)
        offsets = np.empty((len(age), chunk, age.shape[1] + chunk), np.int64)
        offsets[:, :, : age.shape[1]] = query[:, None] + age[:, None, :]
        offsets[:, :, age.shape[1] :] = query[:, None] - query
        return offsets + (self._shape.longest_chunk - 1)

    def _past(self, age: Integers, starts: Integers, first: int) -> Integers:
        """Index of each slot's frame in (ring, frames of this run), [R, left]."""
        frame = starts[:, None] - age
        in_ring = np.broadcast_to(np.arange(self._shape.left), frame.shape)
        return np.where(frame >= first, self._shape.left + frame - first, in_ring)

    # -- state -----------------------------------------------------------------------------------

    def _update_caches(self, state: EncoderState, frames: int, kv: Floats, conv: Floats) -> None:
        """kv [2 layers, chunks, heads, chunk, head_width], conv [layers, kernel - 1, width]"""
        s = self._shape
        kv = kv.transpose(0, 2, 1, 3, 4).reshape(s.layers, 2, s.heads, frames, s.head_width)
        kept = min(frames, s.left)
        slots = np.arange(state.frames + frames - kept, state.frames + frames) % s.left
        state.keys_values[:, :, :, slots] = kv[:, :, :, frames - kept :]
        state.conv = conv.copy()  # a view would keep the whole batch alive

    def _lone_frame_agrees(self) -> bool:
        """True if a single frame gets the same bits as in a batch on this machine.

        On some processors onnxruntime multiplies a single row of 4-bit weights by another path
        than several rows; a single frame is then run twice. This also warms the session up.
        """
        m = self._bundle.manifest
        noise = np.random.default_rng(0).normal(-8, 4, (MEL_PER_FRAME, 1)).astype(np.float32)
        prompt = LanguagePrompt(0, self._bundle.language_bias[0]) if m.prompts else None
        results = []
        for copies in (1, 2):
            states = [
                fresh_state(self._shape, m.features.n_mels, m.default_mode) for _ in range(copies)
            ]
            for state in states:
                mel = np.broadcast_to(noise, (MEL_PER_FRAME, state.mel.shape[1]))
                state.mel = np.concatenate([state.mel, mel])
                state.language = prompt
            results.append(self.run(states, 1, 1)[0].joint_input)
        return bool(np.array_equal(results[0], results[1]))


def _mask(age: Integers, seen: Integers, chunk: int) -> Floats:
    """Attention mask: 0 for the keys of chunk r itself and of the last `seen[r]` frames."""
    mask = np.zeros((len(age), 1, age.shape[1] + chunk), np.float32)
    mask[:, 0, : age.shape[1]][age > seen[:, None]] = _MASKED
    return mask
