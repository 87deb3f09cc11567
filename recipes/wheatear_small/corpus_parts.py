"""What a corpus consists of: the parts of a recipe file, and the list of clips that each needs.

A part is a table of the file:

    [closed]
    domain = 3500                 # sentences of the templates, for each locale

    recordings = true             # the human recordings themselves
    spliced = N                   # N new sentences from stretches of them, for each locale
    digits, domain, given = N     # up to N digit rows, template or given sentences for each locale
    given_after = N               # given sentences to pass over: parts of one seed share none
    prompts = N                   # the texts of the human recordings, each by N voices
    engines, locales = [...]      # which voices and locales (default: the fast ones, all)
    unseen_voices = true          # the voices that never speak in training
    seed = N

Everything is drawn from the seed, so one recipe gives one list on machines with the same voices.
"""

# Chance here need not be secret.
# ruff: noqa: S311
from __future__ import annotations

import hashlib
import json
import random
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from recipes.wheatear_small import synthesizers as voices
from recipes.wheatear_small import templates as texts
from recipes.wheatear_small.recordings import Line, human_texts, read_aligned, read_lines
from recipes.wheatear_small.splice import Splice, Splicer
from recipes.wheatear_small.synthesizers import Voice
from recipes.wheatear_small.text_filter import LOCALE_OF, allowed, training_text, words
from wheatear.common.text_files import read_text
from wheatear.errors import CorpusError

FAST = ("espeak", "pico", "flite", "rhvoice")
OWN_TEXT = "Apache-2.0 (templates of this project)"


@dataclass(frozen=True)
class PartRecipe:
    """One part of the corpus."""

    name: str
    recordings: bool = False
    spliced: int = 0
    digits: int = 0
    domain: int = 0
    given: int = 0
    given_after: int = 0
    """Given sentences to pass over first: parts of one seed then share none."""
    prompts: int = 0
    engines: tuple[str, ...] = FAST
    locales: tuple[str, ...] = texts.LOCALES
    unseen_voices: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Sources:
    """Where texts and recordings come from, and what must not be said."""

    clips: Path | None = None
    """Manifest of human recordings to train on."""
    aligned: Path | None = None
    """Where their words are, as `recipes.wheatear_small.align` tells."""
    text: Path | None = None
    """Folder of given sentences, <locale>.jsonl."""
    excluded: frozenset[str] = frozenset()
    """Words of the evaluation recordings."""


@dataclass(frozen=True)
class Job:
    """One clip: a sentence, and the voice or the recording to take it from."""

    text: str
    locale: str
    voice: Voice | Path | Splice
    speaker: str
    source: str
    licence: str
    seed: int = 0


def read_recipe(path: Path) -> list[PartRecipe]:
    """The parts of a recipe file, in its order."""
    try:
        parts = tomllib.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read as a recipe: {error}") from error
    return [_part(path, name, options) for name, options in parts.items()]


def _part(path: Path, name: str, options: dict[str, object]) -> PartRecipe:
    known = PartRecipe.__dataclass_fields__.keys() - {"name"}
    if unknown := sorted(options.keys() - known):
        raise CorpusError(
            f"{path}: part {name} has the unknown option {unknown[0]!r}; "
            f"the options are {', '.join(sorted(known))}"
        )
    lists = {key: tuple(v) for key, v in options.items() if isinstance(v, list)}
    part = PartRecipe(name, **{**options, **lists})  # type: ignore[arg-type]
    templates = part.digits or part.domain
    there = texts.LOCALES if templates else (*texts.LOCALES, *texts.ADDED)
    if wrong := sorted(set(part.locales) - set(there)):
        raise CorpusError(
            f"{path}: part {name} asks for locale {wrong[0]!r}; there are "
            f"{'templates' if templates else 'texts'} for {', '.join(there)}"
        )
    return part


def digest(jobs: list[Job]) -> str:
    """One hash of everything that the clips of a part are made from, wherever that lies."""
    rows = [asdict(job) | {"voice": _origin(job.voice)} for job in jobs]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


def _origin(voice: Voice | Path | Splice) -> object:
    """What is spoken from; the speaker of a job names a synthetic voice."""
    if isinstance(voice, Splice):
        return [(s.path.name, s.start, s.end, s.pause) for s in voice.stretches]
    return voice.name if isinstance(voice, Path) else None


def open_texts(folder: Path, locale: str, excluded: frozenset[str]) -> Iterator[tuple[str, str]]:
    """(text, licence) of the given sentences that are short and plainly spoken."""
    stem = next(name for name, tag in LOCALE_OF.items() if tag == locale)
    for line in read_lines(folder / f"{stem}.jsonl"):
        text = training_text(line["text"], locale, excluded)
        if text and 4 <= len(text) <= 70 and re.fullmatch(r"[\w ,.'¿?¡!-]+", text):
            yield text, line["licence"]


