"""`wheatear evaluate`: error rates, latencies and speed of models on recordings."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from wheatear.cli.extras import check_extra
from wheatear.cli.messages import BAD_INPUT, print_error
from wheatear.cli.progress import progress_bar
from wheatear.cli.signals import interrupts
from wheatear.common.terminal_text import printable
from wheatear.errors import WheatearError
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
    report.md and report.html. After Ctrl-C the same command continues. docs/evaluate.md describes
    each figure. The exit code is 2 if a system could transcribe no recording; single recordings
    that fail are listed and not part of any figure.

    Parameters
    ----------
    manifest
        A NeMo manifest (.jsonl), a folder of audio with .txt files of the same names, or the folder
        of FLEURS, Common Voice, VoxPopuli or LibriSpeech.
    output
        Folder of the report.
    model
        Bundles to measure, such as one of each precision; default: the shipped model.
    engine
        Other engines to measure: faster-whisper:MODEL, sherpa-onnx:FOLDER, transformers:MODEL,
        openai:URL#MODEL, python:MODULE:FUNCTION.
    latency
        Milliseconds; default: the bundle's default.
    all_latencies
        Measure every latency of each bundle.
    mode
        Live streams, whole files, or both. A bundle emits the same text in both modes.
    prompt
        Language given, detected by the model, or both.
    locale
        Locale of recordings without one.
    only
        Locales to measure.
    split
        Part of a corpus that is published in parts.
    by
        Field of the manifest to group recordings by, such as speaker.
    limit
        Maximum number of recordings of each locale.
    turns
        Number of recordings of each locale whose end of turn is timed, in a second run of each.
    pieces
        Window of engines without streams, in seconds.
    beam
        Beam width; 1 is greedy search.
    numbers
        spoken: spell digits out before texts are compared, where num2words knows the language.
    fold_accents
        Locales or languages whose references lack accents.
    against
        Folder of an earlier run to compare with.
    threads
        Number of threads of an engine.
    """
    check_evaluate_extra()
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
        raise WheatearError("give --turns from 0 and --pieces from 0.1 on")
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
    with show_conditions() as progress:
        summary = run(
            clips, systems, plan, output, title=f"Evaluation on {manifest}",
            command=shlex.join(["wheatear", *sys.argv[1:]]), before=against,
            progress=progress,
        )  # fmt: skip
    return show(summary, output, len(clips))


def check_evaluate_extra() -> None:
    """Raises MissingExtraError if a package of the extra `evaluate` is not installed."""
    modules = ("kaldialign", "matplotlib", "num2words", "whisper_normalizer")
    check_extra("evaluate", "evaluating", modules)


@contextmanager
def show_conditions() -> Iterator[ProgressCallback]:
    """A bar on standard error; without a terminal a line for each condition.

    A signal ends the work between two recordings, since an interrupted engine may return as usual.
    """
    last = ""
    bar = progress_bar(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )
    console = bar.console
    with bar, interrupts.deferred():
        task = bar.add_task("", total=None)

        def update(label: str, done: int, total: int) -> None:
            nonlocal last
            interrupts.check()
            if label != last and not console.is_terminal:
                console.print(label, markup=False, soft_wrap=True)
            if label != last:
                bar.reset(task, total=total, description=escape(label))
            last = label
            bar.update(task, completed=done)

        yield update


def show(summary: dict[str, Any], output: Path, count: int) -> int:
    """Prints means to standard output, failures to standard error; returns the exit code."""
    from wheatear.evaluate.report import side_by_side  # noqa: PLC0415

    Console().print(as_rich(side_by_side(summary, brief=True)))
    print(f"{output / 'report.html'}, report.md, summary.json, utterances.jsonl")
    if failed := {entry["id"]: entry["fault"] for entry in summary["failed"]}:
        for name, fault in list(failed.items())[:5]:
            print_error(f"{name}: {fault}")
        print_error(f"{len(failed)} of {count} recordings failed, see the report")
    for system in dict.fromkeys(entry["system"] for entry in summary["left_out"]):
        own = [entry for entry in summary["left_out"] if entry["system"] == system]
        locales = ", ".join(f"{entry['locale']} ({entry['clips']})" for entry in own)
        print_error(f"{system} has no language for these recordings, left out: {locales}")
    rows = summary["rows"]
    working = {row["system"] for row in rows if row["utterances"]}
    broken = [name for name in dict.fromkeys(row["system"] for row in rows) if name not in working]
    for system in broken:
        print_error(f"{system} transcribed no recording")
    return BAD_INPUT if broken else 0


def as_rich(table: ReportTable) -> Table:
    """A table of the report for a terminal."""
    found = Table(*map(escape, table.heads), box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in table.rows:
        found.add_row(*map(escape, row))
    return found
