"""`wheatear bench`: speed of a model on this machine."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter, Token
from rich.console import Console

from wheatear.bench.chart import draw_chart
from wheatear.bench.engines import Rival, Wheatear
from wheatear.bench.grid import Grid, measure
from wheatear.bench.machine import describe_machine
from wheatear.bench.measurements import ONNXRUNTIME, WHEATEAR, Setting
from wheatear.bench.random_model import ProgressCallback, random_bundles
from wheatear.bench.report import machine_text, print_report, write_json
from wheatear.bench.token_rate import SPEECH
from wheatear.cli.extras import check_extra
from wheatear.cli.progress import show_steps
from wheatear.errors import BenchError
from wheatear.model.bundle import open_bundle
from wheatear.model.latency import choose_mode
from wheatear.model.manifest import BundleManifest
from wheatear.model.store import find_bundle

_STREAM_SECONDS, _FILE_SECONDS = 20.0, 60.0


def _split(kind: Any, tokens: Sequence[Token]) -> tuple[Any, ...]:
    """Accepts lists such as 80,560 and repeated options alike."""
    items = [item.strip() for token in tokens for item in token.value.split(",")]
    return tuple(int(item) if kind == tuple[int, ...] else item for item in items)


_LIST = Parameter(converter=_split, negative="")
Numbers = Annotated[tuple[int, ...], _LIST]
Names = Annotated[tuple[str, ...], _LIST]


@Parameter(name="*")
@dataclass(frozen=True)
class SpeedOptions:
    """Options of a speed measurement.

    Parameters
    ----------
    random
        Random weights in the exact shapes of "nemotron-3.5" or "nemotron-en", made in a minute and
        kept next to the models; "tiny" to try the command.
    model
        Bundle folder or model name; default: the shipped model.
    precision
        Precisions of random weights: fp32, int8, int4; several as int4,int8; default: int4.
    latency
        Milliseconds of a chunk, such as 80,560; default: all latencies of the model.
    streams
        Number of live streams computed in a batch, such as 1,8.
    threads
        Number of threads of an encoder step, such as 1,2.
    whole
        Measure a whole file instead of live streams.
    seconds
        Seconds of audio per stream and round; default: 20, or 60 for a file.
    rounds
        Number of measurements of each combination.
    tokens
        Tokens emitted per second of audio; default: 3 for random weights, which emit nonsense, and
        the recognized tokens for a model.
    picture
        File for a chart of times and shares.
    json
        File for all runs, as a list.
    """

    random: str | None = None
    model: str | None = None
    precision: Names = ()
    latency: Numbers = ()
    streams: Numbers = (1,)
    threads: Numbers = (1,)
    whole: Annotated[bool, Parameter(negative="")] = False
    seconds: float | None = None
    rounds: int = 3
    tokens: float | None = None
    picture: Path | None = None
    json: Path | None = None

    def check(self) -> None:
        """Raises BenchError for values out of range."""
        counts = {"latency": self.latency, "streams": self.streams, "threads": self.threads}
        for option, values in {**counts, "rounds": (self.rounds,)}.items():
            if any(value < 1 for value in values):
                raise BenchError(f"--{option} has {min(values)}; give numbers from 1 on")
        if self.seconds is not None and not 0 < self.seconds < 36_000:
            raise BenchError(f"--seconds is {self.seconds:g}; give more than 0, less than 36,000")
        if self.tokens is not None and not 0 <= self.tokens <= 100:
            raise BenchError(f"--tokens is {self.tokens:g}; give 0 to 100 per second")


def speed(
    *,
    options: SpeedOptions = SpeedOptions(),
    against: Annotated[Literal["onnxruntime"] | None, Parameter(negative="")] = None,
) -> None:
    """Measure the speed of a model on this machine.

    Live streams receive a chunk at a time, as fast as chunks are computed. Each combination of the
    listed values is measured in a separate process. Rounds alternate.
    docs/speed.md describes the method. Run nothing else on the machine.

    Parameters
    ----------
    against
        onnxruntime: measure Wheatear without wheatear-native as well.
    """
    measure_speed(options, against is not None)


bench = App(name="bench", help="Measure the speed of a model on this machine.")
bench.default(speed)
bench.command(speed)
bench.command(
    "wheatear.cli.bench_server:serve",
    name="serve",
    help="Measure the number of live streams that a server sustains.",
)

OpenRivals = Callable[
    [Sequence[int], ProgressCallback], AbstractContextManager[Mapping[str, Rival]]
]
"""Opens rivals by name, for some latencies."""


def measure_speed(
    options: SpeedOptions, onnxruntime: bool, open_rivals: OpenRivals | None = None
) -> None:
    """Measures, prints the report, writes JSON and chart.

    Args:
        options: Options of the command line.
        onnxruntime: True to measure Wheatear without wheatear-native as well.
        open_rivals: Opens other engines, measured in the same rounds.

    Raises:
        WheatearError: Options are invalid, or an engine cannot be measured.
        OSError: A file cannot be written.
    """
    options.check()
    if onnxruntime and find_spec("wheatear_native") is None:
        raise BenchError("wheatear-native is not installed: onnxruntime runs in any case")
    if options.picture is not None:
        check_extra("evaluate", "a picture", ["matplotlib"])
    for path in filter(None, (options.picture, options.json)):
        path.open("ab").close()  # fails before the measurement
    with ExitStack() as stack:
        show = stack.enter_context(show_steps())
        name, bundles, manifest = choose_bundles(
            options.random, options.model, options.precision, show
        )
        latencies = choose_latencies(manifest, options.latency)
        seconds = options.seconds or (_FILE_SECONDS if options.whole else _STREAM_SECONDS)
        tokens = SPEECH if options.random and options.tokens is None else options.tokens
        grid = Grid(
            name, latencies, options.streams, options.threads, seconds, options.whole, tokens
        )
        rivals = stack.enter_context(open_rivals(latencies, show)) if open_rivals else {}
        machine = describe_machine()
        precisions = {key: rival.precision for key, rival in rivals.items()}
        runs = measure(
            grid.settings([*bundles], onnxruntime, precisions),
            {WHEATEAR: Wheatear(bundles), ONNXRUNTIME: Wheatear(bundles, native=False), **rivals},
            options.rounds,
            lambda setting, share: show(_step_text(setting), share),
        )
    if options.json is not None:
        write_json(options.json, runs, machine)
    console = Console()
    print_report(Console(width=None if console.is_terminal else 160), runs, machine)
    if options.picture is not None:
        draw_chart(options.picture, runs, f"{name}: {machine_text(machine)}")


def choose_bundles(
    random: str | None, model: str | None, precision: Iterable[str], show: ProgressCallback
) -> tuple[str, dict[str, Path], BundleManifest]:
    """Returns the name of the model, its bundles by precision, and the manifest of one of them."""
    precisions = tuple(dict.fromkeys(precision))
    if random is None:
        if precisions:
            raise BenchError("a model has the precision it was converted to: give no --precision")
        path = find_bundle(model)
        manifest = open_bundle(path).manifest
        return manifest.name, {manifest.precision: path}, manifest
    if model is not None:
        raise BenchError("give --random or --model, not both")
    precisions = precisions or ("int4",)
    paths = random_bundles(random, precisions, show)
    manifest = open_bundle(paths[0]).manifest
    return manifest.name, dict(zip(precisions, paths, strict=True)), manifest


def choose_latencies(manifest: BundleManifest, requested: Sequence[int]) -> list[int]:
    """The requested latencies, or all of the model.  Raises LatencyError."""
    for latency_ms in requested:
        choose_mode(manifest.modes, manifest.default_mode, latency_ms)
    return list(requested) or [mode.latency_ms for mode in manifest.modes]


def _step_text(setting: Setting) -> str:
    return (
        f"measuring {setting.engine} {setting.precision}, {setting.latency_ms} ms, {setting.size}"
    )
