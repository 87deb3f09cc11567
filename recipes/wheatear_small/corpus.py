"""Builds a training corpus from a recipe, goes on where it was stopped, and checks what is there.

    python -m recipes.wheatear_small.corpus build recipes/wheatear_small/corpus.toml --out DIR \\
        --clips MANIFEST --text FOLDER --exclude MANIFEST [PART ...]
    python -m recipes.wheatear_small.corpus check DIR --exclude MANIFEST [PART ...]

recipe.py says what a part consists of, part.py how it lies on disk, audit.py what is checked.
No text of evaluation bucket 0 or 1 is ever written, nor anything under a licence that is not on
the list.
"""

# Chance here need not be secret.
# ruff: noqa: S311
from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import soundfile as sf

from recipes.wheatear_small import audit
from recipes.wheatear_small import synthesizers as voices
from recipes.wheatear_small.corpus_files import Part, PartFiles, Record
from recipes.wheatear_small.corpus_parts import Job, PartRecipe, Sources, digest, jobs, read_recipe
from recipes.wheatear_small.recordings import read_lines
from recipes.wheatear_small.splice import Splice
from recipes.wheatear_small.synthesizers import SAMPLE_RATE, Samples
from recipes.wheatear_small.text_filter import held_words
from wheatear.errors import CorpusError, WheatearError

LONGEST = 20.0  # seconds; a voice that takes longer has lost its way
UNSAID = 0.1  # share of a part; more than that is a fault of the machine, not of sentences
EVERY = 10.0  # seconds between lines of progress
Made = tuple[int, Job, Samples | None]


def samples_of(job: Job) -> Samples:
    """Read or synthesise the audio of a job."""
    if isinstance(job.voice, Splice):
        return job.voice.read()
    if not isinstance(job.voice, Path):
        return voices.speak(job.voice, job.locale, job.text, random.Random(job.seed))
    samples, rate = sf.read(job.voice, dtype="float32")
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise CorpusError(
            f"{job.voice} has {rate} Hz and shape {samples.shape}; "
            f"make it mono with {SAMPLE_RATE} Hz first"
        )
    return np.asarray(samples, np.float32)


def _tried(numbered: tuple[int, Job]) -> Made:
    """The job with its audio; one voice that cannot say one sentence is no reason to stop."""
    index, job = numbered
    if isinstance(job.voice, Path):
        return index, job, samples_of(job)
    try:
        samples = samples_of(job)
    except (OSError, ValueError, RuntimeError, voices.subprocess.SubprocessError):
        return index, job, None
    return index, job, samples if len(samples) < LONGEST * SAMPLE_RATE else None


def build_part(
    folder: Path, recipe: PartRecipe, sources: Sources, workers: int, force: bool = False
) -> Record:
    """Build a part, or what is missing of it."""
    wanted = jobs(recipe, sources)
    plan = Record(asdict(recipe), len(wanted), digest(wanted))
    files = PartFiles(folder, recipe.name)
    if force:
        files.remove()
    if record := files.finished(plan):
        print(f"{recipe.name}: was whole already, {_amount(record)}")
        return record
    folder.mkdir(parents=True, exist_ok=True)
    files.write(files.begun, plan)
    part = Part(folder, recipe.name)
    try:
        _fill(part, wanted, workers)
        record = part.finish(plan, _unsaid(recipe.name, wanted, part))
    finally:
        part.close()
    print(f"{recipe.name}: {_amount(record)}{_failures(record)}")
    return record


def _fill(part: Part, wanted: list[Job], workers: int) -> None:
    """Make the clips that the part lacks."""
    there = {line["job"] for line in part.lines}
    missing = [(index, job) for index, job in enumerate(wanted) if index not in there]
    name = part.files.name
    if there:
        print(f"{name}: goes on after {len(there)} of {len(wanted)} clips", flush=True)
    # Threads: most voices are programs of their own, and threads leave nothing behind when
    # this process is killed.
    with ThreadPool(workers) as pool:
        made = pool.imap_unordered(_tried, missing)
        for index, job, samples in _with_progress(made, name, len(missing)):
            if samples is not None:
                part.add(
                    samples, job.text, job.locale, speaker=job.speaker,
                    source=job.source, licence=job.licence, job=index,
                )  # fmt: skip


