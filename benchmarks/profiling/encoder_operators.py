"""Shows the time of the encoder in onnxruntime by operator.

python -m benchmarks.profiling.encoder_operators --random nemotron-3.5 --latency 80,560
"""

import gc
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnxruntime as ort
from cyclopts import App
from rich import box
from rich.console import Console
from rich.table import Table

from wheatear.bench.measurements import WHEATEAR, Setting
from wheatear.bench.token_rate import SPEECH
from wheatear.bench.worker import time_streams
from wheatear.cli.bench import Numbers, choose_bundles, choose_latencies
from wheatear.cli.progress import show_steps
from wheatear.errors import WheatearError
from wheatear.model.bundle import ENCODER
from wheatear.model.native_library import use_native
from wheatear.recognizer.recognizer import load

BETWEEN = "between nodes"
_MIN_SHARE = 0.005  # at one latency or more, of operators in the table


def operator_shares(bundle: Path, setting: Setting) -> dict[str, float]:
    """Shares of the encoder's time by operator, and by the size of products with weights.

    `BETWEEN` is the time that onnxruntime spends between nodes, which profiling increases.
    """
    graph = Path(ENCODER).stem
    with tempfile.TemporaryDirectory() as folder:
        with _profiled_sessions(Path(folder)):
            recognizer = load(bundle, threads=setting.threads)
        time_streams(recognizer, setting, {})
        del recognizer
        gc.collect()  # a session writes its profile when it is deleted
        (profile,) = Path(folder).glob(f"{graph}_*.json")
        return _shares(json.loads(profile.read_text(encoding="utf-8")))


@contextmanager
def _profiled_sessions(folder: Path) -> Iterator[None]:
    """Makes sessions opened in the block write a profile named after their graph.

    wheatear-native is disabled, so that the encoder is one of the sessions.
    """
    plain = ort.InferenceSession

    class Profiled(plain):
        def __init__(self, path: Path, options: ort.SessionOptions, **more: Any) -> None:
            options.enable_profiling = True
            options.profile_file_prefix = str(folder / path.stem)
            super().__init__(path, options, **more)

    ort.InferenceSession = Profiled
    try:
        with use_native("0"):
            yield
    finally:
        ort.InferenceSession = plain


def _shares(events: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Shares by operator, the largest first."""
    total = 0.0
    kernels: dict[str, float] = defaultdict(float)
    for event in events:
        if event["name"] == "model_run":
            total += event["dur"]
        elif event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            kernels[_operator(event["args"])] += event["dur"]
    del kernels["If"]  # its branches are in the profile themselves
    kernels[BETWEEN] = total - sum(kernels.values())
    shares = {name: spent / total for name, spent in kernels.items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _operator(node: Mapping[str, Any]) -> str:
    """Name of the operator, with the size of its weights for a product with packed weights."""
    name = node["op_name"]
    if name != "MatMulNBits":
        return name
    inputs, outputs = (
        next(iter(node[f"{side}_type_shape"][0].values()))[-1] for side in ("input", "output")
    )
    return f"{name} {inputs} x {outputs}"


def profile(
    *,
    random: str | None = None,
    model: str | None = None,
    precision: str | None = None,
    latency: Numbers = (),
    streams: int = 1,
    threads: int = 1,
    seconds: float = 10.0,
) -> None:
    """Show the time of the encoder in onnxruntime by operator.

    Parameters
    ----------
    random
        Random weights, as for "wheatear bench".
    model
        Bundle folder or model name; default: the shipped model.
    precision
        Precision of random weights; default: int4.
    latency
        Milliseconds of a chunk, such as 80,560; default: all latencies of the model.
    streams
        Number of live streams computed in a batch.
    threads
        Number of threads of an encoder step.
    seconds
        Seconds of audio per stream.
    """
    rate = SPEECH if random else None
    shares: dict[int, dict[str, float]] = {}
    with show_steps() as show:
        name, bundles, manifest = choose_bundles(random, model, filter(None, [precision]), show)
        ((kind, bundle),) = bundles.items()
        latencies = choose_latencies(manifest, latency)
        for n, ms in enumerate(latencies):
            show(f"profiling at {ms} ms", n / len(latencies))
            setting = Setting(WHEATEAR, name, kind, ms, streams, threads, seconds, False, rate)
            shares[ms] = operator_shares(bundle, setting)
    largest: dict[str, float] = defaultdict(float)
    for own in shares.values():
        for operator, share in own.items():
            largest[operator] = max(share, largest[operator])
    table = Table("operator", title="the encoder's time, percent", box=box.SIMPLE)
    for ms in shares:
        table.add_column(f"{ms} ms", justify="right")
    for operator, share in sorted(largest.items(), key=lambda item: -item[1]):
        if share >= _MIN_SHARE:
            figures = (100 * own.get(operator, 0.0) for own in shares.values())
            table.add_row(operator, *(f"{figure:.1f}" for figure in figures))
    print(f"{name}, {kind}, streams: {streams}, threads: {threads}")
    Console().print(table)


if __name__ == "__main__":
    app = App(name="encoder_operators")
    app.default(profile)
    try:
        app()
    except (WheatearError, OSError) as error:
        sys.exit(f"encoder_operators: {error}")
