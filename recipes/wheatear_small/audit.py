"""Whether a built corpus is what it may be, and the tables of its data card."""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.wheatear_small.corpus_files import PartFiles, file_hash
from recipes.wheatear_small.licenses import refused
from recipes.wheatear_small.recordings import read_lines
from recipes.wheatear_small.synthesizers import SAMPLE_RATE
from recipes.wheatear_small.text_filter import reserved, words
from wheatear.errors import CorpusError

FAMILIES = {
    "espeak": "espeak-ng", "pico": "SVOX Pico", "flite": "CMU Flite", "rhvoice": "RHVoice",
    "joe": "Piper en_US-joe-medium", "kokoro": "Kokoro-82M",
}  # fmt: skip
SHOWN = 20  # problems in a message


@dataclass
class Findings:
    """What is in a corpus, and what is wrong with it."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    """Every clip once, though several manifests may name it."""
    manifests: list[tuple[str, int, float, str]] = field(default_factory=list)
    """Name, clips, minutes, SHA-256."""
    problems: list[str] = field(default_factory=list)


def inspect(folder: Path, parts: list[str], excluded: frozenset[str]) -> Findings:
    """Look at every line of the named manifests, or of all."""
    names = parts or sorted(path.stem for path in folder.glob("*.jsonl"))
    if not names:
        raise CorpusError(f"{folder} holds no manifest (*.jsonl); build a corpus there first")
    found = Findings()
    seen: set[tuple[str, float]] = set()
    for name in names:
        files = PartFiles(folder, name)
        lines: list[dict[str, Any]] = read_lines(files.manifest)
        minutes = sum(line["duration"] for line in lines) / 60
        found.manifests.append((name, len(lines), minutes, file_hash(files.manifest)))
        if files.begun.exists() and not files.done.exists():
            found.problems.append(f"{name}: not whole yet; give the build command again")
        for number, line in enumerate(lines, 1):
            for problem in _problems(folder, line, excluded):
                found.problems.append(f"{name}.jsonl line {number}: {problem}")
            clip = (line["audio_filepath"], line["offset"])
            if clip not in seen:
                seen.add(clip)
                found.lines.append(line)
    return found


def _problems(folder: Path, line: dict[str, Any], excluded: frozenset[str]) -> Iterator[str]:
    text = line["text"]
    audio = folder / line["audio_filepath"]
    end = round((line["offset"] + line["duration"]) * SAMPLE_RATE)
    stored = audio.stat().st_size // 2 if audio.exists() else 0
    if line["offset"] < 0 or line["duration"] <= 0 or end > stored:
        yield f"the clip ends at sample {end}, {audio.name} has {stored}"
    if reserved(text, line["lang"]):
        yield f"evaluation owns the sentence {text!r}"
    if words(text) in excluded:
        yield f"an evaluation recording has the words of {text!r}"
    if (licence := refused(line.get("licence", ""))) is not None:
        yield f"the licence {licence!r} is not on the list"


def complaint(folder: Path, problems: list[str]) -> str:
    """One message of many problems."""
    more = f"\n... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    shown = "\n".join(problems[:SHOWN])
    return f"{folder} must not be trained on, {len(problems)} problems:\n{shown}{more}"


def report(found: Findings) -> str:
    """The tables of the data card, as Markdown."""
    return "\n\n".join((_speech(found.lines), _texts(found.lines), _manifests(found.manifests)))


def _speech(lines: list[dict[str, Any]]) -> str:
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        licence = line["licence"].partition("; text ")[0]
        groups[_family(line), line["lang"], licence].append(line)
    rows = [
        (family, locale, len({c["speaker"] for c in clips}), *_size(clips), licence)
        for (family, locale, licence), clips in sorted(groups.items())
    ]
    total = ("all", "", len({c["speaker"] for c in lines}), *_size(lines), "")
    return _table(("source", "locale", "voices", "clips", "minutes", "licence"), [*rows, total])


def _family(line: dict[str, Any]) -> str:
    engine, mark, _ = line["speaker"].partition(":")
    return FAMILIES.get(engine, engine) if mark else line["source"]


def _size(clips: list[dict[str, Any]]) -> tuple[int, str]:
    return len(clips), f"{sum(c['duration'] for c in clips) / 60:.1f}"


def _texts(lines: list[dict[str, Any]]) -> str:
    clips: Counter[tuple[str, str]] = Counter()
    distinct: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for line in lines:
        speech, mark, text = line["licence"].partition("; text ")
        key = (line["source"] if mark else "recordings", text or speech)
        clips[key] += 1
        distinct[key].add((line["lang"], line["text"]))
    rows = [(source, lic, n, len(distinct[source, lic])) for (source, lic), n in clips.items()]
    return _table(("text", "licence", "clips", "distinct sentences"), sorted(rows))


def _manifests(manifests: list[tuple[str, int, float, str]]) -> str:
    rows = [(name, clips, f"{minutes:.1f}", f"`{sha}`") for name, clips, minutes, sha in manifests]
    return _table(("part", "clips", "minutes", "SHA-256 of the manifest"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    return "\n".join(
        "| " + " | ".join(map(str, row)) + " |" for row in (head, ("---",) * len(head), *rows)
    )


def write_record(lines: list[dict[str, Any]], path: Path) -> None:
    """The distinct texts with their locales, sorted; equal texts give equal files."""
    rows = sorted({f"{line['lang']}\t{line['text']}\n" for line in lines})
    path.write_bytes(gzip.compress("".join(rows).encode(), 9, mtime=0))
