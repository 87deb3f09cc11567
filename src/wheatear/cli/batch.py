"""`wheatear transcribe` into a folder: a transcript for each file, jobs that can be gone on with.

Each file's transcript is written as TARGET.partial and gets its name when it is whole, so that what
has its name is done, and what a kill cut off is found beside it with all that was final.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from wheatear.cli import complain
from wheatear.cli.batch_plan import Job
from wheatear.cli.output_options import partial_of
from wheatear.cli.signals import interrupts
from wheatear.cli.transcription import Task, fault_of
from wheatear.common import atomic_files as durable
from wheatear.common.terminal_text import printable
from wheatear.transcript.collector import TranscriptCollector
from wheatear.transcript.results import Event


@dataclass
class Result:
    """What came of a job."""

    job: Job
    state: str = "done"
    duration: float = 0.0
    took: float = 0.0
    words: int = 0
    language: str | None = None
    fault: str = ""
    warnings: tuple[str, ...] = ()


class Batch:
    """Works jobs off, some at a time."""

    def __init__(self, task: Task, overwrite: bool = False) -> None:
        self._task, self._overwrite = task, overwrite
        self._stopped = threading.Event()

    def run(
        self, jobs: Sequence[Job], at_once: int, tell: Callable[[Result], None]
    ) -> list[Result]:
        """Results in the order of the jobs; `tell` is called with each as it is done.

        After a signal the jobs that are running are stopped and the others are not begun.
        """
        results: dict[Job, Result] = {}

        def take(result: Result) -> None:
            results[result.job] = result
            tell(result)

        if at_once == 1:
            for job in jobs:
                take(self._work(job))
        else:
            with ThreadPoolExecutor(at_once) as pool:
                try:
                    for future in as_completed([pool.submit(self._work, job) for job in jobs]):
                        take(future.result())
                except BaseException:
                    self._stopped.set()
                    pool.shutdown(cancel_futures=True)
                    raise
        return [results[job] for job in jobs]

    def _check(self) -> None:
        """Raises KeyboardInterrupt where all jobs are to end."""
        interrupts.check()
        if self._stopped.is_set():
            raise KeyboardInterrupt

    def _work(self, job: Job) -> Result:
        """Transcribes a file; whatever goes wrong with it is in the result."""
        result, begun = Result(job), time.monotonic()
        try:
            self._check()
            if job.fault:
                result.state, result.fault = "failed", job.fault
            elif job.target.is_file() and not self._overwrite:
                result.state = "was done"
            else:
                result.state = "stopped"
                self._transcribe(job, result)
                result.state = "done"
        except KeyboardInterrupt:
            result.state = "stopped" if result.state == "stopped" else "not begun"
        except Exception as error:  # noqa: BLE001  (whatever it is, it is this file's alone)
            if interrupts.number is None:  # else a signal broke it
                result.state, result.fault = "failed", fault_of(error, job.audio)
                self._keep(job, result)
        result.took = time.monotonic() - begun
        return result

    def _keep(self, job: Job, result: Result) -> None:
        """Keeps the partial file of a job that failed if there are words in it."""
        partial = partial_of(job.target)
        if result.words:
            result.fault += f"; what was recognized before is in {partial}"
            result.words = 0
        else:
            with suppress(OSError):
                partial.unlink()

    def _transcribe(self, job: Job, result: Result) -> None:
        """Writes the transcript of a file; a fault leaves a partial file."""
        partial = partial_of(job.target)
        with closing(self._task.open(job.audio, lambda _: None)) as audio:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("w", encoding="utf-8", errors="replace") as out:
                collector = TranscriptCollector(self._task.writer(out, job.audio))

                def follow(event: Event) -> None:
                    collector.add(event)
                    self._check()

                try:
                    result.duration = self._task.run(audio, follow)
                except Exception:
                    collector.close(None, audio.warnings)
                    result.words = collector.word_count
                    raise
                collector.close(result.duration, audio.warnings)
            result.words, result.language = collector.word_count, collector.language
            result.warnings = audio.warnings
            durable.replace(partial, job.target)


def work_off(batch: Batch, jobs: Sequence[Job], at_once: int, output: Path) -> list[Result]:
    """Runs the batch with a bar or lines on standard error, and a table at the end."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("files", total=len(jobs))

        def tell(result: Result) -> None:
            bar.update(task, advance=1)
            for sentence in (*result.warnings, *filter(None, [result.fault])):
                complain(sentence)

        results = batch.run(jobs, at_once, tell)
    console.print(_table(results))
    states = Counter(result.state for result in results)
    if interrupts.number is not None:
        complain("stopped; the same command goes on with what is not done")
    complain(f"wrote {states['done']} of {len(results)} transcripts to {output}")
    return results


def _table(results: Sequence[Result]) -> Table:
    table = Table("file", "", "length", "speed", "words", "language")
    for row in _rows(results):
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _rows(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    for r in results:
        if r.state == "done":
            speed = f"{r.duration / max(r.took, 1e-9):.0f}x"
            length = time.strftime("%H:%M:%S", time.gmtime(r.duration))
            yield r.job.audio, r.state, length, speed, str(r.words), r.language or ""
        else:
            yield r.job.audio, r.state, "", "", "", ""
    states = Counter(r.state for r in results)
    total = sum(r.duration for r in results)
    length = f"{total / 3600:.2f} h"
    words = str(sum(r.words for r in results))
    yield "all", ", ".join(f"{n} {state}" for state, n in states.items()), length, "", words, ""
