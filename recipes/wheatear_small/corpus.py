"""Builds the training corpus of a corpus file, resumes a stopped build, and checks the result.

    python -m recipes.wheatear_small.corpus build recipes/wheatear_small/corpus.toml --out DIR \\
        --clips MANIFEST --text FOLDER --exclude MANIFEST [PART ...]
    python -m recipes.wheatear_small.corpus check DIR --exclude MANIFEST [PART ...]

corpus_parts.py defines the parts, corpus_files.py their files, audit.py the checks.  Sentences of
the evaluation buckets 0 and 1 and clips under a license that is not on the list are never written.
"""

# Randomness here needs no secrecy.
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

from recipes.wheatear_small import audit, synthesizers
from recipes.wheatear_small.corpus_files import PartFiles, PartRecord, PartWriter
from recipes.wheatear_small.corpus_parts import (
    CorpusClip,
    CorpusPart,
    Sources,
    clips_digest,
    clips_of_part,
    read_corpus_parts,
)
from recipes.wheatear_small.recordings import read_lines
from recipes.wheatear_small.splice import Splice
from recipes.wheatear_small.synthesizers import SAMPLE_RATE, Samples
from recipes.wheatear_small.text_filter import evaluation_sentences
from wheatear.errors import CorpusError, WheatearError

MAX_SECONDS = 20.0  # longer synthetic clips are taken for failures
MAX_FAILED = 0.1  # share of a part; more is taken for a fault of the machine
_LOG_INTERVAL_S = 10.0
_Made = tuple[int, CorpusClip, Samples | None]


def make_samples(clip: CorpusClip) -> Samples:
    """Reads or synthesizes the audio of a clip."""
    if isinstance(clip.voice, Splice):
        return clip.voice.read()
    if not isinstance(clip.voice, Path):
        return synthesizers.speak(clip.voice, clip.locale, clip.text, random.Random(clip.seed))
    samples, rate = sf.read(clip.voice, dtype="float32")
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise CorpusError(
            f"{clip.voice} has {rate} Hz and shape {samples.shape}; "
            f"make it mono with {SAMPLE_RATE} Hz first"
        )
    return np.asarray(samples, np.float32)


def _try_clip(numbered: tuple[int, CorpusClip]) -> _Made:
    """Returns the clip with its audio, or with None if its synthesis failed."""
    index, clip = numbered
    if isinstance(clip.voice, Path):
        return index, clip, make_samples(clip)
    try:
        samples = make_samples(clip)
    except (OSError, ValueError, RuntimeError, synthesizers.subprocess.SubprocessError):
        return index, clip, None
    return index, clip, samples if len(samples) < MAX_SECONDS * SAMPLE_RATE else None


def build_part(
    folder: Path, part: CorpusPart, sources: Sources, workers: int, force: bool = False
) -> PartRecord:
    """Builds a part, or its missing clips."""
    planned = clips_of_part(part, sources)
    plan = PartRecord(asdict(part), len(planned), clips_digest(planned))
    files = PartFiles(folder, part.name)
    if force:
        files.remove()
    if record := files.finished(plan):
        print(f"{part.name}: was complete already, {_amount(record)}")
        return record
    folder.mkdir(parents=True, exist_ok=True)
    files.write(files.begun, plan)
    writer = PartWriter(folder, part.name)
    try:
        _add_missing(writer, planned, workers)
        record = writer.finish(plan, _failed_clips(writer, planned))
    finally:
        writer.close()
    print(f"{part.name}: {_amount(record)}{_failures(record)}")
    return record


def _add_missing(writer: PartWriter, planned: list[CorpusClip], workers: int) -> None:
    """Makes and writes the clips that a part lacks."""
    done = {line["number"] for line in writer.lines}
    missing = [(index, clip) for index, clip in enumerate(planned) if index not in done]
    name = writer.files.name
    if done:
        print(f"{name}: resumes after {len(done)} of {len(planned)} clips", flush=True)
    # Threads: most synthesizers are programs of their own, and threads end with this process
    # when it is killed.
    with ThreadPool(workers) as pool:
        made = pool.imap_unordered(_try_clip, missing)
        for index, clip, samples in _with_progress(made, name, len(missing)):
            if samples is not None:
                writer.add(
                    samples, clip.text, clip.locale, speaker=clip.speaker,
                    source=clip.source, license=clip.license, number=index,
                )  # fmt: skip


