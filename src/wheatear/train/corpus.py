"""Builds the corpus: texts and voices to one PCM file and a NeMo-style manifest per part.

    python -m wheatear.train.corpus human  --out DIR --clips speech_train/manifest.jsonl
    python -m wheatear.train.corpus closed --out DIR --clips-per-locale 4000
    python -m wheatear.train.corpus echo   --out DIR --clips speech_train/manifest.jsonl
    python -m wheatear.train.corpus open   --out DIR --text text/
    python -m wheatear.train.corpus digits|neural|test ...

A part is `DIR/<part>.pcm` (int16 little-endian, 16 kHz, mono, clips end to end) and
`DIR/<part>.jsonl`; each line has audio_filepath, offset and duration in seconds, text, lang,
speaker, source, licence.  No text of evaluation bucket 0 or 1 is ever written (`allowed`).
"""

# Chance here need not be secret.
# ruff: noqa: S311
from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from wheatear.train import texts, voices
from wheatear.train.sentences import allowed, spoken, training_text, words
from wheatear.train.voices import SAMPLE_RATE, Samples, Voice

FAST = ("espeak", "pico", "flite", "rhvoice")
NEURAL = ("joe", "kokoro")
OWN_TEXT = "Apache-2.0 (templates of this project)"
# The recordings are es-419 (Mexico); the model's tag for the Spanish of the Americas is es-US.
LOCALE_OF = {"en-US": "en-US", "es-419": "es-US", "it-IT": "it-IT"}


@dataclass(frozen=True)
class Job:
    """One clip to synthesise."""

    text: str
    locale: str
    voice: Voice
    source: str
    text_licence: str
    seed: int


def _synthesise(job: Job) -> tuple[Job, Samples | None]:
    try:
        return job, voices.speak(job.voice, job.locale, job.text, random.Random(job.seed))
    except (OSError, ValueError, RuntimeError, voices.subprocess.SubprocessError):
        return job, None  # one voice that cannot say one sentence is no reason to stop


