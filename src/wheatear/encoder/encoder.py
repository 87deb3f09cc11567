"""The cache-aware encoder: mel frames in, projected frames out, everything remembered in a state.

What a stream has yet to encode and what later frames may look back at is in its `EncoderState`;
the `Encoder` is shared. A step takes one chunk of each of many streams, or many chunks of one. It
is computed by `native_step` where wheatear-native is installed, and else by `graph_step`; both
read the same bundle and move the same caches. Graphs that others exported have an encoder of
their own (`wheatear.recognizer.external.package`), with the same queue of mel frames before it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from wheatear.audio.mel import MEL_PER_FRAME
from wheatear.common.arrays import Floats
from wheatear.encoder.native_backend import NativeStep
from wheatear.encoder.onnx_backend import GraphStep
from wheatear.encoder.state import BEFORE_START, Encoded, EncoderState, frames_of, fresh_state
from wheatear.model.bundle import Bundle
from wheatear.model.latency import LatencyMode
from wheatear.model.manifest import EncoderShape
from wheatear.model.native_library import if_native


class ChunkedEncoder(ABC):
    """What encoders have in common: mel frames are queued, and chunks of them encoded."""

    @abstractmethod
    def start(self, mode: LatencyMode) -> EncoderState:
        """The state before the first sample."""

    @abstractmethod
    def language(self, prompt: int) -> Any:
        """What `step` takes for a language, given the id of its prompt."""

    @abstractmethod
    def step(
        self, states: Sequence[EncoderState], frames: int, languages: Sequence[Any]
    ) -> list[Encoded]:
        """Encodes the next `frames` frames of each stream; `ready` must allow them.

        Either one chunk (or a short last one) of any number of streams, whatever their modes,
        or several whole chunks of a single stream. `languages` are what `language` gave, or None
        for models without a language prompt.
        """

    def feed(self, state: EncoderState, mel: Floats) -> None:
        """Appends mel frames [n, bands] to what the stream has yet to encode."""
        state.mel = np.concatenate([state.mel, mel])

    def end(self, state: EncoderState) -> None:
        """Says that no more mel will come: the last chunk may then be short.

        Not for a signal without a single sample, which has no frames at all.
        """
        state.mel_total = state.frames * MEL_PER_FRAME + len(state.mel) - state.past - BEFORE_START

    def ready(self, state: EncoderState, most_chunks: int) -> int:
        """Frames that the next step should encode: `most_chunks` whole chunks; once the end is
        known also fewer, and at last the rest. 0 as long as there is nothing to do.
        """
        chunk = state.mode.chunk
        if state.mel_total is None:
            waiting = (len(state.mel) - state.past) // MEL_PER_FRAME
            return most_chunks * chunk if waiting >= most_chunks * chunk else 0
        left = frames_of(state.mel_total) - state.frames
        return min(left // chunk, most_chunks) * chunk or left

    def wants(self, state: EncoderState, chunks: int) -> int:
        """Mel frames that must come before a step of so many whole chunks is ready."""
        return MEL_PER_FRAME * chunks * state.mode.chunk + state.past - len(state.mel)


class Encoder(ChunkedEncoder):
    """Runs a bundle's encoder; shared by all streams and safe to use from many threads."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self.bundle = bundle
        self.shape: EncoderShape = bundle.manifest.encoder
        native = if_native(bundle, lambda native, path: NativeStep(native, bundle, threads, path))
        self._step = native or GraphStep(bundle, threads)

    def start(self, mode: LatencyMode) -> EncoderState:
        return fresh_state(self.shape, self.bundle.manifest.features.n_mels, mode)

    def language(self, prompt: int) -> Floats:
        """A bias vector [2 width]."""
        return self.bundle.language_bias[prompt]

    def step(
        self, states: Sequence[EncoderState], frames: int, languages: Sequence[Floats | None]
    ) -> list[Encoded]:
        chunk = min(frames, states[0].mode.chunk) if len(states) == 1 else frames
        encoded = self._step.run(states, frames, chunk, languages)
        for state in states:
            state.mel = state.mel[frames * MEL_PER_FRAME :]
            state.frames += frames
        return encoded
