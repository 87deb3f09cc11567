"""The cache-aware encoder: mel frames in, frames for the joint out.

An `EncoderState` holds the mel frames that a stream has yet to encode and the caches of its past;
the encoder is shared. A step takes one chunk of each of many streams, or many chunks of one. It is
computed by `native_backend` where wheatear-native is installed, else by `onnx_backend`; both read
the same bundle and advance the same caches. External graphs have a separate encoder
(`wheatear.recognizer.external.encoder`) with the same queue of mel frames.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from wheatear.audio.mel import MEL_PER_FRAME
from wheatear.common.arrays import Floats
from wheatear.encoder.native_backend import NativeBackend
from wheatear.encoder.onnx_backend import OnnxBackend
from wheatear.encoder.state import (
    LEFT_PADDING,
    EncoderOutput,
    EncoderState,
    LanguagePrompt,
    fresh_state,
    subsampled_length,
)
from wheatear.model.bundle import Bundle
from wheatear.model.latency import LatencyMode
from wheatear.model.native_library import if_native


class ChunkedEncoder(ABC):
    """The chunk schedule that all encoders share: mel frames are queued and encoded in chunks."""

    @abstractmethod
    def start(self, mode: LatencyMode) -> EncoderState:
        """Returns the state before the first sample."""

    def language_prompt(self, prompt_id: int) -> LanguagePrompt:
        """Returns a language for `EncoderState.language`."""
        return LanguagePrompt(prompt_id)

    @abstractmethod
    def step(self, states: Sequence[EncoderState], frames: int) -> list[EncoderOutput]:
        """Encodes the next `frames` frames of each stream, for which all must be `ready`.

        They are one chunk, or the short last one, of any number of streams in any modes, or several
        whole chunks of a single stream.
        """

    def feed(self, state: EncoderState, mel: Floats) -> None:
        """Queues mel frames [n, bands]."""
        state.mel = np.concatenate([state.mel, mel])

    def end(self, state: EncoderState) -> None:
        """Ends the signal: the last chunk may then be short.

        A signal without a single sample has no frames and is not ended.
        """
        state.mel_total = (
            state.frames * MEL_PER_FRAME + len(state.mel) - state.mel_cache - LEFT_PADDING
        )

    def ready(self, state: EncoderState, max_chunks: int) -> int:
        """Returns the number of frames of the next step, 0 if mel frames are missing.

        They are `max_chunks` whole chunks; once the end is known also fewer, and finally the rest.
        """
        chunk = state.mode.chunk
        if state.mel_total is None:
            queued = (len(state.mel) - state.mel_cache) // MEL_PER_FRAME
            return max_chunks * chunk if queued >= max_chunks * chunk else 0
        left = subsampled_length(state.mel_total) - state.frames
        return min(left // chunk, max_chunks) * chunk or left

    def mel_needed(self, state: EncoderState, chunks: int) -> int:
        """Returns the number of mel frames missing for a step of whole chunks."""
        return MEL_PER_FRAME * chunks * state.mode.chunk + state.mel_cache - len(state.mel)


class Encoder(ChunkedEncoder):
    """Encoder of a bundle; safe to use from many threads."""

    def __init__(
        self, bundle: Bundle, threads: int, backend: NativeBackend | OnnxBackend | None = None
    ) -> None:
        """Opens the fastest backend that runs the bundle, if none is given."""
        self._bundle = bundle
        native = backend or if_native(
            bundle, lambda native, isa: NativeBackend(native, bundle, threads, isa)
        )
        self.backend = native or OnnxBackend(bundle, threads)

    def start(self, mode: LatencyMode) -> EncoderState:
        manifest = self._bundle.manifest
        return fresh_state(manifest.encoder, manifest.features.n_mels, mode)

    def language_prompt(self, prompt_id: int) -> LanguagePrompt:
        return LanguagePrompt(prompt_id, self._bundle.language_bias[prompt_id])

    def step(self, states: Sequence[EncoderState], frames: int) -> list[EncoderOutput]:
        chunk = min(frames, states[0].mode.chunk) if len(states) == 1 else frames
        outputs = self.backend.run(states, frames, chunk)
        for state in states:
            state.mel = state.mel[frames * MEL_PER_FRAME :]
            state.frames += frames
        return outputs