class Part:
    """Writer of one part of the corpus."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.audio_name = f"{name}.pcm"
        self._pcm = (folder / self.audio_name).open("wb")
        # By the line, and after its audio: training may begin while a part is still growing.
        self._manifest = (folder / f"{name}.jsonl").open("w", encoding="utf-8", buffering=1)
        self.clips = 0
        self.samples = 0

    def add(self, samples: Samples, text: str, lang: str, **about: str) -> None:
        """Append a clip; refuses what evaluation owns."""
        if not allowed(text):
            raise ValueError(f"evaluation owns this sentence: {text!r}")
        line = {
            "audio_filepath": self.audio_name,
            "offset": self.samples / SAMPLE_RATE,
            "duration": len(samples) / SAMPLE_RATE,
            "text": text,
            "lang": lang,
            **about,
        }
        self._pcm.write((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
        self._pcm.flush()
        self._manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.clips += 1
        self.samples += len(samples)

    def close(self) -> None:
        self._pcm.close()
        self._manifest.close()
        minutes = self.samples / SAMPLE_RATE / 60
        print(f"{self.audio_name}: {self.clips} clips, {minutes:.1f} minutes")


def read_manifest(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def human_texts(manifest: Path, excluded: frozenset[str]) -> Iterator[tuple[dict[str, str], str]]:
    """(manifest line, text to train on) of the recordings that may be trained on."""
    for line in read_manifest(manifest):
        locale = LOCALE_OF.get(line["lang"])
        text = training_text(line["text"], locale, excluded) if locale else None
        # Faster than people speak: text and audio do not match (a wrong or merged entry).
        if text and len(text) < 25 * float(line["duration"]) + 8:
            yield line, text


def open_texts(folder: Path, locale: str, excluded: frozenset[str]) -> Iterator[tuple[str, str]]:
    """(text, licence) of the given sentences that are short and plainly spoken."""
    stem = next(name for name, tag in LOCALE_OF.items() if tag == locale)
    for line in read_manifest(folder / f"{stem}.jsonl"):
        text = training_text(line["text"], locale, excluded)
        if text and 4 <= len(text) <= 70 and re.fullmatch(r"[\w ,.'¿?¡!-]+", text):
            yield text, line["licence"]


def synthesise(part: Part, jobs: Iterable[Job], workers: int) -> None:
    with multiprocessing.Pool(workers) as pool:
        for job, samples in pool.imap_unordered(_synthesise, jobs, chunksize=8):
            if samples is not None and len(samples) < 20 * SAMPLE_RATE:
                part.add(
                    samples, job.text, job.locale,
                    speaker=f"{job.voice.engine}:{job.voice.name}",
                    source=job.source, licence=f"{job.voice.licence}; text {job.text_licence}",
                )  # fmt: skip


def _jobs(arguments: argparse.Namespace, excluded: frozenset[str]) -> list[Job]:
    """What to synthesise for a part, in random order."""
    rng = random.Random(arguments.seed)
    held_out = arguments.part == "test"
    wanted: list[tuple[str, str, str, str]] = []  # locale, text, source, licence of the text
    for locale in arguments.locales.split(","):
        closed = [
            (locale, text, "templates", OWN_TEXT)
            for text in _closed_texts(arguments, locale, rng)
            if words(text) not in excluded and allowed(text)
        ]
        wanted += closed[: arguments.clips_per_locale]
        if arguments.text and arguments.part in ("open", "neural"):
            given = list(open_texts(arguments.text, locale, excluded))
            rng.shuffle(given)
            limit = arguments.clips_per_locale if arguments.part == "open" else 50
            wanted += [(locale, t, "given-text", licence) for t, licence in given[:limit]]
    if arguments.clips and arguments.part in ("echo", "neural"):
        for line, text in human_texts(arguments.clips, excluded):
            row = (LOCALE_OF[line["lang"]], text, "prompt-text", line["licence"])
            wanted += [row] * (arguments.repeat if row[0] in arguments.locales else 0)
    rng.shuffle(wanted)
    engines = tuple(arguments.engines.split(","))
    cast = {
        locale: [v for v in voices.available(locale, engines) if v.held_out == held_out]
        for locale in texts.LOCALES
    }
    for locale, speakers in cast.items():
        if not speakers and any(row[0] == locale for row in wanted):
            print(f"no voice for {locale} in {arguments.engines}: locale left out")
    return [
        Job(
            text, locale,
            rng.choices(cast[locale], [max(v.weight, 0.1) for v in cast[locale]])[0],
            source, licence, rng.getrandbits(32),
        )
        for locale, text, source, licence in wanted
        if cast[locale]
    ]  # fmt: skip


def _closed_texts(arguments: argparse.Namespace, locale: str, rng: random.Random) -> Iterator[str]:
    make = {"digits": texts.digits, "closed": texts.sentence, "test": texts.sentence}
    make["neural"] = texts.sentence
    if arguments.part in make:
        for _ in range(2 * arguments.clips_per_locale):  # 40 % belong to evaluation
            yield make[arguments.part](locale, rng)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "part", choices=("human", "digits", "closed", "echo", "open", "neural", "test")
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--name", help="name of the part's files (default: the part)")
    parser.add_argument("--clips", type=Path, help="manifest of human recordings to train on")
    parser.add_argument("--text", type=Path, help="folder of given sentences, <locale>.jsonl")
    parser.add_argument("--exclude", type=Path, help="manifest whose sentences are never used")
    parser.add_argument("--clips-per-locale", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3, help="voices for each prompt's text")
    parser.add_argument("--locales", default=",".join(texts.LOCALES))
    parser.add_argument("--engines", default=",".join(FAST))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    unseen = read_manifest(arguments.exclude) if arguments.exclude else []
    excluded = frozenset(
        form
        for line in unseen
        for locale in [LOCALE_OF.get(line["lang"], "en-US")]
        for form in (words(line["text"]), words(spoken(line["text"], locale) or line["text"]))
    )
    part = Part(arguments.out, arguments.name or arguments.part)
    if arguments.part == "human":
        for line, text in human_texts(arguments.clips, excluded):
            path = arguments.clips.parent / line["audio_filepath"]
            samples, rate = sf.read(path, dtype="float32")
            if rate != SAMPLE_RATE:
                raise ValueError(f"{path} has {rate} Hz, not {SAMPLE_RATE}")
            about = {key: line[key] for key in ("speaker", "source", "licence")}
            part.add(np.asarray(samples, np.float32), text, LOCALE_OF[line["lang"]], **about)
    else:
        synthesise(part, _jobs(arguments, excluded), arguments.workers)
    part.close()


if __name__ == "__main__":
    main()
