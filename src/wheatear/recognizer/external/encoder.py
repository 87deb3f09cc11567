"""Somebody else's encoder graph, on NeMo's own grid of frames.

These graphs take a window of 9 mel frames that were seen before and 8 for each frame of the chunk,
and throw away the first two frames that the subsampling makes of it.  Their own runtimes begin
with 9 zero frames and a whole chunk, so that every frame stands 70 ms later than where NeMo was
trained, or with the signal itself, so that its first two frames never come out.  Here the first
window is 16 zero frames and the first 8 c - 7 of the signal: frame k stands at mel frame 8 k, as
in NeMo and in our own graphs, and the first chunk is there 70 ms earlier.  What remains is that
zeros before the signal pass through the biased convolutions, where NeMo pads their outputs: the
stream's first frame differs from NeMo's, its second a little, and no other by itself.

The last window is filled up with zeros and the true length goes with it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wheatear.audio.mel import MEL_PER_FRAME
from wheatear.common.arrays import Floats
from wheatear.encoder.encoder import ChunkedEncoder
from wheatear.encoder.state import BEFORE_START, Encoded, EncoderState
from wheatear.errors import BundleError
from wheatear.model.latency import LatencyMode
from wheatear.model.onnx_session import Session, TensorInfo
from wheatear.recognizer.external.ports import EncoderPorts

PAST_MEL = 9
"""Mel frames of the window before the chunk's own."""


