"""Skips the computation of digital silence once it provably brings no further token.

Digital silence makes all mel frames equal. In each layer the cache for frame f then depends only on
f mod left, the slot of f in the ring of keys and values. Attention sees the same values in the same
slots, and the convolution sees the frames before them. Once the silence exceeds the receptive field
of all layers, each step writes values that the ring already holds. The convolutions' caches repeat
with the ring.

That is verified, not assumed. The states of one cycle of the ring are kept, and the states of the
next cycle are compared with them, bit by bit. If they are equal and no token was emitted in
between, no later cycle can differ, since only tokens advance the predictor. Steps are then counted
and not computed until other samples arrive.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from wheatear.audio.mel import LOG_GUARD, MEL_PER_FRAME
from wheatear.common.arrays import Floats
from wheatear.encoder.state import EncoderState
from wheatear.model.latency import LatencyMode
from wheatear.model.manifest import EncoderShape

_SILENT_MEL = np.float32(np.log(LOG_GUARD))


@dataclass(eq=False)
class _Cycle:
    """Caches that silence passes through, by slot of the ring; shared by all streams."""

    keys_values: Floats
    conv: dict[int, Floats] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class SilenceState:
    """The silence of one stream up to now."""

    step: tuple[LatencyMode, int] | None = None
    """Mode and frames of the silent steps."""
    silent_frames: int = 0
    repeated_frames: int = 0
    """The last of the silent frames, in which the caches repeated and no token came."""
    cycle: _Cycle | None = None
    skipping: bool = False
    """True if further silent steps need no computing."""

    def reset(self) -> None:
        """Ends the silence."""
        self.step = self.cycle = None
        self.silent_frames = self.repeated_frames = 0
        self.skipping = False


class SilenceSkipper:
    """Observes the streams of one encoder; safe to use from many threads."""

    def __init__(self, shape: EncoderShape) -> None:
        self._left = shape.left
        self._reach = shape.layers * (shape.left + shape.kernel)
        self._cycles: dict[tuple[LatencyMode, int], _Cycle] = {}

    def skip(self, silence: SilenceState, state: EncoderState, frames: int) -> bool:
        """Skips the next step of `frames` frames; False if it must be computed.

        In that case the state is as if all steps had been computed.
        """
        if not silence.skipping:
            return False
        if silence.step != (state.mode, frames) or not is_silent(state, frames):
            self.restore(silence, state)
            return False
        state.mel = state.mel[frames * MEL_PER_FRAME :]
        state.frames += frames
        return True

    def observe(
        self, silence: SilenceState, state: EncoderState, frames: int, emitted: bool
    ) -> None:
        """Records a silent step that was computed. `emitted`: True if it brought a token."""
        step = (state.mode, frames)
        if silence.step != step:
            silence.reset()
            silence.step = step
        silence.silent_frames += frames
        if silence.silent_frames < self._reach:
            return
        cycle, slot = self._cycles.get(step), state.frames % self._left
        if cycle is None or not (
            np.array_equal(cycle.keys_values, state.keys_values)
            and np.array_equal(cycle.conv.setdefault(slot, state.conv), state.conv)
        ):
            cycle = _Cycle(state.keys_values.copy(), {slot: state.conv})
            self._cycles[step], silence.repeated_frames = cycle, 0
        silence.cycle = cycle
        silence.repeated_frames = 0 if emitted else silence.repeated_frames + frames
        # One turn to keep, one to compare, from whatever slot it began.
        silence.skipping = silence.repeated_frames > 2 * math.lcm(self._left, frames)

    def restore(self, silence: SilenceState, state: EncoderState) -> None:
        """Sets the caches to their values after the skipped steps and ends the silence."""
        if silence.skipping and silence.cycle is not None:
            state.conv = silence.cycle.conv[state.frames % self._left]
        silence.reset()


def is_silent(state: EncoderState, frames: int) -> bool:
    """True if the next step of `frames` frames reads digital silence only."""
    window = state.mel[: frames * MEL_PER_FRAME + state.mel_cache]
    return state.mel_total is None and bool((window == _SILENT_MEL).all())
