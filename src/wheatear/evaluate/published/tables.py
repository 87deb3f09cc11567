"""Tables that others have published, made again and held against what they say.

    wheatear reproduce fleurs DATA --model nemotron-3.5 --output DIR
    wheatear reproduce english DATA --model nemotron-en --output DIR

fleurs.toml and english.toml hold the published figures.  DATA is FLEURS as it comes (a folder for
each language), or a folder for each of the leaderboard's eight sets in any layout that is known.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from wheatear.errors import ManifestError
from wheatear.evaluate.clips import Clip
from wheatear.evaluate.corpora import read_corpus
from wheatear.evaluate.normalizer import normalize
from wheatear.evaluate.report import Section, Table, markdown
from wheatear.model.locales import language_of

COMPARISON = "comparison"
_NO_SPEECH = "ignore time segment in scoring"  # what the leaderboard's TED-LIUM has for a pause


@dataclass(frozen=True)
class Published:
    """One row of a published table."""

    source: str
    latency_ms: int
    prompt: str
    """Whether the language was `given` or to be told (`auto`)."""
    rates: Mapping[str, float]
    """Error rates in per cent by language or by set."""
    mean: float
    precision: str | None = None
    """Of the weights, where it is one that a bundle can have too."""


@dataclass(frozen=True)
class Compared:
    """A published row and what was measured."""

    published: Published
    system: str
    precision: str
    rates: Mapping[str, Mapping[str, float] | None]
    """value, low, high of each; None of what was not measured."""

    @property
    def means(self) -> tuple[float, float, int] | None:
        """Published and measured mean, and of how many: of what was measured alone."""
        both = [
            (self.published.rates[key], rate["value"]) for key, rate in self.rates.items() if rate
        ]
        if not both:
            return None
        theirs, ours = (sum(side) / len(both) for side in zip(*both, strict=True))
        return theirs, ours, len(both)


@dataclass(frozen=True)
class Reproduction:
    """A table: its rows, how to read the data, and how a row of a summary is called in it."""

    name: str
    title: str
    rows: tuple[Published, ...]
    read: Callable[[Path], list[Clip]]
    key: Callable[[Mapping[str, Any]], str]
    by: str | None
    prompts: tuple[str, ...]

    @property
    def latencies(self) -> tuple[int, ...]:
        return tuple(sorted({row.latency_ms for row in self.rows}))


def fleurs() -> Reproduction:
    """NVIDIA's table of 28 languages, five latencies, the language given or not."""
    data = _data("fleurs.toml")
    rows = [
        Published(
            f"{data['source']}, {tier}", latency, prompt,
            {language: rates[place] for language, rates in table.items() if language != "mean"},
            table["mean"][place],
        )
        for prompt in ("given", "auto")
        for tier, table in data[prompt].items()
        for place, latency in enumerate(data["latencies_ms"])
    ]  # fmt: skip
    known = {language for row in rows for language in row.rates}

    def read(path: Path) -> list[Clip]:
        clips = read_corpus(path).clips
        wanted = [clip for clip in clips if language_of(clip.locale) in known]
        if not wanted:
            raise ManifestError(f"{path} holds none of the table's languages: {', '.join(known)}")
        return wanted

    return Reproduction(
        "fleurs", "FLEURS, Nemotron 3.5", tuple(rows), read,
        lambda row: language_of(row["locale"]), None, ("given", "auto"),
    )  # fmt: skip


def english() -> Reproduction:
    """The English tables of NVIDIA's card and of arXiv 2604.14493."""
    data = _data("english.toml")
    rows = [
        Published(
            row["source"], row["latency_ms"], "given",
            dict(zip(data["sets"], row["wer"], strict=True)), row["mean"], row.get("precision"),
        )
        for row in data["row"]
    ]  # fmt: skip

    def read(path: Path) -> list[Clip]:
        there = [name for name in data["sets"] if (path / name).exists()]
        if not there:
            raise ManifestError(
                f"{path} holds none of the table's sets: folders named {', '.join(data['sets'])}"
            )
        return [clip for name in there for clip in _scored_clips(path / name)]

    return Reproduction(
        "english", "English, Nemotron", tuple(rows), read,
        lambda row: row["group"], "set", ("given",),
    )  # fmt: skip