def _with_progress(made: Iterator[_Made], name: str, total: int) -> Iterator[_Made]:
    """Yields the same items and prints progress."""
    begin = last = time.monotonic()
    for count, item in enumerate(made, 1):
        yield item
        now = time.monotonic()
        if now - last >= _LOG_INTERVAL_S:
            last, left = now, (now - begin) / count * (total - count) / 60
            print(f"{name}: {count} of {total} clips, {left:.0f} minutes left", flush=True)


def _failed_clips(writer: PartWriter, planned: list[CorpusClip]) -> dict[str, int]:
    """Counts missing clips by speaker.  Raises CorpusError if too many failed."""
    done = {line["number"] for line in writer.lines}
    missing = Counter(clip.speaker for index, clip in enumerate(planned) if index not in done)
    if missing.total() > MAX_FAILED * len(planned):
        (worst, times), = missing.most_common(1)  # fmt: skip
        raise CorpusError(
            f"part {writer.files.name}: {missing.total()} of {len(planned)} clips failed, "
            f"{times} of them by {worst}; check that this voice works and that the disk is not "
            "full, then run the same command again"
        )
    return dict(sorted(missing.items()))


def _amount(record: PartRecord) -> str:
    return f"{record.clips} clips, {record.minutes:.1f} minutes"


def _failures(record: PartRecord) -> str:
    if not record.failed:
        return ""
    by = ", ".join(f"{speaker} {count}" for speaker, count in record.failed.items())
    return f"; {sum(record.failed.values())} left out because a voice failed ({by})"


def build(arguments: argparse.Namespace) -> None:
    """The command `build`."""
    parts = read_corpus_parts(arguments.recipe)
    if unknown := set(arguments.parts) - {part.name for part in parts}:
        raise CorpusError(
            f"{arguments.recipe} has no part {sorted(unknown)[0]!r}; "
            f"its parts are {', '.join(part.name for part in parts)}"
        )
    lines = read_lines(arguments.exclude) if arguments.exclude else []
    sources = Sources(
        arguments.clips, arguments.aligned, arguments.text, evaluation_sentences(lines)
    )
    for part in parts:
        if not arguments.parts or part.name in arguments.parts:
            build_part(arguments.out, part, sources, arguments.workers, arguments.force)


def check(arguments: argparse.Namespace) -> None:
    """The command `check`."""
    excluded = evaluation_sentences(read_lines(arguments.exclude))
    found = audit.audit_corpus(arguments.folder, arguments.parts, excluded)
    print(audit.data_card_tables(found))
    if arguments.record:
        audit.write_texts(found.lines, arguments.record)
    if found.problems:
        raise CorpusError(audit.problem_summary(arguments.folder, found.problems))


def parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    top = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = top.add_subparsers(required=True)
    make = commands.add_parser("build", help="build a corpus, or its missing clips")
    make.add_argument("recipe", type=Path, help="TOML file with the parts")
    make.add_argument("parts", nargs="*", help="parts to build (default: all)")
    make.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    make.add_argument("--clips", type=Path, help="manifest of human recordings to train on")
    make.add_argument("--aligned", type=Path, help="positions of their words, made by align")
    make.add_argument("--text", type=Path, help="folder of given sentences, <locale>.jsonl")
    make.add_argument("--exclude", type=Path, help="manifest of sentences to leave out")
    make.add_argument("--workers", type=int, default=2, help="number of synthesizers at a time")
    make.add_argument("--force", action="store_true", help="build existing parts again")
    make.set_defaults(run=build)
    look = commands.add_parser("check", help="verify a corpus and print its data card's tables")
    look.add_argument("folder", type=Path)
    look.add_argument("parts", nargs="*", help="parts to check (default: all)")
    look.add_argument(
        "--exclude", type=Path, required=True, help="manifest of the evaluation recordings"
    )
    look.add_argument("--record", type=Path, help="file for the distinct texts (.txt.gz)")
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
