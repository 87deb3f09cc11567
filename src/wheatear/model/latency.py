"""Latency modes: the attention context of each chunk, in frames and milliseconds.

    1 mel frame      10 ms
    1 encoder frame   8 mel frames = 80 ms
    chunk            lookahead + 1 encoder frames; the model emits tokens once per chunk
    latency          80 ms x chunk

Within a chunk all frames see each other and `left` frames of the past (NeMo's
`chunked_limited` attention). The past is counted in whole chunks, so a mode exists only
where the chunk length divides the left context.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

from wheatear.audio.mel import FRAME_MS
from wheatear.common.arguments import shown
from wheatear.errors import LatencyError

PUBLISHED_LOOKAHEADS = (0, 1, 3, 6, 13)


@dataclass(frozen=True, slots=True)
class LatencyMode:
    """Frames of past (`left`) and future (`lookahead`) that attention uses."""

    left: int
    lookahead: int

    @property
    def chunk(self) -> int:
        """Length of a chunk in encoder frames."""
        return self.lookahead + 1

    @property
    def latency_ms(self) -> int:
        return FRAME_MS * self.chunk


def available_modes(contexts: Sequence[tuple[int, int]]) -> tuple[LatencyMode, ...]:
    """Returns the modes of a checkpoint, shortest first.

    The published lookaheads are available if the left context permits them, listed or not: the
    model card of Nemotron 3.5 has figures for 160 ms, which its list lacks.

    Args:
        contexts: Listed (left, lookahead) pairs; the first of each lookahead counts.
    """
    left = max(left for left, _ in contexts)
    by_lookahead = {r: left for r in PUBLISHED_LOOKAHEADS if left % (r + 1) == 0}
    by_lookahead |= {r: own for own, r in reversed(contexts) if own % (r + 1) == 0}
    return tuple(LatencyMode(own, r) for r, own in sorted(by_lookahead.items()))


def choose_mode(
    modes: Sequence[LatencyMode], default: LatencyMode, latency_ms: int | None
) -> LatencyMode:
    """Returns the mode of a latency, or the default for None.

    Raises:
        LatencyError: The mode does not exist; the message lists the available latencies.
    """
    if latency_ms is None:
        return default
    if not isinstance(latency_ms, Real) or isinstance(latency_ms, bool):
        raise LatencyError(f"latency_ms is {shown(latency_ms)}; give a number of milliseconds")
    for mode in modes:
        if mode.latency_ms == latency_ms:
            return mode
    if len(modes) == 1:
        raise LatencyError(
            f"this model has no {latency_ms} ms mode: it runs at {modes[0].latency_ms} ms only"
        )
    latencies = ", ".join(str(mode.latency_ms) for mode in modes)
    reason = ""
    if isinstance(latency_ms, int) and latency_ms > 0 and latency_ms % FRAME_MS == 0:
        chunk = latency_ms // FRAME_MS
        if default.left % chunk:
            reason = (
                f" (its left context of {default.left} frames is not a whole number of "
                f"{chunk}-frame chunks)"
            )
    raise LatencyError(
        f"this model has no {latency_ms} ms mode{reason}; choose one of {latencies} ms"
    )
