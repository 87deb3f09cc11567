"""`wheatear bench operators`: what the encoder spends its time on."""

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.profiling.encoder_operators import operator_shares
from wheatear.bench.measurements import Setting
from wheatear.bench.token_rate import SPEECH
from wheatear.cli.bench import Numbers, choose_bundles, choose_latencies, show_progress

_LEAST = 0.005  # of the time, at one latency at least, to be shown


def operators(
    *,
    random: str | None = None,
    model: str | None = None,
    precision: str | None = None,
    latency: Numbers = (),
    streams: int = 1,
    threads: int = 1,
    seconds: float = 10.0,
) -> None:
    """Show what the encoder spends its time on in onnxruntime, operator by operator.

    Parameters
    ----------
    random
        Random weights, as in "wheatear bench".
    model
        Bundle folder or model name; the model that comes with Wheatear if left out.
    precision
        Of random weights; int4 if left out.
    latency
        Milliseconds of each chunk, such as 80,560; all that the model has if left out.
    streams
        Live streams that are computed in a batch.
    threads
        Processors that an encoder step may use.
    seconds
        Of audio for each stream.
    """
    rate = SPEECH if random else None
    shares: dict[int, dict[str, float]] = {}
    with show_progress() as show:
        name, bundles, manifest = choose_bundles(random, model, filter(None, [precision]), show)
        ((kind, bundle),) = bundles.items()
        latencies = choose_latencies(manifest, latency)
        for n, ms in enumerate(latencies):
            show(f"profiling at {ms} ms", n / len(latencies))
            setting = Setting("wheatear", name, kind, ms, streams, threads, seconds, False, rate)
            shares[ms] = operator_shares(bundle, setting)
    most: dict[str, float] = {}
    for own in shares.values():
        most |= {operator: max(share, most.get(operator, 0.0)) for operator, share in own.items()}
    table = Table("operator", title="the encoder's time, per cent", box=box.SIMPLE)
    for ms in shares:
        table.add_column(f"{ms} ms", justify="right")
    for operator, share in sorted(most.items(), key=lambda item: -item[1]):
        if share >= _LEAST:
            figures = (100 * own.get(operator, 0.0) for own in shares.values())
            table.add_row(operator, *(f"{figure:.1f}" for figure in figures))
    print(f"{name}, {kind}, streams: {streams}, threads: {threads}")
    Console().print(table)
