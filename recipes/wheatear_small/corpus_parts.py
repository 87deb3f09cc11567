"""Parts of a corpus: options in a corpus file, and the list of clips of each part.

A part is a table of the file:

    [closed]
    domain = 3500                 # sentences of the templates, for each locale

    recordings = true             # the human recordings
    spliced = N                   # N new sentences from stretches of them, for each locale
    digits, domain, given = N     # up to N digit rows, template or given sentences for each locale
    given_after = N               # given sentences to skip: parts of one seed share none
    prompts = N                   # the texts of the human recordings, each by N voices
    engines, locales = [...]      # engines and locales (default: the fast ones, all)
    unseen_voices = true          # the voices that are held out from training
    seed = N

All choices are drawn from the seed: a file gives the same clips on machines with the same voices.
"""

# Randomness here needs no secrecy.
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

from recipes.wheatear_small import synthesizers, templates
from recipes.wheatear_small.recordings import Line, human_texts, read_aligned, read_lines
from recipes.wheatear_small.splice import Splice, Splicer
from recipes.wheatear_small.synthesizers import Voice
from recipes.wheatear_small.text_filter import LOCALE_OF, bare_words, may_train_on, training_text
from wheatear.common.text_files import read_text
from wheatear.errors import CorpusError

FAST = ("espeak", "pico", "flite", "rhvoice")
OWN_TEXT = "Apache-2.0 (templates of this project)"


@dataclass(frozen=True)
class CorpusPart:
    """Options of a part of the corpus."""

    name: str
    recordings: bool = False
    spliced: int = 0
    digits: int = 0
    domain: int = 0
    given: int = 0
    given_after: int = 0
    """Given sentences to skip, so that parts of one seed share none."""
    prompts: int = 0
    engines: tuple[str, ...] = FAST
    locales: tuple[str, ...] = templates.LOCALES
    unseen_voices: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Sources:
    """Paths of texts and recordings, and excluded sentences."""

    clips: Path | None = None
    """Manifest of human recordings to train on."""
    aligned: Path | None = None
    """Positions of their words, made by `recipes.wheatear_small.align`."""
    text: Path | None = None
    """Folder of given sentences, <locale>.jsonl."""
    excluded: frozenset[str] = frozenset()
    """Sentences of the evaluation recordings, as bare words."""


@dataclass(frozen=True)
class CorpusClip:
    """Sentence of a clip, and its voice or recording."""

    text: str
    locale: str
    voice: Voice | Path | Splice
    speaker: str
    source: str
    license: str
    seed: int = 0


def read_corpus_parts(path: Path) -> list[CorpusPart]:
    """Reads the parts of a corpus file, in order."""
    try:
        parts = tomllib.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read as a corpus file: {error}") from error
    return [_part(path, name, options) for name, options in parts.items()]


def _part(path: Path, name: str, options: dict[str, object]) -> CorpusPart:
    known = CorpusPart.__dataclass_fields__.keys() - {"name"}
    if unknown := sorted(options.keys() - known):
        raise CorpusError(
            f"{path}: part {name} has the unknown option {unknown[0]!r}; "
            f"the options are {', '.join(sorted(known))}"
        )
    lists = {key: tuple(v) for key, v in options.items() if isinstance(v, list)}
    part = CorpusPart(name, **{**options, **lists})  # type: ignore[arg-type]
    from_templates = part.digits or part.domain
    there = templates.LOCALES if from_templates else (*templates.LOCALES, *templates.ADDED)
    if wrong := sorted(set(part.locales) - set(there)):
        raise CorpusError(
            f"{path}: part {name} has the locale {wrong[0]!r}; there are "
            f"{'templates' if from_templates else 'texts'} for {', '.join(there)}"
        )
    return part


def clips_digest(clips: list[CorpusClip]) -> str:
    """Hashes the texts, voices and recordings of clips, independent of their folders."""
    rows = [asdict(clip) | {"voice": _origin(clip.voice)} for clip in clips]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


def _origin(voice: Voice | Path | Splice) -> object:
    """Returns the recording of a clip; its speaker names a synthetic voice."""
    if isinstance(voice, Splice):
        return [(s.path.name, s.start, s.end, s.pause) for s in voice.stretches]
    return voice.name if isinstance(voice, Path) else None


