"""`wheatear evaluate`: error rates, latencies and speed of models on recordings."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from wheatear.cli import BAD_INPUT, complain
from wheatear.cli.signals import interrupts
from wheatear.common.terminal_text import printable
from wheatear.errors import MissingExtraError, WheatearError
from wheatear.model.onnx_session import default_threads

if TYPE_CHECKING:
    from wheatear.evaluate.report import Table as ReportTable
    from wheatear.evaluate.runner import ProgressCallback

_SEVERAL = Parameter(consume_multiple=True, negative="")


def evaluate(
    manifest: Path,
    /,
    *,
    output: Path,
    model: Annotated[tuple[str, ...], _SEVERAL] = (),
    engine: Annotated[tuple[str, ...], _SEVERAL] = (),
    latency: Annotated[tuple[int, ...], _SEVERAL] = (),
    all_latencies: Annotated[bool, Parameter(negative="")] = False,
    mode: Annotated[tuple[Literal["stream", "whole"], ...], _SEVERAL] = ("stream",),
    prompt: Annotated[tuple[Literal["given", "auto"], ...], _SEVERAL] = ("given", "auto"),
    locale: str | None = None,
    only: Annotated[tuple[str, ...], _SEVERAL] = (),
    split: str = "test",
    by: str | None = None,
    limit: int | None = None,
    turns: int = 20,
    pieces: float = 2.0,
    beam: int = 1,
    numbers: Literal["written", "spoken"] = "written",
    fold_accents: Annotated[tuple[str, ...], _SEVERAL] = (),
    against: Path | None = None,
    threads: int | None = None,
) -> int:
    """Measure models on recordings: error rates, latencies, speed.

    Writes summary.json, utterances.jsonl (reference, hypothesis and errors of every utterance),
    report.md and report.html. Stop it with Ctrl-C; the same command goes on. docs/evaluate.md
    says what each figure means. The exit code is 2 where a system could transcribe no recording; a
    few that fail are named, and the figures are of the others.

    Parameters
    ----------
    manifest
        A NeMo manifest (.jsonl), a folder of audio with .txt files beside, or the folder of
        FLEURS, Common Voice, VoxPopuli or LibriSpeech.
    output
        Folder of the report.
    model
        Bundles to measure, such as one of each precision; the model that comes with Wheatear if
        left out.
    engine
        Other engines to measure beside: faster-whisper:MODEL, sherpa-onnx:FOLDER,
        transformers:MODEL, openai:URL#MODEL, python:MODULE:FUNCTION.
    latency
        Milliseconds; the bundle's own default if left out.
    all_latencies
        Every latency of each bundle.
    mode
        Live streams, whole files, or both. The texts of a bundle are the same.
    prompt
        With the language given, left to the model, or both.
    locale
        Of recordings that nothing tells the locale of.
    only
        Locales to measure, of those that there are.
    split
        Part of a corpus that comes in parts.
    by
        Field of the manifest to group recordings by, such as speaker.
    limit
        Most recordings of each locale.
    turns
        Recordings of each locale that the end of turns is timed on; each is heard once more.
    pieces
        Seconds that engines without streams get at a time as their stream.
    beam
        Readings that are followed at a time; 1 is greedy search.
    numbers
        spoken: digits are spelt out before texts are compared, where num2words knows the language.
    fold_accents
        Locales or languages whose references lack accents.
    against
        Folder of an earlier run to tell the differences from.
    threads
        Processors that an engine may use.
    """
    with_extra()
    from wheatear.evaluate.corpora import read_corpus  # noqa: PLC0415
    from wheatear.evaluate.evaluation import Systems, choose  # noqa: PLC0415  (an extra)
    from wheatear.evaluate.evaluation import evaluate as run  # noqa: PLC0415
    from wheatear.evaluate.records import Scoring  # noqa: PLC0415
    from wheatear.evaluate.runner import EvaluationPlan  # noqa: PLC0415

    counts = {"limit": limit, "beam": beam, "threads": threads}
    for name, value in counts.items():
        if value is not None and value < 1:
            raise WheatearError(f"--{name} is {value}; give 1 or more")
    if turns < 0 or pieces < 0.1:
        raise WheatearError("--turns is 0 or more clips, --pieces 0.1 seconds or more")
    corpus = read_corpus(manifest, locale, split)
    clips = choose(corpus.clips, only, limit)
    print(f"{printable(manifest)}: {corpus.layout}, {len(clips)} recordings")
    if corpus.without_text:
        print(f"{corpus.without_text} more have no text and are left out")
    plan = EvaluationPlan(
        mode, prompt, pieces, turns, by, threads or default_threads(),
        Scoring(numbers == "spoken", frozenset(fold_accents)),
    )  # fmt: skip
    systems = Systems(model or (None,), latency, all_latencies, beam, engine)
    with progress() as tell:
        summary = run(
            clips, systems, plan, output, title=f"Evaluation on {manifest}",
            command=shlex.join(["wheatear", *sys.argv[1:]]), before=against, tell=tell,
        )  # fmt: skip
    return show(summary, output, len(clips))


def with_extra() -> None:
    """Raises MissingExtraError where something that evaluating needs is not installed."""
    for module in ("kaldialign", "matplotlib", "num2words", "whisper_normalizer"):
        if find_spec(module) is None:
            raise MissingExtraError(f"evaluating needs {module}: pip install 'wheatear[evaluate]'")


@contextmanager
def progress() -> Iterator[ProgressCallback]:
    """A bar on standard error, or a line for each condition where that is no terminal.

    A signal ends the work between two recordings: what cuts one short may look like its end.
    """
    console, last = Console(stderr=True), ""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    with bar, interrupts.held():
        task = bar.add_task("", total=None)

        def tell(what: str, done: int, of: int) -> None:
            nonlocal last
            interrupts.check()
            if what != last and not console.is_terminal:
                console.print(what, markup=False, soft_wrap=True)
            if what != last:
                bar.reset(task, total=of, description=escape(what))
            last = what
            bar.update(task, completed=done)

        yield tell


def show(summary: dict[str, Any], output: Path, count: int) -> int:
    """Prints the means to standard output, what failed to standard error; returns the exit code.

    count: recordings that were given.
    """
    from wheatear.evaluate.report import side_by_side  # noqa: PLC0415

    console = Console()
    console.print(as_rich(side_by_side(summary, brief=True)))
    print(f"{output / 'report.html'}, report.md, summary.json, utterances.jsonl")
    if failed := {entry["id"]: entry["fault"] for entry in summary["failed"]}:
        for name, fault in list(failed.items())[:5]:
            complain(f"{name}: {fault}")
        complain(f"{len(failed)} of {count} recordings failed, see the report")
    for system in dict.fromkeys(entry["system"] for entry in summary["left_out"]):
        own = [entry for entry in summary["left_out"] if entry["system"] == system]
        told = ", ".join(f"{entry['locale']} ({entry['clips']})" for entry in own)
        complain(f"{system} does not know, and did not hear: {told}")
    rows = summary["rows"]
    some = {row["system"] for row in rows if row["failed"] < row["utterances"] + row["failed"]}
    none = [name for name in dict.fromkeys(row["system"] for row in rows) if name not in some]
    for system in none:
        complain(f"{system} transcribed no recording")
    return BAD_INPUT if none else 0


def as_rich(table: ReportTable) -> Table:
    """A table of the report for a terminal."""
    found = Table(*map(escape, table.heads), box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in table.rows:
        found.add_row(*map(escape, row))
    return found
