"""Combinations of settings, measured in turn, round by round."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from wheatear.bench.engines import Engine
from wheatear.bench.measurements import ONNXRUNTIME, WHEATEAR, Measurement, Run, Setting


@dataclass(frozen=True)
class Grid:
    """Values whose combinations are measured."""

    model: str
    latencies_ms: Sequence[int]
    streams: Sequence[int]
    threads: Sequence[int]
    seconds: float
    whole: bool = False
    tokens_per_s: float | None = None

    def settings(
        self,
        precisions: Sequence[str],
        onnxruntime: bool = False,
        rivals: Mapping[str, str] | None = None,
    ) -> list[Setting]:
        """Returns every combination.

        Args:
            precisions: Precisions of Wheatear.
            onnxruntime: True to add Wheatear without wheatear-native.
            rivals: Precision of each rival by its name; rivals run one stream.
        """
        streams = (1,) if self.whole else self.streams
        engines = (WHEATEAR, ONNXRUNTIME) if onnxruntime else (WHEATEAR,)
        variants = [(engine, p, n) for p, n, engine in product(precisions, streams, engines)]
        variants += [(name, precision, 1) for name, precision in (rivals or {}).items()]
        return [
            Setting(
                engine, self.model, precision, latency_ms, count, threads, self.seconds,
                self.whole, self.tokens_per_s,
            )
            for latency_ms, threads in product(self.latencies_ms, self.threads)
            for engine, precision, count in variants
        ]  # fmt: skip


def measure(
    settings: Sequence[Setting],
    engines: Mapping[str, Engine],
    rounds: int,
    progress: Callable[[Setting, float], None],
) -> list[Run]:
    """Measures every setting once per round, every other round in reverse order.

    Other work on the machine and its temperature then affect all settings alike.

    Args:
        settings: Settings to measure.
        engines: Engines by the name in the settings.
        rounds: Measurements of each setting.
        progress: Called with the next setting and the share of work done.

    Raises:
        BenchError: An engine could not be measured.
    """
    measured: dict[Setting, list[Measurement]] = {setting: [] for setting in settings}
    turns = [s for n in range(rounds) for s in (settings if n % 2 == 0 else settings[::-1])]
    for n, setting in enumerate(turns):
        progress(setting, n / len(turns))
        measured[setting].append(engines[setting.engine].measure(setting))
    return [Run(setting, tuple(rounds)) for setting, rounds in measured.items()]
