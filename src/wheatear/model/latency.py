"""Latency modes: how much of the future each chunk sees, and what that means in frames.

    1 mel frame      10 ms
    1 encoder frame   8 mel frames = 80 ms
    chunk            lookahead + 1 encoder frames; the model answers once per chunk
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
    """One way of running a model: frames of past and of future that attention may use."""

    left: int
    lookahead: int

    @property
    def chunk(self) -> int:
        """Encoder frames per chunk."""
        return self.lookahead + 1

    @property
    def latency_ms(self) -> int:
        return FRAME_MS * self.chunk


def available_modes(contexts: Sequence[tuple[int, int]]) -> tuple[LatencyMode, ...]:
    """Modes of a checkpoint that lists `contexts` ((left, lookahead) pairs), shortest first.

    Of two contexts with the same lookahead the one listed first counts.

    The published lookaheads run from every checkpoint whose left context allows them, listed
    or not: the model card of Nemotron 3.5 gives figures for 160 ms, which its list lacks.
    """
    left = max(left for left, _ in contexts)
    by_lookahead = {r: left for r in PUBLISHED_LOOKAHEADS if left % (r + 1) == 0}
    by_lookahead |= {r: own for own, r in reversed(contexts) if own % (r + 1) == 0}
    return tuple(LatencyMode(own, r) for r, own in sorted(by_lookahead.items()))


def choose_mode(
    modes: Sequence[LatencyMode], default: LatencyMode, latency_ms: int | None
) -> LatencyMode:
    """The mode of that latency; `None` is the checkpoint's own default.

    Raises LatencyError naming the latencies that work.
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
            f"this model has no {latency_ms} ms mode: it runs at {modes[0].latency_ms} ms alone"
        )
    works = ", ".join(str(mode.latency_ms) for mode in modes)
    why = ""
    if isinstance(latency_ms, int) and latency_ms > 0 and latency_ms % FRAME_MS == 0:
        chunk = latency_ms // FRAME_MS
        if default.left % chunk:
            why = (
                f" (its left context of {default.left} frames is not a whole number of "
                f"{chunk}-frame chunks)"
            )
    raise LatencyError(f"this model has no {latency_ms} ms mode{why}; choose one of {works} ms")