def _with_progress(made: Iterator[Made], name: str, total: int) -> Iterator[Made]:
    """The same, with a line now and then."""
    begin = last = time.monotonic()
    for count, item in enumerate(made, 1):
        yield item
        now = time.monotonic()
        if now - last >= EVERY:
            last, left = now, (now - begin) / count * (total - count) / 60
            print(f"{name}: {count} of {total} clips, {left:.0f} minutes left", flush=True)


def _unsaid(name: str, wanted: list[Job], part: Part) -> dict[str, int]:
    """How many clips are missing, by speaker; too many are an error, so that they are retried."""
    there = {line["job"] for line in part.lines}
    missing = Counter(job.speaker for index, job in enumerate(wanted) if index not in there)
    if missing.total() > UNSAID * len(wanted):
        (worst, times), = missing.most_common(1)  # fmt: skip
        raise CorpusError(
            f"part {name}: {missing.total()} of {len(wanted)} clips could not be made, "
            f"{times} of them by {worst}; see whether that voice speaks at all and whether the "
            "disk is full, then give the same command again"
        )
    return dict(sorted(missing.items()))


def _amount(record: Record) -> str:
    return f"{record.clips} clips, {record.minutes:.1f} minutes"


def _failures(record: Record) -> str:
    if not record.unsaid:
        return ""
    by = ", ".join(f"{speaker} {count}" for speaker, count in record.unsaid.items())
    return f"; {sum(record.unsaid.values())} left out that a voice failed to say ({by})"


def build(arguments: argparse.Namespace) -> None:
    """The command `build`."""
    parts = read_recipe(arguments.recipe)
    if unknown := set(arguments.parts) - {part.name for part in parts}:
        raise CorpusError(
            f"{arguments.recipe} has no part {sorted(unknown)[0]!r}; "
            f"its parts are {', '.join(part.name for part in parts)}"
        )
    excluded = held_words(read_lines(arguments.exclude)) if arguments.exclude else frozenset()
    sources = Sources(arguments.clips, arguments.aligned, arguments.text, excluded)
    for part in parts:
        if not arguments.parts or part.name in arguments.parts:
            build_part(arguments.out, part, sources, arguments.workers, arguments.force)


def check(arguments: argparse.Namespace) -> None:
    """The command `check`."""
    excluded = held_words(read_lines(arguments.exclude))
    found = audit.inspect(arguments.folder, arguments.parts, excluded)
    print(audit.report(found))
    if arguments.record:
        audit.write_record(found.lines, arguments.record)
    if found.problems:
        raise CorpusError(audit.complaint(arguments.folder, found.problems))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = top.add_subparsers(required=True)
    make = commands.add_parser("build", help="build a corpus, or what is missing of it")
    make.add_argument("recipe", type=Path, help="TOML file with the parts")
    make.add_argument("parts", nargs="*", help="parts to build (default: all)")
    make.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    make.add_argument("--clips", type=Path, help="manifest of human recordings to train on")
    make.add_argument("--aligned", type=Path, help="where their words are, to splice them")
    make.add_argument("--text", type=Path, help="folder of given sentences, <locale>.jsonl")
    make.add_argument("--exclude", type=Path, help="manifest whose sentences are never used")
    make.add_argument("--workers", type=int, default=2, help="voices that speak at a time")
    make.add_argument("--force", action="store_true", help="build again what is there")
    make.set_defaults(run=build)
    look = commands.add_parser("check", help="verify a corpus and print its data card's tables")
    look.add_argument("folder", type=Path)
    look.add_argument("parts", nargs="*", help="parts to look at (default: all)")
    look.add_argument("--exclude", type=Path, required=True, help="the evaluation recordings")
    look.add_argument("--record", type=Path, help="write the distinct texts here (.txt.gz)")
    look.set_defaults(run=check)
    return top


def main(argv: list[str] | None = None) -> None:
    arguments = parser().parse_args(argv)
    arguments.run(arguments)


if __name__ == "__main__":
    try:
        main()
    except WheatearError as error:
        sys.exit(f"error: {error}")