def jobs(part: PartRecipe, sources: Sources) -> list[Job]:
    """The clips of a part: first the recordings, then what is to be synthesised, shuffled."""
    if sources.clips is None and (part.recordings or part.prompts):
        raise CorpusError(f"part {part.name} takes recordings; give their manifest with --clips")
    if part.spliced and (sources.clips is None or sources.aligned is None):
        raise CorpusError(
            f"part {part.name} splices recordings; give their manifest with --clips and where "
            "their words are (python -m recipes.wheatear_small.align) with --aligned"
        )
    if sources.text is None and part.given:
        raise CorpusError(f"part {part.name} takes given sentences; say where with --text FOLDER")
    found = [
        *_recorded(part, sources), *_spliced(part, sources), *_synthetic(part, sources)
    ]  # fmt: skip
    if not found:
        raise CorpusError(f"part {part.name} holds no clip; give it sentences, or a voice to speak")
    return found


def _recorded(part: PartRecipe, sources: Sources) -> Iterator[Job]:
    folder = sources.clips.parent if sources.clips else Path()
    for line, text in _prompts(part, sources) if part.recordings else ():
        yield Job(
            text, LOCALE_OF[line["lang"]], folder / line["audio_filepath"],
            line["speaker"], line["source"], line["licence"],
        )  # fmt: skip


def _spliced(part: PartRecipe, sources: Sources) -> Iterator[Job]:
    if not part.spliced or sources.clips is None or sources.aligned is None:
        return
    rng = random.Random(part.seed)
    for locale, recordings in sorted(read_aligned(sources.aligned).items()):
        if locale in part.locales:
            splicer = Splicer(recordings, sources.clips.parent)
            for text, splice, licence in splicer.sentences(part.spliced, sources.excluded, rng):
                yield Job(text, locale, splice, splice.name, "spliced recordings", licence)


def _synthetic(part: PartRecipe, sources: Sources) -> list[Job]:
    rng = random.Random(part.seed)
    wanted = list(_sentences(part, sources, rng))  # locale, text, source, licence of the text
    rng.shuffle(wanted)
    cast = {
        locale: [
            v for v in voices.available(locale, part.engines) if v.held_out == part.unseen_voices
        ]
        for locale in part.locales
    }
    for locale in sorted({row[0] for row in wanted if not cast[row[0]]}):
        print(f"{part.name}: no voice of {', '.join(part.engines)} for {locale}: left out")
    found = []
    for locale, text, source, text_licence in wanted:
        if cast[locale]:
            weights = [max(v.weight, 0.1) for v in cast[locale]]
            voice = rng.choices(cast[locale], weights)[0]
            speaker = f"{voice.engine}:{voice.name}"
            licence = f"{voice.licence}; text {text_licence}"
            seed = rng.getrandbits(32)
            found.append(Job(text, locale, voice, speaker, source, licence, seed))
    return found


def _sentences(
    part: PartRecipe, sources: Sources, rng: random.Random
) -> Iterator[tuple[str, str, str, str]]:
    for locale in part.locales:
        for make, count in ((texts.digits, part.digits), (texts.sentence, part.domain)):
            made = _made(make, count, locale, sources.excluded, rng)
            yield from [(locale, text, "templates", OWN_TEXT) for text in made]
        if sources.text and part.given:
            given = list(open_texts(sources.text, locale, sources.excluded))
            rng.shuffle(given)
            for text, licence in given[part.given_after :][: part.given]:
                yield locale, text, "given-text", licence
    for line, text in _prompts(part, sources) if part.prompts else ():
        for _ in range(part.prompts):
            yield LOCALE_OF[line["lang"]], text, "prompt-text", line["licence"]


def _prompts(part: PartRecipe, sources: Sources) -> Iterator[tuple[Line, str]]:
    """Recordings of the part's locales, with their texts."""
    for line, text in human_texts(sources.clips, sources.excluded) if sources.clips else ():
        if LOCALE_OF[line["lang"]] in part.locales:
            yield line, text


def _made(
    make: Callable[[str, random.Random], str],
    count: int,
    locale: str,
    excluded: frozenset[str],
    rng: random.Random,
) -> list[str]:
    """So many free sentences; twice as many are drawn, since evaluation owns two of five."""
    drawn = [make(locale, rng) for _ in range(2 * count)]
    return [text for text in drawn if words(text) not in excluded and allowed(text)][:count]