class ForeignEncoder(ChunkedEncoder):
    """Shared by all streams and safe to use from many threads."""

    def __init__(
        self,
        session: Session,
        ports: EncoderPorts,
        bands: int,
        mode: LatencyMode,
        *,
        time_axis: int,
        name: str,
    ) -> None:
        """Raises BundleError if the graph does not do what its inputs and outputs promise."""
        self._session, self._ports, self._name = session, ports, name
        self._bands, self.mode = bands, mode
        self._window = PAST_MEL + MEL_PER_FRAME * mode.chunk
        self._mel_last = time_axis == 1
        self._width_last = True
        self._batched = False
        self._try()
        self._batched = ports.batched and self._batches()

    def start(self, mode: LatencyMode) -> EncoderState:
        p = self._ports
        return EncoderState(
            mode=mode,
            mel=np.zeros((PAST_MEL + BEFORE_START, self._bands), np.float32),
            keys_values=np.zeros((p.axes.layers, p.left, p.width), p.channel.dtype),
            conv=np.zeros((p.axes.layers, p.width, p.taps), p.time.dtype),
            past=PAST_MEL,
        )

    def language(self, prompt: int) -> int:
        return prompt

    def ready(self, state: EncoderState, most_chunks: int) -> int:
        """The graph takes one chunk at a time."""
        return super().ready(state, 1)

    def step(
        self, states: Sequence[EncoderState], frames: int, languages: Sequence[int | None]
    ) -> list[Encoded]:
        if self._batched or len(states) == 1:
            return self._step(states, frames, languages)
        return [
            self._step([state], frames, [language])[0]
            for state, language in zip(states, languages, strict=True)
        ]

    def _step(
        self, states: Sequence[EncoderState], frames: int, languages: Sequence[int | None]
    ) -> list[Encoded]:
        p = self._ports
        names = [p.frames, p.channel_next, p.time_next]
        encoded, channel, time = self._session.run(names, self._inputs(states, languages))
        if not self._width_last:
            encoded = encoded.transpose(0, 2, 1)
        batch = p.axes.batch
        outputs = []
        for n, state in enumerate(states):
            state.keys_values = channel.take(n, axis=batch)
            state.conv = time.take(n, axis=batch)
            state.mel = state.mel[frames * MEL_PER_FRAME :]
            state.frames += frames
            rows = encoded[n, :frames].astype(np.float32)
            outputs.append(Encoded(rows, rows, rows))
        return outputs

    # -- inputs ----------------------------------------------------------------------------------

    def _inputs(
        self, states: Sequence[EncoderState], languages: Sequence[int | None]
    ) -> dict[str, NDArray[Any]]:
        p = self._ports
        lengths = [min(len(state.mel), self._window) for state in states]
        mel = np.zeros((len(states), self._window, self._bands), np.float32)
        for row, state, length in zip(mel, states, lengths, strict=True):
            row[:length] = state.mel[:length]
        inputs: dict[str, NDArray[Any]] = {}
        if p.past_mel is not None:
            inputs[p.past_mel.name] = self._as_mel(mel[:, :PAST_MEL])
            mel, lengths = mel[:, PAST_MEL:], [length - PAST_MEL for length in lengths]
        inputs[p.mel.name] = self._as_mel(mel)
        inputs[p.channel.name] = np.stack([s.keys_values for s in states], axis=p.axes.batch)
        inputs[p.time.name] = np.stack([s.conv for s in states], axis=p.axes.batch)
        if p.length is not None:
            inputs[p.length.name] = np.array(lengths, p.length.dtype)
        if p.channel_length is not None:
            filled = [min(state.frames, p.left) for state in states]
            inputs[p.channel_length.name] = np.array(filled, p.channel_length.dtype)
        if p.language is not None:
            inputs[p.language.name] = _as_prompts([i or 0 for i in languages], p.language)
        return inputs

    def _as_mel(self, mel: Floats) -> NDArray[Any]:
        """[B, T, bands] in the graph's order and type."""
        ordered = mel if self._mel_last else mel.transpose(0, 2, 1)
        return np.ascontiguousarray(ordered, self._ports.mel.dtype)

    # -- whether it is what it seems -------------------------------------------------------------

    def _try(self) -> None:
        """One chunk of nothing: does it run, and what comes out where?"""
        p = self._ports
        state = self.start(self.mode)
        state.mel = np.zeros((self._window, self._bands), np.float32)
        encoded, channel, time = self._session.run(
            [p.frames, p.channel_next, p.time_next], self._inputs([state], [0])
        )
        chunk = self.mode.chunk
        caches = channel.take(0, axis=p.axes.batch).shape, time.take(0, axis=p.axes.batch).shape
        if caches != (state.keys_values.shape, state.conv.shape):
            raise BundleError(f"{self._name} returns caches of other shapes than it takes")
        if encoded.shape == (1, chunk, p.width):
            self._width_last = True
        elif encoded.shape == (1, p.width, chunk):
            self._width_last = False
        else:
            raise BundleError(
                f"{self._name} makes {list(encoded.shape)} of a window of {self._window} mel "
                f"frames, not {chunk} frames of {p.width}: it is of another kind than those that "
                f"are known here"
            )

    def _batches(self) -> bool:
        """Whether streams in a batch get the bits that each would get alone; graphs whose
        activations are scaled over the whole batch do not do that."""
        noise = np.random.default_rng(0).normal(-8, 4, (2, 2, self._window, self._bands))

        def run(rows: Sequence[int], together: bool) -> list[Floats]:
            states = [self.start(self.mode) for _ in rows]
            outputs: list[Floats] = []
            for mel in noise:
                for row, state in zip(rows, states, strict=True):
                    state.mel = mel[row].astype(np.float32) / (1 + row)
                groups = [states] if together else [[state] for state in states]
                parts = [self._step(g, self.mode.chunk, [0] * len(g)) for g in groups]
                outputs += [output.projected for part in parts for output in part]
            return outputs

        try:
            both = run([0, 1], together=True)
        except (BundleError, IndexError, ValueError):
            return False  # it says that it takes batches, and fails or makes too few rows of them
        return all(map(np.array_equal, both, run([0, 1], together=False)))


def _as_prompts(prompts: Sequence[int], port: TensorInfo) -> NDArray[Any]:
    """Ids, or one-hot rows, as the graph wants them."""
    if len(port.shape) == 1:
        return np.array(prompts, port.dtype)
    hot = np.zeros((len(prompts), port.shape[1] or 0), port.dtype)
    hot[np.arange(len(prompts)), prompts] = 1
    return hot