TABLES: dict[str, Callable[[], Reproduction]] = {"fleurs": fleurs, "english": english}


def _data(name: str) -> dict[str, Any]:
    return tomllib.loads((files("wheatear.evaluate.published") / name).read_text(encoding="utf-8"))


def _scored_clips(folder: Path) -> Iterator[Clip]:
    """What the leaderboard scores of a set: utterances in which something is said."""
    for clip in read_corpus(folder, "en-US").clips:
        said = normalize(clip.reference, "en-US")
        if said and said != _NO_SPEECH:
            name, fields = f"{folder.name}/{clip.id}", {**clip.fields, "set": folder.name}
            yield replace(clip, id=name, fields=fields, locale="en-US")


def compare(table: Reproduction, summary: Mapping[str, Any]) -> list[Compared]:
    """The published rows against those of a summary, system by system.

    Figures of a precision are held against bundles of that precision, all others against each.
    """
    measured: dict[tuple[str, str, int, str], dict[str, Any]] = {}
    for row in summary["rows"]:
        condition = row["system"], row["precision"], row["latency_ms"], row["prompt"]
        measured.setdefault(condition, {})[table.key(row)] = row["error_rate"]
    found = []
    for (system, precision, latency, prompt), rates in measured.items():
        for row in table.rows:
            if (row.latency_ms, row.prompt) != (latency, prompt):
                continue
            if row.precision in (None, precision):
                own = {key: rates.get(key) for key in row.rates}
                found.append(Compared(row, system, precision, own))
    return found


def write_comparison(output: Path, table: Reproduction, found: Sequence[Compared]) -> None:
    """comparison.md and comparison.json."""
    data = [{**asdict(one), "means": one.means} for one in found]
    text = json.dumps(data, ensure_ascii=False, indent=1) + "\n"
    (output / f"{COMPARISON}.json").write_text(text, encoding="utf-8")
    parts = [Section("Means", _MEANS, overview(found)), *_details(found)]
    text = markdown(f"{table.title}: published and measured", parts)
    (output / f"{COMPARISON}.md").write_text(text, encoding="utf-8")


_MEANS = (
    "Error rates in per cent, means over what was measured, and how much higher ours are. Where "
    "not all of a table was measured, its mean is not the published one."
)
_DETAILS = (
    "With the 95 % interval of resampled utterances; a difference is marked where the published "
    "figure lies outside of it."
)


def overview(found: Iterable[Compared]) -> Table:
    """A line for each published row."""
    heads = ("system", "source", "latency", "language", "of", "published", "measured", "difference")
    lines = []
    for one in found:
        row, means = one.published, one.means
        about = (f"{one.system} {one.precision}", row.source, f"{row.latency_ms} ms", row.prompt)
        if means is None:
            lines.append((*about, f"0 of {len(row.rates)}", f"{row.mean:.2f}", "-", "-"))
            continue
        theirs, ours, count = means
        figures = f"{theirs:.2f}", f"{ours:.2f}", f"{ours - theirs:+.2f}"
        lines.append((*about, f"{count} of {len(row.rates)}", *figures))
    return Table(heads, tuple(lines))


def _details(found: Iterable[Compared]) -> Iterator[Section]:
    for one in found:
        row, lines = one.published, []
        for key, published in row.rates.items():
            rate = one.rates[key]
            if rate is None:
                lines.append((key, f"{published:.2f}", "-", "-"))
                continue
            outside = "" if rate["low"] <= published <= rate["high"] else " outside"
            lines.append(
                (
                    key, f"{published:.2f}",
                    f"{rate['value']:.2f} ({rate['low']:.2f}-{rate['high']:.2f})",
                    f"{rate['value'] - published:+.2f}{outside}",
                )
            )  # fmt: skip
        how = f"{row.latency_ms} ms, language {row.prompt}"
        title = f"{one.system} {one.precision}, {how}: {row.source}"
        heads = ("", "published", "measured", "difference")
        yield Section(title, _DETAILS, Table(heads, tuple(lines)))
