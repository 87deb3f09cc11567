"""`wheatear reproduce`: a published table, measured again and compared."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from wheatear.cli.evaluate import as_rich, check_evaluate_extra, show_conditions
from wheatear.errors import LatencyError
from wheatear.model.onnx_session import default_threads
from wheatear.model.store import find_bundle
from wheatear.recognizer.loading import describe_model

_SEVERAL = Parameter(consume_multiple=True, negative="")


def reproduce(
    table: Literal["fleurs", "english"],
    data: Path,
    /,
    *,
    output: Path,
    model: Annotated[tuple[str, ...], _SEVERAL] = (),
    latency: Annotated[tuple[int, ...], _SEVERAL] = (),
    limit: int | None = None,
    threads: int | None = None,
) -> None:
    """Measure a published table of error rates again, and compare.

    Writes comparison.md and comparison.json next to the report of "wheatear evaluate". After Ctrl-C
    the same command continues.

    Parameters
    ----------
    table
        fleurs: NVIDIA's for Nemotron 3.5, 28 languages; english: NVIDIA's and Microsoft's (arXiv
        2604.14493) for the English model, eight sets.
    data
        The folder of FLEURS with a folder for each language; or one with folders ami,
        earnings22, gigaspeech, librispeech-clean, librispeech-other, spgispeech, tedlium and
        voxpopuli, each a corpus that "wheatear evaluate" reads. Missing sets are left out.
    output
        Folder of the report.
    model
        Bundles to measure, such as one of each precision.
    latency
        Milliseconds; default: latencies of the table that the bundles have.
    limit
        Maximum number of recordings of each language or set.
    threads
        Number of threads.
    """
    check_evaluate_extra()
    from wheatear.evaluate.evaluation import Systems, evaluate  # noqa: PLC0415  (an extra)
    from wheatear.evaluate.published.tables import (  # noqa: PLC0415
        COMPARISON,
        TABLES,
        compare,
        overview,
        write_comparison,
    )
    from wheatear.evaluate.runner import EvaluationPlan  # noqa: PLC0415

    wanted = TABLES[table]()
    models = model or (None,)
    known = set(wanted.latencies)
    for name in models:
        manifest = describe_model(find_bundle(name)).manifest
        known &= {mode.latency_ms for mode in manifest.modes}
    if missing := set(latency) - known:
        raise LatencyError(
            f"no {', '.join(map(str, sorted(missing)))} ms in both the table and the models; "
            f"there are {', '.join(map(str, sorted(known)))} ms"
        )
    clips = wanted.read(data)
    counted: dict[str, int] = {}
    chosen = []
    for clip in clips:
        part = clip.fields.get(wanted.by, "") if wanted.by else clip.locale
        counted[part] = counted.get(part, 0) + 1
        if limit is None or counted[part] <= limit:
            chosen.append(clip)
    plan = EvaluationPlan(
        ("whole",), wanted.prompts, turns=0, by=wanted.by, threads=threads or default_threads()
    )
    systems = Systems(models, tuple(sorted(latency or known)))
    with show_conditions() as progress:
        summary = evaluate(
            chosen, systems, plan, output, title=f"{wanted.title}, on {data}",
            command=shlex.join(["wheatear", *sys.argv[1:]]), progress=progress,
        )  # fmt: skip
    found = compare(wanted, summary)
    write_comparison(output, wanted, found)
    Console().print(as_rich(overview(found)))
    print(f"{output / f'{COMPARISON}.md'}, {COMPARISON}.json, report.html, summary.json")
