"""`wheatear transcribe` with a folder or several jobs: a transcript for each file.

A transcript is written as TARGET.partial and renamed when it is complete.  So a file with its name
is done, and a partial file has all text that was final before a kill.
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
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from wheatear.cli.batch_plan import BatchItem
from wheatear.cli.messages import print_error
from wheatear.cli.output_options import partial_path
from wheatear.cli.progress import progress_bar
from wheatear.cli.signals import interrupts
from wheatear.cli.transcription import FileTranscriber, error_sentence
from wheatear.common import atomic_files as durable
from wheatear.common.terminal_text import printable
from wheatear.transcript.collector import TranscriptCollector
from wheatear.transcript.results import Event


@dataclass
class ItemResult:
    """Outcome of an item."""

    item: BatchItem
    state: str = "done"
    duration: float = 0.0
    took: float = 0.0
    words: int = 0
    language: str | None = None
    fault: str = ""
    warnings: tuple[str, ...] = ()


class Batch:
    """Transcribes items, several at a time."""

    def __init__(self, transcriber: FileTranscriber, overwrite: bool = False) -> None:
        self._transcriber, self._overwrite = transcriber, overwrite
        self._stopped = threading.Event()

    def run(
        self, items: Sequence[BatchItem], jobs: int, on_result: Callable[[ItemResult], None]
    ) -> list[ItemResult]:
        """Returns results in the order of the items; calls `on_result` for each when it is done.

        A signal stops running items; the others are not started.
        """
        results: dict[BatchItem, ItemResult] = {}

        def collect(result: ItemResult) -> None:
            results[result.item] = result
            on_result(result)

        if jobs == 1:
            for item in items:
                collect(self._process(item))
        else:
            with ThreadPoolExecutor(jobs) as pool:
                try:
                    for future in as_completed(
                        [pool.submit(self._process, item) for item in items]
                    ):
                        collect(future.result())
                except BaseException:
                    self._stopped.set()
                    pool.shutdown(cancel_futures=True)
                    raise
        return [results[item] for item in items]

    def _check(self) -> None:
        """Raises KeyboardInterrupt if all items must stop."""
        interrupts.check()
        if self._stopped.is_set():
            raise KeyboardInterrupt

    def _process(self, item: BatchItem) -> ItemResult:
        """Transcribes a file; errors are in the result."""
        result, started = ItemResult(item), time.monotonic()
        try:
            self._check()
            if item.fault:
                result.state, result.fault = "failed", item.fault
            elif item.target.is_file() and not self._overwrite:
                result.state = "was done"
            else:
                result.state = "stopped"
                self._transcribe(item, result)
                result.state = "done"
        except KeyboardInterrupt:
            result.state = "stopped" if result.state == "stopped" else "not begun"
        except Exception as error:  # noqa: BLE001  (other files are not affected)
            if interrupts.number is None:  # otherwise a signal caused it
                result.state, result.fault = "failed", error_sentence(error, item.audio)
                self._keep_partial(item, result)
        result.took = time.monotonic() - started
        return result

    def _keep_partial(self, item: BatchItem, result: ItemResult) -> None:
        """Keeps the partial file of a failed item if it has words."""
        partial = partial_path(item.target)
        if result.words:
            result.fault += f"; the text before it is in {partial}"
            result.words = 0
        else:
            with suppress(OSError):
                partial.unlink()

    def _transcribe(self, item: BatchItem, result: ItemResult) -> None:
        """Writes the transcript of a file; an error leaves a partial file."""
        partial = partial_path(item.target)
        with closing(self._transcriber.open(item.audio, lambda _: None)) as audio:
            item.target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("w", encoding="utf-8", errors="replace") as out:
                collector = TranscriptCollector(self._transcriber.writer(out, item.audio))

                def on_event(event: Event) -> None:
                    collector.add(event)
                    self._check()

                try:
                    result.duration = self._transcriber.run(audio, on_event)
                except Exception:
                    collector.close(None, audio.warnings)
                    result.words = collector.word_count
                    raise
                collector.close(result.duration, audio.warnings)
            result.words, result.language = collector.word_count, collector.language
            result.warnings = audio.warnings
            durable.replace(partial, item.target)


def run_batch(
    batch: Batch, items: Sequence[BatchItem], jobs: int, output: Path
) -> list[ItemResult]:
    """Runs a batch with a bar or lines on standard error, and a table at the end."""
    with progress_bar(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    ) as bar:
        task = bar.add_task("files", total=len(items))

        def on_result(result: ItemResult) -> None:
            bar.update(task, advance=1)
            for sentence in (*result.warnings, *filter(None, [result.fault])):
                print_error(sentence)

        results = batch.run(items, jobs, on_result)
    Console(stderr=True).print(_table(results))
    states = Counter(result.state for result in results)
    if interrupts.number is not None:
        print_error("stopped; the same command continues with the remaining files")
    print_error(f"wrote {states['done']} of {len(results)} transcripts to {output}")
    return results


def _table(results: Sequence[ItemResult]) -> Table:
    table = Table("file", "", "length", "speed", "words", "language")
    for row in _rows(results):
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _rows(results: Sequence[ItemResult]) -> Iterator[tuple[str, ...]]:
    for r in results:
        if r.state == "done":
            speed = f"{r.duration / max(r.took, 1e-9):.0f}x"
            length = time.strftime("%H:%M:%S", time.gmtime(r.duration))
            yield r.item.audio, r.state, length, speed, str(r.words), r.language or ""
        else:
            yield r.item.audio, r.state, "", "", "", ""
    states = Counter(r.state for r in results)
    total = sum(r.duration for r in results)
    length = f"{total / 3600:.2f} h"
    words = str(sum(r.words for r in results))
    yield "all", ", ".join(f"{n} {state}" for state, n in states.items()), length, "", words, ""
