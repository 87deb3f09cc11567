"""Checks of a built corpus, and the tables of its data card."""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.wheatear_small.corpus_files import PartFiles, file_hash
from recipes.wheatear_small.licenses import unlisted_license
from recipes.wheatear_small.recordings import read_lines
from recipes.wheatear_small.synthesizers import SAMPLE_RATE
from recipes.wheatear_small.text_filter import bare_words, is_reserved
from wheatear.errors import CorpusError

FAMILIES = {
    "espeak": "espeak-ng", "pico": "SVOX Pico", "flite": "CMU Flite", "rhvoice": "RHVoice",
    "joe": "Piper en_US-joe-medium", "kokoro": "Kokoro-82M",
}  # fmt: skip
_MAX_SHOWN = 20  # problems in an error message


@dataclass
class Findings:
    """Clips and problems of a corpus."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    """Distinct clips of all manifests."""
    manifests: list[tuple[str, int, float, str]] = field(default_factory=list)
    """Name, clips, minutes, SHA-256."""
    problems: list[str] = field(default_factory=list)


def audit_corpus(folder: Path, parts: list[str], excluded: frozenset[str]) -> Findings:
    """Checks all lines of the named manifests, or of all."""
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
            found.problems.append(f"{name}: not complete; run the build command again")
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
    if is_reserved(text, line["lang"]):
        yield f"the sentence {text!r} is reserved for evaluation"
    if bare_words(text) in excluded:
        yield f"an evaluation recording has the same words as {text!r}"
    if (license := unlisted_license(line.get("license", ""))) is not None:
        yield f"the license {license!r} is not on the list"


def problem_summary(folder: Path, problems: list[str]) -> str:
    """Joins problems to an error message."""
    more = f"\n... and {len(problems) - _MAX_SHOWN} more" if len(problems) > _MAX_SHOWN else ""
    shown = "\n".join(problems[:_MAX_SHOWN])
    return f"{folder} must not be trained on, {len(problems)} problems:\n{shown}{more}"


def data_card_tables(found: Findings) -> str:
    """Returns the tables of the data card as Markdown."""
    return "\n\n".join((_speech(found.lines), _texts(found.lines), _manifests(found.manifests)))


def _speech(lines: list[dict[str, Any]]) -> str:
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        license = line["license"].partition("; text ")[0]
        groups[_family(line), line["lang"], license].append(line)
    rows = [
        (family, locale, len({c["speaker"] for c in clips}), *_size(clips), license)
        for (family, locale, license), clips in sorted(groups.items())
    ]
    total = ("all", "", len({c["speaker"] for c in lines}), *_size(lines), "")
    return _table(("source", "locale", "voices", "clips", "minutes", "license"), [*rows, total])


def _family(line: dict[str, Any]) -> str:
    engine, mark, _ = line["speaker"].partition(":")
    return FAMILIES.get(engine, engine) if mark else line["source"]


def _size(clips: list[dict[str, Any]]) -> tuple[int, str]:
    return len(clips), f"{sum(c['duration'] for c in clips) / 60:.1f}"


def _texts(lines: list[dict[str, Any]]) -> str:
    clips: Counter[tuple[str, str]] = Counter()
    distinct: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for line in lines:
        speech, mark, text = line["license"].partition("; text ")
        key = (line["source"] if mark else "recordings", text or speech)
        clips[key] += 1
        distinct[key].add((line["lang"], line["text"]))
    rows = [(source, lic, n, len(distinct[source, lic])) for (source, lic), n in clips.items()]
    return _table(("text", "license", "clips", "distinct sentences"), sorted(rows))


def _manifests(manifests: list[tuple[str, int, float, str]]) -> str:
    rows = [(name, clips, f"{minutes:.1f}", f"`{sha}`") for name, clips, minutes, sha in manifests]
    return _table(("part", "clips", "minutes", "SHA-256 of the manifest"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    return "\n".join(
        "| " + " | ".join(map(str, row)) + " |" for row in (head, ("---",) * len(head), *rows)
    )


def write_texts(lines: list[dict[str, Any]], path: Path) -> None:
    """Writes the distinct texts with their locales, sorted; equal texts give equal files."""
    rows = sorted({f"{line['lang']}\t{line['text']}\n" for line in lines})
    path.write_bytes(gzip.compress("".join(rows).encode(), 9, mtime=0))
