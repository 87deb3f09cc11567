"""Measures many settings in turn, round by round."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from wheatear.bench.engines import PEER_PRECISIONS, Engine
from wheatear.bench.measurements import ONNXRUNTIME, OURS, Run, Setting, Taken


@dataclass(frozen=True)
class Grid:
    """What is combined with what."""

    model: str
    latencies_ms: Sequence[int]
    streams: Sequence[int]
    threads: Sequence[int]
    seconds: float
    whole: bool = False
    tokens_per_s: float | None = None

    def settings(self, precisions: Sequence[str], peers: Sequence[str] = ()) -> list[Setting]:
        """Of Wheatear in these precisions, and of peers: those that are not Wheatear itself have
        a precision of their own and one stream.
        """
        streams = (1,) if self.whole else self.streams
        ours = [
            (engine, precision, count)
            for precision in precisions
            for count in streams
            for engine in (OURS, *({ONNXRUNTIME} & set(peers)))
        ]
        theirs = [(peer, PEER_PRECISIONS[peer], 1) for peer in peers if peer in PEER_PRECISIONS]
        return [
            Setting(
                engine, self.model, precision, latency_ms, count, threads, self.seconds,
                self.whole, self.tokens_per_s,
            )
            for latency_ms, threads in product(self.latencies_ms, self.threads)
            for engine, precision, count in [*ours, *theirs]
        ]  # fmt: skip


def measure(
    settings: Sequence[Setting],
    engines: Mapping[str, Engine],
    rounds: int,
    progress: Callable[[Setting, float], None],
) -> list[Run]:
    """All settings once in each round, every other round backwards, so that whatever else the
    machine does, or how warm it gets, hits all of them alike.

    `progress` is called with what is measured next and the share that is done. Raises BenchError.
    """
    taken: dict[Setting, list[Taken]] = {setting: [] for setting in settings}
    turns = [s for n in range(rounds) for s in (settings if n % 2 == 0 else settings[::-1])]
    for n, setting in enumerate(turns):
        progress(setting, n / len(turns))
        taken[setting].append(engines[setting.engine].take(setting))
    return [Run(setting, tuple(rounds)) for setting, rounds in taken.items()]
