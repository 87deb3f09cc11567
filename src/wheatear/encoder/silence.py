"""Silence that needs no computing: when a stream of digital silence provably says nothing more.

Digital silence makes every mel frame the same.  What an encoder layer remembers of frame f then
depends, layer by layer, on f mod left alone, f's place in the ring of keys and values: attention
sees the same values at the same places, the convolution the frames before it.  So once silence is
older than all that the layers can see, each step writes into the ring what is there already, and
the convolutions' caches repeat with the ring.

That is observed, not believed: over one turn of the ring the state at every step is kept, over the
next one it is compared, bit by bit.  If it is the same and not a token was emitted meanwhile, the
turns to come can bring nothing else (the predictor moves by tokens alone), and steps are counted
instead of computed until something other than silence arrives.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from wheatear.audio.mel import LOG_GUARD, MEL_PER_FRAME
from wheatear.common.arrays import Floats
from wheatear.encoder.state import EncoderState
from wheatear.model.latency import LatencyMode
from wheatear.model.manifest import EncoderShape

_SILENT = np.float32(np.log(LOG_GUARD))


@dataclass
class _Cycle:
    """The states that silence goes through, by place in the ring; shared by all streams."""

    keys_values: Floats
    conv: dict[int, Floats] = field(default_factory=dict)


@dataclass
class Idling:
    """How long a stream has been silent."""

    step: tuple[LatencyMode, int] | None = None
    """Of what size the silent steps have been."""
    silent: int = 0
    """Frames of silence alone."""
    same: int = 0
    """The last of them, through which the state repeated and no token came."""
    cycle: _Cycle | None = None
    skipping: bool = False

    def reset(self) -> None:
        """Something was heard."""
        self.step = self.cycle = None
        self.silent = self.same = 0
        self.skipping = False


class Silence:
    """Watches the streams of one encoder; safe to use from threads."""

    def __init__(self, shape: EncoderShape) -> None:
        self._left = shape.left
        self._reach = shape.layers * (shape.left + shape.kernel)
        self._cycles: dict[tuple[LatencyMode, int], _Cycle] = {}

    def skips(self, idling: Idling, state: EncoderState, frames: int) -> bool:
        """Whether the next step of so many frames says nothing and need not be computed.

        If so, it is counted as done; if not, the state is as if all had been computed.
        """
        if not idling.skipping:
            return False
        if idling.step != (state.mode, frames) or not is_silent(state, frames):
            self.wake(idling, state)
            return False
        state.mel = state.mel[frames * MEL_PER_FRAME :]
        state.frames += frames
        return True

    def watch(self, idling: Idling, state: EncoderState, frames: int, spoke: bool) -> None:
        """A step of silence was computed.  spoke: whether it brought a token all the same."""
        step = (state.mode, frames)
        if idling.step != step:
            idling.reset()
            idling.step = step
        idling.silent += frames
        if idling.silent < self._reach:
            return
        cycle, place = self._cycles.get(step), state.frames % self._left
        if cycle is None or not (
            np.array_equal(cycle.keys_values, state.keys_values)
            and np.array_equal(cycle.conv.setdefault(place, state.conv), state.conv)
        ):
            cycle = _Cycle(state.keys_values.copy(), {place: state.conv})
            self._cycles[step], idling.same = cycle, 0
        idling.cycle = cycle
        idling.same = 0 if spoke else idling.same + frames
        # One turn to be kept, one to be compared, from whatever place it began.
        idling.skipping = idling.same > 2 * math.lcm(self._left, frames)

    def wake(self, idling: Idling, state: EncoderState) -> None:
        """Puts the state right after steps that were counted only; silence begins anew."""
        if idling.skipping and idling.cycle is not None:
            state.conv = idling.cycle.conv[state.frames % self._left]
        idling.reset()


def is_silent(state: EncoderState, frames: int) -> bool:
    """Whether all that the next step of so many frames looks at is digital silence."""
    window = state.mel[: frames * MEL_PER_FRAME + state.past]
    return state.mel_total is None and bool((window == _SILENT).all())