def open_texts(folder: Path, locale: str, excluded: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yields text and license of short given sentences without special characters."""
    stem = next(name for name, tag in LOCALE_OF.items() if tag == locale)
    for line in read_lines(folder / f"{stem}.jsonl"):
        text = training_text(line["text"], locale, excluded)
        if text and 4 <= len(text) <= 70 and re.fullmatch(r"[\w ,.'¿?¡!-]+", text):
            yield text, line["license"]


def clips_of_part(part: CorpusPart, sources: Sources) -> list[CorpusClip]:
    """Lists the clips of a part: recordings, then spliced and synthetic clips."""
    if sources.clips is None and (part.recordings or part.prompts):
        raise CorpusError(f"part {part.name} takes recordings; give their manifest with --clips")
    if part.spliced and (sources.clips is None or sources.aligned is None):
        raise CorpusError(
            f"part {part.name} splices recordings; give their manifest with --clips and the "
            "positions of their words (python -m recipes.wheatear_small.align) with --aligned"
        )
    if sources.text is None and part.given:
        raise CorpusError(f"part {part.name} takes given sentences; give their folder with --text")
    found = [
        *_recorded(part, sources), *_spliced(part, sources), *_synthetic(part, sources)
    ]  # fmt: skip
    if not found:
        raise CorpusError(f"part {part.name} has no clip; give it sentences, or install a voice")
    return found


def _recorded(part: CorpusPart, sources: Sources) -> Iterator[CorpusClip]:
    folder = sources.clips.parent if sources.clips else Path()
    for line, text in _prompts(part, sources) if part.recordings else ():
        yield CorpusClip(
            text, LOCALE_OF[line["lang"]], folder / line["audio_filepath"],
            line["speaker"], line["source"], line["license"],
        )  # fmt: skip


def _spliced(part: CorpusPart, sources: Sources) -> Iterator[CorpusClip]:
    if not part.spliced or sources.clips is None or sources.aligned is None:
        return
    rng = random.Random(part.seed)
    for locale, recordings in sorted(read_aligned(sources.aligned).items()):
        if locale in part.locales:
            splicer = Splicer(recordings, sources.clips.parent)
            for text, splice, terms in splicer.sentences(part.spliced, sources.excluded, rng):
                yield CorpusClip(text, locale, splice, splice.speaker, "spliced recordings", terms)


def _synthetic(part: CorpusPart, sources: Sources) -> list[CorpusClip]:
    rng = random.Random(part.seed)
    wanted = list(_sentences(part, sources, rng))  # locale, text, source, license of the text
    rng.shuffle(wanted)
    cast = {
        locale: [
            v
            for v in synthesizers.available(locale, part.engines)
            if v.held_out == part.unseen_voices
        ]
        for locale in part.locales
    }
    for locale in sorted({row[0] for row in wanted if not cast[row[0]]}):
        print(f"{part.name}: no voice of {', '.join(part.engines)} for {locale}: left out")
    found = []
    for locale, text, source, text_license in wanted:
        if cast[locale]:
            weights = [max(v.weight, 0.1) for v in cast[locale]]
            voice = rng.choices(cast[locale], weights)[0]
            speaker = f"{voice.engine}:{voice.name}"
            license = f"{voice.license}; text {text_license}"
            seed = rng.getrandbits(32)
            found.append(CorpusClip(text, locale, voice, speaker, source, license, seed))
    return found


def _sentences(
    part: CorpusPart, sources: Sources, rng: random.Random
) -> Iterator[tuple[str, str, str, str]]:
    for locale in part.locales:
        for make, count in (
            (templates.random_digits, part.digits),
            (templates.random_sentence, part.domain),
        ):
            made = _made(make, count, locale, sources.excluded, rng)
            yield from [(locale, text, "templates", OWN_TEXT) for text in made]
        if sources.text and part.given:
            given = list(open_texts(sources.text, locale, sources.excluded))
            rng.shuffle(given)
            for text, license in given[part.given_after :][: part.given]:
                yield locale, text, "given-text", license
    for line, text in _prompts(part, sources) if part.prompts else ():
        for _ in range(part.prompts):
            yield LOCALE_OF[line["lang"]], text, "prompt-text", line["license"]


def _prompts(part: CorpusPart, sources: Sources) -> Iterator[tuple[Line, str]]:
    """Yields recordings of the part's locales with their texts."""
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
    """Makes up to `count` sentences that are not reserved for evaluation."""
    drawn = [make(locale, rng) for _ in range(2 * count)]
    return [text for text in drawn if bare_words(text) not in excluded and may_train_on(text)][
        :count
    ]
