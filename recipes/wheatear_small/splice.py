"""New sentences in the voice of a recorded speaker, from stretches of the recordings.

A model that hears the same hundred prompts again and again learns them by heart.  Put together anew
the words stay, the sentences do not: half of the stretches are chosen for a word, each word of the
speaker counting alike, half for a recording; each is grown to one to five words, and one to four of
them follow each other with hardly a pause.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from recipes.wheatear_small import templates as texts
from recipes.wheatear_small.recordings import Aligned
from recipes.wheatear_small.text_filter import training_text
from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples

_FADE = 80  # samples: 5 ms
_MOST_WORDS = 5  # of a stretch
_COUNTS = (1, 2, 2, 3, 3, 4)  # stretches in a sentence
_TRIES = 40


@dataclass(frozen=True)
class Stretch:
    """A part of a recording."""

    path: Path
    start: float
    """Seconds."""
    end: float
    pause: float
    """Seconds of silence after it."""


@dataclass(frozen=True)
class Splice:
    """Stretches one after the other."""

    name: str
    """Of the speaker."""
    stretches: tuple[Stretch, ...]

    def read(self) -> Samples:
        """float32 mono 16 kHz."""
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
    """Sentences of one speaker."""

    def __init__(self, recordings: Sequence[Aligned], folder: Path) -> None:
        """folder: where their paths begin."""
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
        """(text, splice, licence), none that evaluation owns."""
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
            yield text, Splice(first.speaker, stretches), first.licence

    def _stretch(self, rng: random.Random) -> tuple[Aligned, int, int]:
        """A recording, its first and its last run."""
        if rng.random() < 0.5:
            number, first = rng.choice(self._places[rng.choice(self._words)])
        else:
            number = rng.randrange(len(self._recordings))
            first = rng.randrange(len(self._recordings[number].runs))
        runs, last = self._recordings[number].runs, first
        wanted = rng.randint(1, _MOST_WORDS)
        while sum(len(r.words) for r in runs[first : last + 1]) < wanted:
            if last + 1 < len(runs) and (first == 0 or rng.random() < 0.5):
                last += 1
            elif first > 0:
                first -= 1
            else:
                break
        return self._recordings[number], first, last

    def _text(self, chosen: Sequence[tuple[Aligned, int, int]]) -> str:
        """As it is written: capitals and punctuation only where they still belong."""
        words: list[str] = []
        for recording, first, last in chosen:
            some = [w for run in recording.runs[first : last + 1] for w in run.words]
            if first == 0 and _bare(some[0]) not in self._capitals:
                some[0] = some[0][0].lower() + some[0][1:]
            words += [*some[:-1], some[-1].rstrip(".,:")]
        return texts.capitalise(" ".join(words))


def _bare(word: str) -> str:
    return word.strip(".,:;?!").lower()
