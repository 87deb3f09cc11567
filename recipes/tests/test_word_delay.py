"""Emission delays of words."""

from __future__ import annotations

import ctypes.util
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from recipes.wheatear_small.word_delay import SpokenSentence, make_sentences, measure
from wheatear.transcript.results import Token
from wheatear.transcript.words import Delay, WordBuilder

WORDS = ["one", "two,", "three", "four", "five"]


@dataclass(frozen=True)
class Manifest:
    delays_ms: dict[int, tuple[int, int]]


@dataclass(frozen=True)
class Bundle:
    manifest: Manifest


class LateRecognizer:
    """Recognizes all words: first tokens 0.2 s after the start, last tokens 0.1 s after the end."""

    latencies_ms = (80,)

    def __init__(self, model: Bundle | None = None) -> None:
        self.model = model or Bundle(Manifest({80: (700, 700)}))

    def transcribe(self, samples: np.ndarray, **_options: object) -> SimpleNamespace:
        start, end = self.model.manifest.delays_ms[80]
        builder, tokens = WordBuilder(Delay(start / 1000, end / 1000)), self.tokens()
        words = [word for token in tokens for word in builder.add(token)] + builder.finish()
        return SimpleNamespace(words=words)

    def tokens(self) -> list[Token]:
        tokens = []
        for i, word in enumerate(WORDS):
            begin, end = 0.5 * i, 0.5 * (i + 1)
            tokens += [
                Token(1, f" {word[:1]}", begin + 0.2, begin + 0.28),
                Token(2, word[1:], end + 0.02, end + 0.1),
            ]
        return tokens


def test_known_delays_are_measured_and_corrected() -> None:
    starts = [(word, 0.5 * i) for i, word in enumerate(WORDS)]
    spoken = [SpokenSentence(" ".join(WORDS), "en-US", np.zeros(16000, np.float32), starts)] * 2
    (row,) = measure(LateRecognizer(), spoken)  # type: ignore[arg-type]
    assert (row["start_ms"], row["end_ms"]) == (200, 100)
    assert row["start_error_ms"] <= 1
    assert row["words"] == 5
    builder = WordBuilder(Delay(0.2, 0.1))
    found = [w for t in LateRecognizer().tokens() for w in builder.add(t)]
    assert [(w.start, w.end) for w in found] == [
        (pytest.approx(0.5 * i), pytest.approx(0.5 * i + 0.5)) for i in range(4)
    ]


@pytest.mark.skipif(not ctypes.util.find_library("espeak-ng"), reason="needs espeak-ng")
def test_espeak_reports_the_starts_of_words() -> None:
    for spoken in make_sentences(["en-US", "ru-RU"], 3):
        starts = [start for _, start in spoken.starts]
        assert starts == sorted(starts)
        assert 0.25 < starts[0] < 0.5
        assert starts[-1] < len(spoken.samples) / 16000
        words = " ".join(word for word, _ in spoken.starts)
        assert set(words.lower()) <= set(spoken.text.lower())
