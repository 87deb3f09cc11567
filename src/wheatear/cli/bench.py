"""`wheatear bench`: how fast a model runs on this machine."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter, Token
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from wheatear.bench.chart import check_matplotlib, draw
from wheatear.bench.engines import Wheatear, peer_engines
from wheatear.bench.grid import Grid, measure
from wheatear.bench.machine import describe_machine
from wheatear.bench.measurements import NEMO, NEMO_CPP, ONNXRUNTIME, OURS, SHERPA, Setting
from wheatear.bench.random_model import Progress as Show
from wheatear.bench.random_model import random_bundles
from wheatear.bench.report import describe, print_report, write_json
from wheatear.bench.token_rate import SPEECH
from wheatear.errors import BenchError
from wheatear.model.bundle import open_bundle
from wheatear.model.latency import choose_mode
from wheatear.model.manifest import BundleManifest
from wheatear.model.store import find_bundle

_STREAM_SECONDS, _FILE_SECONDS = 20.0, 60.0


def _split(kind: Any, tokens: Sequence[Token]) -> tuple[Any, ...]:
    """80,560 and --latency 80 --latency 560 are the same."""
    items = [item.strip() for token in tokens for item in token.value.split(",")]
    return tuple(int(item) if kind == tuple[int, ...] else item for item in items)


_LIST = Parameter(converter=_split, negative="")
Numbers = Annotated[tuple[int, ...], _LIST]
Names = Annotated[tuple[str, ...], _LIST]


def speed(
    *,
    random: str | None = None,
    model: str | None = None,
    precision: Names = (),
    latency: Numbers = (),
    streams: Numbers = (1,),
    threads: Numbers = (1,),
    whole: Annotated[bool, Parameter(negative="")] = False,
    seconds: float | None = None,
    rounds: int = 3,
    tokens: float | None = None,
    against: Names = (),
    nemo_python: Path | None = None,
    sherpa_python: Path | None = None,
    nemo_speech_cpp: Path | None = None,
    picture: Path | None = None,
    json: Path | None = None,
) -> None:
    """Measure how fast a model runs on this machine.

    Live streams are fed a chunk at a time, as fast as they are computed. Every combination of
    what you list is measured in a process of its own, in each of several rounds, in turn.
    docs/speed.md tells the method. Leave the machine alone meanwhile.

    Parameters
    ----------
    random
        Random weights of the exact shapes of "nemotron-3.5" or "nemotron-en", made in a minute
        and kept beside the models; "tiny" to try the command.
    model
        Bundle folder or model name; the model that comes with Wheatear if left out.
    precision
        Of random weights: fp32, int8, int4; several as int4,int8. int4 if left out.
    latency
        Milliseconds of each chunk, such as 80,560; all that the model has if left out.
    streams
        Live streams that are computed in a batch, such as 1,8.
    threads
        Processors that an encoder step may use, such as 1,2.
    whole
        Measure a whole file instead of live streams.
    seconds
        Of audio, for each stream and round: 20, or 60 of a file, if left out.
    rounds
        How often each combination is measured.
    tokens
        Tokens that a second of audio is made to bring; 3 for random weights, which emit nonsense,
        and what is recognised for a model.
    against
        Any of onnxruntime,nemo,sherpa,nemo-speech-cpp, measured in the same turns: Wheatear
        without wheatear-native, or a peer on the same random weights, with one stream.
    nemo_python
        The python of an environment with nemo_toolkit[asr].
    sherpa_python
        The python of an environment with sherpa-onnx.
    nemo_speech_cpp
        NeMo-Speech.cpp's library libnemo_speech_asr_c.so.
    picture
        File to draw times and shares into.
    json
        File to write all runs into, as a list.
    """
    _check({"--latency": latency, "--streams": streams, "--threads": threads, "--rounds": [rounds]})
    if seconds is not None and not 0 < seconds < 36_000:
        raise BenchError(f"--seconds is {seconds:g}; give more than 0 and less than 36,000")
    if tokens is not None and not 0 <= tokens <= 100:
        raise BenchError(f"--tokens is {tokens:g}; give 0 to 100 a second")
    measurable = random is not None and not whole and 1 in streams
    given = {NEMO: nemo_python, SHERPA: sherpa_python, NEMO_CPP: nemo_speech_cpp}
    places = _places(against, given, measurable)
    if picture is not None:
        check_matplotlib()
    for path in filter(None, (picture, json)):
        path.open("ab").close()  # now rather than when all has been measured
    with ExitStack() as stack:
        show = stack.enter_context(show_progress())
        name, bundles, manifest = choose_bundles(random, model, precision, show)
        latencies = choose_latencies(manifest, latency)
        usual = _FILE_SECONDS if whole else _STREAM_SECONDS
        rate = SPEECH if random and tokens is None else tokens
        grid = Grid(name, latencies, streams, threads, seconds or usual, whole, rate)
        peers = stack.enter_context(peer_engines(random or "", places, latencies, show))
        machine = describe_machine()
        runs = measure(
            grid.settings([*bundles], against),
            {OURS: Wheatear(bundles), ONNXRUNTIME: Wheatear(bundles, native=False), **peers},
            rounds,
            lambda setting, share: show(_doing(setting), share),
        )
    if json is not None:
        write_json(json, runs, machine)
    console = Console()
    print_report(Console(width=None if console.is_terminal else 160), runs, machine)
    if picture is not None:
        draw(picture, runs, f"{name}: {describe(machine)}")


bench = App(name="bench", help="Measure how fast a model runs on this machine.")
bench.default(speed)
bench.command(speed)
bench.command(
    "wheatear.cli.bench_server:serve",
    name="serve",
    help="Measure how many live streams a server sustains.",
)
bench.command(
    "benchmarks.profiling.operators_command:operators",
    help="Show what the encoder spends its time on, operator by operator.",
)


def choose_bundles(
    random: str | None, model: str | None, asked: Iterable[str], show: Show
) -> tuple[str, dict[str, Path], BundleManifest]:
    """What the model is called, its bundles by precision, and what one of them says of itself."""
    precisions = tuple(dict.fromkeys(asked))
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


def choose_latencies(manifest: BundleManifest, asked: Sequence[int]) -> list[int]:
    """All that the model has, if none are asked for.  Raises LatencyError."""
    for latency_ms in asked:
        choose_mode(manifest.modes, manifest.default_mode, latency_ms)
    return list(asked) or [mode.latency_ms for mode in manifest.modes]


def _check(counts: Mapping[str, Sequence[int]]) -> None:
    for option, values in counts.items():
        if any(value < 1 for value in values):
            raise BenchError(f"{option} has {min(values)}; give numbers from 1 on")


def _places(
    against: Sequence[str], given: Mapping[str, Path | None], measurable: bool
) -> dict[str, Path]:
    """Where each peer is: the Python of an environment with it, or its library."""
    known = (ONNXRUNTIME, *given)
    if unknown := [peer for peer in against if peer not in known]:
        raise BenchError(f"--against has {unknown[0]!r}; it may have {', '.join(known)}")
    if ONNXRUNTIME in against and find_spec("wheatear_native") is None:
        raise BenchError("wheatear-native is not installed: onnxruntime is all there is")
    places = {peer: place for peer, place in given.items() if peer in against and place}
    for peer in against:
        if peer in given and peer not in places:
            if peer == NEMO_CPP:
                raise BenchError(f"--against {peer} needs --{peer}, its library")
            raise BenchError(f"--against {peer} needs --{peer}-python, of an environment with it")
    if NEMO_CPP in places and not places[NEMO_CPP].is_file():
        raise BenchError(f"--{NEMO_CPP}: there is no {places[NEMO_CPP]}")
    if places and not measurable:
        raise BenchError("peers are measured on --random weights with one live stream, only")
    return places


@contextmanager
def show_progress() -> Iterator[Show]:
    """A line of progress on standard error, if that is a terminal."""
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda doing, share: progress.update(task, description=doing, completed=share)


def _doing(setting: Setting) -> str:
    return (
        f"measuring {setting.engine} {setting.precision}, {setting.latency_ms} ms, {setting.load}"
    )
