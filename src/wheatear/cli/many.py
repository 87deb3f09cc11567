"""`wheatear transcribe` on folders and on several files at a time: jobs that can be gone on with.

Each file's transcript is written as TARGET.partial and gets its name when it is whole, so that what
has its name is done, and what a kill cut off is found beside it with all that was final.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from wheatear import media
from wheatear.audio import open_audio
from wheatear.cli.task import Task, spaced
from wheatear.errors import AudioError, WheatearError
from wheatear.formats import Format
from wheatear.results import Event, Final, Transcript

_SUFFIXES = frozenset(
    [
        *(".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64"),
        *(".w64", ".wav"),
    ]
)  # what is taken from a folder
_SUFFIX_OF = {"verbose_json": "json"}


@dataclass(frozen=True)
class Job:
    """One file and where its transcript goes."""

    audio: Path
    target: Path


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


def jobs_of(inputs: Sequence[str], output: Path | None, form: Format, recursive: bool) -> list[Job]:
    """The files that are meant, each with a transcript of its own in the folder `output`.

    Folders are kept as they are: sub/a.wav becomes OUTPUT/sub/a.srt, or a.wav.srt where there is
    an a.mp3 as well.  Raises AudioError for what is not there and for a missing folder.
    """
    if output is None or output.is_file():
        raise AudioError("several files at a time need a folder to write to: give --output FOLDER")
    found: list[tuple[Path, Path]] = []  # audio, and its path in the output
    suffixes = _SUFFIXES | media.SUFFIXES if media.is_installed() else _SUFFIXES
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            inside = sorted(path.rglob("*") if recursive else path.iterdir())
            audio = [p for p in inside if p.suffix.lower() in suffixes and p.is_file()]
            if not audio:
                deeper = "" if recursive else "; --recursive looks into its folders"
                raise AudioError(f"there is no audio file in {path}{deeper}")
            found += [(p, p.relative_to(path)) for p in audio]
        elif path.is_file():
            found.append((path, Path(path.name)))
        else:
            raise AudioError(f"there is no file {path}")
    found = list({audio.resolve(): (audio, inside) for audio, inside in found}.values())
    suffix = _SUFFIX_OF.get(form, form)
    same = Counter(inside.with_suffix("") for _, inside in found)
    taken: set[Path] = set()
    jobs = []
    for audio, inside in found:
        plain = inside.with_suffix("") if same[inside.with_suffix("")] == 1 else inside
        target, number = output / f"{plain}.{suffix}", 1
        while target in taken:  # files of the same name from several folders
            number += 1
            target = output / f"{plain}.{number}.{suffix}"
        taken.add(target)
        jobs.append(Job(audio, target))
    return jobs


class Batch:
    """Works jobs off, some at a time, and can be stopped."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._stopped = threading.Event()

    def run(
        self, jobs: Sequence[Job], at_once: int, overwrite: bool, tell: Callable[[Result], None]
    ) -> list[Result]:
        """Results in the order of the jobs; `tell` is called with each as it is done.

        KeyboardInterrupt ends the jobs that are running and comes through.
        """
        results: dict[Job, Result] = {}
        with ThreadPoolExecutor(at_once) as pool:
            waiting = {}
            for job in jobs:
                if job.target.exists() and not overwrite:
                    results[job] = Result(job, "was done")
                    tell(results[job])
                else:
                    waiting[pool.submit(self._work, job)] = job
            try:
                for future in as_completed(waiting):
                    results[waiting[future]] = future.result()
                    tell(results[waiting[future]])
            except BaseException:
                self._stopped.set()
                pool.shutdown(cancel_futures=True)
                raise
        return [results[job] for job in jobs]

    def _check(self) -> None:
        """Ends a job where all are to end."""
        if self._stopped.is_set():
            raise KeyboardInterrupt

    def _work(self, job: Job) -> Result:
        result, begun = Result(job), time.monotonic()
        partial = job.target.with_name(f"{job.target.name}.partial")
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            with (
                closing(open_audio(job.audio, apart=self._task.apart)) as audio,
                partial.open("w", encoding="utf-8") as out,
            ):
                made, texts = self._task.writer(out, str(job.audio)), list[str]()

                def follow(event: Event) -> None:
                    made.event(event)
                    if isinstance(event, Final):
                        texts.append(spaced(event, bool(texts)))
                        result.words += len(event.words)
                        result.language = event.language
                    self._check()

                result.duration = self._task.run(audio, follow)
                whole = Transcript(
                    "".join(texts), result.language, result.duration, (), warnings=audio.warnings
                )
                made.close(whole, complete=True)
            os.replace(partial, job.target)
        except (WheatearError, OSError) as error:
            result.state, result.fault = "failed", str(error)
        except KeyboardInterrupt:
            result.state = "stopped"
        result.took = time.monotonic() - begun
        return result


def work_off(batch: Batch, jobs: Sequence[Job], at_once: int, overwrite: bool) -> list[Result]:
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
            if result.fault:
                console.print(f"{escape(str(result.job.audio))}: {escape(result.fault)}")

        results = batch.run(jobs, at_once, overwrite, tell)
    console.print(_table(results))
    return results


def _table(results: Sequence[Result]) -> Table:
    table = Table("file", "", "length", "speed", "words", "language")
    for row in _rows(results):
        table.add_row(*map(escape, row))
    return table


def _rows(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    for r in results:
        if r.state == "done":
            speed = f"{r.duration / max(r.took, 1e-9):.0f}x"
            length = time.strftime("%H:%M:%S", time.gmtime(r.duration))
            yield str(r.job.audio), r.state, length, speed, str(r.words), r.language or ""
        else:
            yield str(r.job.audio), r.state, "", "", "", ""
    states = Counter(r.state for r in results)
    total = sum(r.duration for r in results)
    length = f"{total / 3600:.2f} h"
    words = str(sum(r.words for r in results))
    yield "all", ", ".join(f"{n} {state}" for state, n in states.items()), length, "", words, ""
