"""External encoder graphs, run on NeMo's own grid of frames.

The input of these graphs is a window of 9 past mel frames and 8 for each frame of the chunk. They
drop the first two frames of the subsampling. Some runtimes begin with 9 zero frames and a whole
chunk, which delays every frame by 70 ms against training. Others begin with the signal itself,
which loses its first two frames. Here the first window is 16 zero frames and the first 8 c - 7 of
the signal: frame k is at mel frame 8 k, as in NeMo and in our own graphs, and the first chunk comes
70 ms earlier. One difference remains: zeros before the signal pass through the biased convolutions,
where NeMo pads their outputs. The stream's first frame differs from NeMo's, its second a little,
and the others only through these.

The last window is padded with zeros, and its true length is an input.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wheatear.audio.mel import MEL_PER_FRAME
from wheatear.common.arrays import Floats
from wheatear.encoder.encoder import ChunkedEncoder
from wheatear.encoder.state import LEFT_PADDING, EncoderOutput, EncoderState
from wheatear.errors import BundleError
from wheatear.model.latency import LatencyMode
from wheatear.model.onnx_session import Session, TensorInfo
from wheatear.recognizer.external.tensors import EncoderTensors

PRE_ENCODE_CACHE = 9
"""Mel frames of the window before those of the chunk, as NeMo exports them."""


class ExternalEncoder(ChunkedEncoder):
    """Shared by all streams; safe to use from many threads."""

    def __init__(
        self,
        session: Session,
        tensors: EncoderTensors,
        n_mels: int,
        mode: LatencyMode,
        *,
        time_axis: int,
        name: str,
    ) -> None:
        """Raises BundleError if the outputs of the graph are not as declared."""
        self._session, self._tensors, self._name = session, tensors, name
        self._n_mels, self.mode = n_mels, mode
        self._window = PRE_ENCODE_CACHE + MEL_PER_FRAME * mode.chunk
        self._mel_last = time_axis == 1
        self._width_last = True
        self.batched = False
        """True if several streams share a call of the graph."""
        self._check_outputs()
        self.batched = tensors.batched and self._keeps_bits_in_batches()

    def start(self, mode: LatencyMode) -> EncoderState:
        p = self._tensors
        return EncoderState(
            mode=mode,
            mel=np.zeros((PRE_ENCODE_CACHE + LEFT_PADDING, self._n_mels), np.float32),
            keys_values=np.zeros((p.axes.layers, p.left, p.width), p.channel.dtype),
            conv=np.zeros((p.axes.layers, p.width, p.conv_frames), p.time.dtype),
            mel_cache=PRE_ENCODE_CACHE,
        )

    def ready(self, state: EncoderState, max_chunks: int) -> int:
        """Returns the frames of at most one chunk, which is all that the graph takes."""
        return super().ready(state, 1)

    def step(self, states: Sequence[EncoderState], frames: int) -> list[EncoderOutput]:
        if self.batched or len(states) == 1:
            return self._step(states, frames)
        return [self._step([state], frames)[0] for state in states]

    def _step(self, states: Sequence[EncoderState], frames: int) -> list[EncoderOutput]:
        p = self._tensors
        names = [p.frames, p.channel_next, p.time_next]
        encoded, channel, time = self._session.run(names, self._inputs(states))
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
            outputs.append(EncoderOutput(rows, rows, rows))
        return outputs

    # -- inputs ----------------------------------------------------------------------------------

    def _inputs(self, states: Sequence[EncoderState]) -> dict[str, NDArray[Any]]:
        p = self._tensors
        lengths = [min(len(state.mel), self._window) for state in states]
        mel = np.zeros((len(states), self._window, self._n_mels), np.float32)
        for row, state, length in zip(mel, states, lengths, strict=True):
            row[:length] = state.mel[:length]
        inputs: dict[str, NDArray[Any]] = {}
        if p.mel_cache is not None:
            inputs[p.mel_cache.name] = self._as_mel(mel[:, :PRE_ENCODE_CACHE])
            mel, lengths = (
                mel[:, PRE_ENCODE_CACHE:],
                [length - PRE_ENCODE_CACHE for length in lengths],
            )
        inputs[p.mel.name] = self._as_mel(mel)
        inputs[p.channel.name] = np.stack([s.keys_values for s in states], axis=p.axes.batch)
        inputs[p.time.name] = np.stack([s.conv for s in states], axis=p.axes.batch)
        if p.length is not None:
            inputs[p.length.name] = np.array(lengths, p.length.dtype)
        if p.channel_length is not None:
            filled = [min(state.frames, p.left) for state in states]
            inputs[p.channel_length.name] = np.array(filled, p.channel_length.dtype)
        if p.language is not None:
            inputs[p.language.name] = _as_prompts(
                [0 if state.language is None else state.language.id for state in states],
                p.language,
            )
        return inputs

    def _as_mel(self, mel: Floats) -> NDArray[Any]:
        """[B, T, bands] in the graph's order and type."""
        ordered = mel if self._mel_last else mel.transpose(0, 2, 1)
        return np.ascontiguousarray(ordered, self._tensors.mel.dtype)

    # -- checks ----------------------------------------------------------------------------------

    def _check_outputs(self) -> None:
        """Runs one chunk of zeros and checks the shapes of the outputs."""
        p = self._tensors
        state = self.start(self.mode)
        state.mel = np.zeros((self._window, self._n_mels), np.float32)
        encoded, channel, time = self._session.run(
            [p.frames, p.channel_next, p.time_next], self._inputs([state])
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

    def _keeps_bits_in_batches(self) -> bool:
        """True if streams get the same bits in a batch as one by one.

        This fails for graphs that scale activations over the whole batch.
        """
        noise = np.random.default_rng(0).normal(-8, 4, (2, 2, self._window, self._n_mels))

        def run(rows: Sequence[int], batched: bool) -> list[Floats]:
            states = [self.start(self.mode) for _ in rows]
            outputs: list[Floats] = []
            for mel in noise:
                for row, state in zip(rows, states, strict=True):
                    state.mel = mel[row].astype(np.float32) / (1 + row)
                groups = [states] if batched else [[state] for state in states]
                parts = [self._step(group, self.mode.chunk) for group in groups]
                outputs += [output.joint_input for part in parts for output in part]
            return outputs

        try:
            both = run([0, 1], batched=True)
        except (BundleError, IndexError, ValueError):
            return False  # it declares batches, and fails or returns too few rows
        return all(map(np.array_equal, both, run([0, 1], batched=False)))


def _as_prompts(prompts: Sequence[int], tensor: TensorInfo) -> NDArray[Any]:
    """Prompt ids, or one-hot rows if the graph takes those."""
    if len(tensor.shape) == 1:
        return np.array(prompts, tensor.dtype)
    hot = np.zeros((len(prompts), tensor.shape[1] or 0), tensor.dtype)
    hot[np.arange(len(prompts)), prompts] = 1
    return hot
