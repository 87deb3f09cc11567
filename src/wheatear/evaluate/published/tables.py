"""Published tables of error rates, measured again and compared.

    wheatear reproduce fleurs DATA --model nemotron-3.5 --output DIR
    wheatear reproduce english DATA --model nemotron-en --output DIR

fleurs.toml and english.toml hold the published figures. DATA is FLEURS as published (a folder for
each language), or a folder for each of the leaderboard's eight sets in any layout of
`wheatear.evaluate.corpora`.
"""

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from operator import itemgetter
from pathlib import Path
from typing import Any

from wheatear.errors import ManifestError
from wheatear.evaluate.clips import Clip
from wheatear.evaluate.corpora import read_corpus
from wheatear.evaluate.normalizer import normalize
from wheatear.evaluate.report import Section, Table, markdown
from wheatear.model.locales import language_of

COMPARISON = "comparison"
_NO_SPEECH = "ignore time segment in scoring"  # a pause in the leaderboard's TED-LIUM


@dataclass(frozen=True)
class Published:
    """One row of a published table."""

    source: str
    latency_ms: int
    prompt: str
    """`given` if the engine got the language, `auto` if it had to detect it."""
    rates: Mapping[str, float]
    """Error rates in percent by language or set."""
    mean: float
    precision: str | None = None
    """Precision of the weights, if a bundle can have the same."""


@dataclass(frozen=True)
class Comparison:
    """A published row and the measured rates."""

    published: Published
    system: str
    precision: str
    rates: Mapping[str, Mapping[str, float] | None]
    """value, low and high of each rate; None if it was not measured."""

    @property
    def means(self) -> tuple[float, float, int] | None:
        """Published mean, measured mean, and number of measured rates; over measured rates."""
        both = [(self.published.rates[key], r["value"]) for key, r in self.rates.items() if r]
        if not both:
            return None
        theirs, ours = (sum(side) / len(both) for side in zip(*both, strict=True))
        return theirs, ours, len(both)


@dataclass(frozen=True)
class Reproduction:
    """A published table and how to measure it again."""

    name: str
    title: str
    rows: tuple[Published, ...]
    read: Callable[[Path], list[Clip]]
    """Reads the clips of the table's data."""
    key: Callable[[Mapping[str, Any]], str]
    """Language or set of a row of a summary."""
    by: str | None
    """Field to group clips by."""
    prompts: tuple[str, ...]

    @property
    def latencies(self) -> tuple[int, ...]:
        return tuple(sorted({row.latency_ms for row in self.rows}))


def fleurs() -> Reproduction:
    """NVIDIA's table of 28 languages, five latencies, language given or detected."""
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
        clips = [clip for clip in read_corpus(path).clips if language_of(clip.locale) in known]
        if not clips:
            raise ManifestError(f"{path} holds none of the table's languages: {', '.join(known)}")
        return clips

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
        present = [name for name in data["sets"] if (path / name).exists()]
        if not present:
            raise ManifestError(
                f"{path} holds none of the table's sets: folders named {', '.join(data['sets'])}"
            )
        return [clip for name in present for clip in _scored_clips(path / name)]

    return Reproduction(
        "english", "English, Nemotron", tuple(rows), read, itemgetter("group"), "set", ("given",)
    )


TABLES: dict[str, Callable[[], Reproduction]] = {"fleurs": fleurs, "english": english}


def _data(name: str) -> dict[str, Any]:
    return tomllib.loads((files("wheatear.evaluate.published") / name).read_text(encoding="utf-8"))


def _scored_clips(folder: Path) -> Iterator[Clip]:
    """Yields the utterances of a set that the leaderboard scores: those with speech."""
    for clip in read_corpus(folder, "en-US").clips:
        if normalize(clip.reference, "en-US") not in ("", _NO_SPEECH):
            name, fields = f"{folder.name}/{clip.id}", {**clip.fields, "set": folder.name}
            yield replace(clip, id=name, fields=fields, locale="en-US")


def compare(table: Reproduction, summary: Mapping[str, Any]) -> list[Comparison]:
    """Compares the published rows with those of a summary, system by system.

    Published rows of a precision are compared with bundles of that precision, all others with each.
    """
    measured: dict[tuple[str, str, int, str], dict[str, Any]] = {}
    for row in summary["rows"]:
        condition = row["system"], row["precision"], row["latency_ms"], row["prompt"]
        measured.setdefault(condition, {})[table.key(row)] = row["error_rate"]
    return [
        Comparison(row, system, precision, {key: rates.get(key) for key in row.rates})
        for (system, precision, latency, prompt), rates in measured.items()
        for row in table.rows
        if (row.latency_ms, row.prompt) == (latency, prompt) and row.precision in (None, precision)
    ]


def write_comparison(output: Path, table: Reproduction, found: Sequence[Comparison]) -> None:
    """Writes comparison.md and comparison.json."""
    data = [{**asdict(one), "means": one.means} for one in found]
    text = json.dumps(data, ensure_ascii=False, indent=1) + "\n"
    (output / f"{COMPARISON}.json").write_text(text, encoding="utf-8")
    parts = [Section("Means", _MEANS, overview(found)), *map(_details, found)]
    text = markdown(f"{table.title}: published and measured", parts)
    (output / f"{COMPARISON}.md").write_text(text, encoding="utf-8")


_MEANS = (
    "Error rates in percent, means over the measured languages or sets, and measured minus "
    "published. The mean differs from the published one if not all of a table was measured."
)
_DETAILS = (
    "With the 95 % interval of resampled utterances; `outside` marks published figures outside of "
    "the interval."
)


def overview(found: Iterable[Comparison]) -> Table:
    """A line for each published row."""
    heads = ("system", "source", "latency", "language", "of", "published", "measured", "difference")
    lines = []
    for one in found:
        row = one.published
        figures, count = (f"{row.mean:.2f}", "-", "-"), 0
        if one.means:
            theirs, ours, count = one.means
            figures = f"{theirs:.2f}", f"{ours:.2f}", f"{ours - theirs:+.2f}"
        about = (f"{one.system} {one.precision}", row.source, f"{row.latency_ms} ms", row.prompt)
        lines.append((*about, f"{count} of {len(row.rates)}", *figures))
    return Table(heads, tuple(lines))


def _details(one: Comparison) -> Section:
    row, lines = one.published, []
    for key, published in row.rates.items():
        measured, difference = "-", "-"
        if rate := one.rates[key]:
            outside = "" if rate["low"] <= published <= rate["high"] else " outside"
            measured = f"{rate['value']:.2f} ({rate['low']:.2f}-{rate['high']:.2f})"
            difference = f"{rate['value'] - published:+.2f}{outside}"
        lines.append((key, f"{published:.2f}", measured, difference))
    condition = f"{row.latency_ms} ms, language {row.prompt}"
    title = f"{one.system} {one.precision}, {condition}: {row.source}"
    return Section(
        title, _DETAILS, Table(("", "published", "measured", "difference"), tuple(lines))
    )
