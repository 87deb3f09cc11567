"""New sentences of a recorded speaker, joined from stretches of the recordings.

A model that is trained on the same hundred prompts memorizes them.  Splicing keeps the words and
changes the sentences.  Half of the stretches are drawn by word, with equal probability for each
word of the speaker, half by recording.  A stretch has one to five words, a sentence one to four
stretches with short pauses.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from recipes.wheatear_small import templates
from recipes.wheatear_small.recordings import AlignedRecording
from recipes.wheatear_small.text_filter import training_text
from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples

_FADE = 80  # samples: 5 ms
_MAX_WORDS = 5  # in a stretch
_COUNTS = (1, 2, 2, 3, 3, 4)  # stretches in a sentence
_TRIES = 40


@dataclass(frozen=True)
class Stretch:
    """Part of a recording; times are in seconds."""

    path: Path
    start: float
    end: float
    pause: float
    """Silence after the stretch."""


@dataclass(frozen=True)
class Splice:
    """Sequence of stretches of one speaker."""

    speaker: str
    stretches: tuple[Stretch, ...]

    def read(self) -> Samples:
        """Returns float32 samples [n] at 16 kHz, mono."""
        parts = []
        for stretch in self.stretches:
            first, last = (round(t * SAMPLE_RATE) for t in (stretch.start, stretch.end))
            samples, _ = sf.read(stretch.path, frames=last - first, start=first, dtype="float32")
            fade = np.linspace(0, 1, min(_FADE, len(samples)), dtype=np.float32)
            samples[: len(fade)] *= fade
            samples[len(samples) - len(fade) :] *= fade[::-1]
            parts += [samples, np.zeros(round(stretch.pause * SAMPLE_RATE), np.float32)]
        return np.concatenate(parts)


class Splicer:
    """Makes new sentences of one speaker."""

    def __init__(self, recordings: Sequence[AlignedRecording], folder: Path) -> None:
        """Takes recordings whose paths are relative to `folder`."""
        self._recordings, self._folder = recordings, folder
        self._places: dict[str, list[tuple[int, int]]] = defaultdict(list)
        capitals: set[str] = set()
        for number, recording in enumerate(recordings):
            for at, run in enumerate(recording.runs):
                for word in run.words:
                    self._places[_bare(word)].append((number, at))
            inside = [w for run in recording.runs for w in run.words][1:]
            capitals |= {_bare(w) for w in inside if w[0].isupper()}
        self._capitals = capitals
        self._words = sorted(self._places)

    def sentences(
        self, count: int, excluded: frozenset[str], rng: random.Random
    ) -> Iterator[tuple[str, Splice, str]]:
        """Yields text, splice and license of sentences that are not reserved for evaluation."""
        made = 0
        for _ in range(_TRIES * count):
            if made == count:
                return
            locale = self._recordings[0].locale
            chosen = [self._stretch(rng) for _ in range(rng.choice(_COUNTS))]
            text = training_text(self._text(chosen), locale, excluded)
            if text is None:
                continue
            made += 1
            stretches = tuple(
                Stretch(
                    self._folder / r.path, r.runs[a].start, r.runs[b].end,
                    round(rng.choice((0.0, 0.0, 0.05, 0.2)) * rng.random(), 4),
                )
                for r, a, b in chosen
            )  # fmt: skip
            first = chosen[0][0]
            yield text, Splice(first.speaker, stretches), first.license

    def _stretch(self, rng: random.Random) -> tuple[AlignedRecording, int, int]:
        """Draws a recording, its first and its last run."""
        if rng.random() < 0.5:
            number, first = rng.choice(self._places[rng.choice(self._words)])
        else:
            number = rng.randrange(len(self._recordings))
            first = rng.randrange(len(self._recordings[number].runs))
        runs, last = self._recordings[number].runs, first
        wanted = rng.randint(1, _MAX_WORDS)
        while sum(len(r.words) for r in runs[first : last + 1]) < wanted:
            if last + 1 < len(runs) and (first == 0 or rng.random() < 0.5):
                last += 1
            elif first > 0:
                first -= 1
            else:
                break
        return self._recordings[number], first, last

    def _text(self, chosen: Sequence[tuple[AlignedRecording, int, int]]) -> str:
        """Returns the text, with capitals and punctuation only where they still apply."""
        words: list[str] = []
        for recording, first, last in chosen:
            words_of_run = [w for run in recording.runs[first : last + 1] for w in run.words]
            if first == 0 and _bare(words_of_run[0]) not in self._capitals:
                words_of_run[0] = words_of_run[0][0].lower() + words_of_run[0][1:]
            words += [*words_of_run[:-1], words_of_run[-1].rstrip(".,:")]
        return templates.capitalize(" ".join(words))


def _bare(word: str) -> str:
    return word.strip(".,:;?!").lower()
