"""Emission delay of words, measured on synthetic speech with known word times.

    python -m recipes.wheatear_small.word_delay BUNDLE [--write]

espeak-ng reports when each word begins.  Correctly recognized words give the delay of a word's
first token after its start, and of its last token after its end (the next word's start, if no
punctuation is between them).  The medians over one half of the sentences are the correction; the
remaining error is measured on the other half.  --write stores the correction of each latency in the
bundle's manifest.
"""

# Randomness here needs no secrecy.
# ruff: noqa: S311
from __future__ import annotations

import argparse
import ctypes
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr

import wheatear
from recipes.wheatear_small import templates
from recipes.wheatear_small.synthesizers import ESPEAK_BASE, ESPEAK_HELD_OUT
from recipes.wheatear_small.text_filter import bare_words, may_train_on
from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples
from wheatear.errors import CorpusError
from wheatear.evaluate.wer import matching_pairs
from wheatear.model.bundle import open_bundle
from wheatear.model.manifest import write_manifest
from wheatear.transcript.words import Delay

_WORD_EVENT, _SYNCHRONOUS, _UTF8 = 1, 2, 1


class _Name(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int), ("unique", ctypes.c_uint), ("position", ctypes.c_int),
        ("length", ctypes.c_int), ("milliseconds", ctypes.c_int), ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p), ("id", _Name),
    )  # fmt: skip


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class SpokenSentence(NamedTuple):
    """A spoken sentence, and the starts of its words."""

    text: str
    locale: str
    samples: Samples
    starts: list[tuple[str, float]]
    """Words as written, with times in seconds."""


@cache
def _library() -> tuple[Any, int]:
    try:
        library = ctypes.CDLL("libespeak-ng.so.1")
    except OSError as error:
        raise CorpusError("libespeak-ng.so.1 is missing: apt-get install espeak-ng") from error
    return library, library.espeak_Initialize(_SYNCHRONOUS, 0, None, 0)


def speak(text: str, locale: str, voice: str) -> SpokenSentence:
    """Synthesizes a sentence with an espeak-ng voice such as en-us+f5."""
    library, rate = _library()
    blocks: list[np.ndarray] = []
    events: list[tuple[int, int, int]] = []

    def take(wave: Any, count: int, found: Any) -> int:
        if wave:
            blocks.append(np.ctypeslib.as_array(wave, (count,)).copy())
        at = 0
        while found[at].type:
            if found[at].type == _WORD_EVENT:
                events.append((found[at].position, found[at].length, found[at].sample))
            at += 1
        return 0

    callback = _Callback(take)
    library.espeak_SetSynthCallback(callback)
    library.espeak_SetVoiceByName(voice.encode())
    raw = text.encode()
    library.espeak_Synth(raw, len(raw) + 1, 0, 0, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    wave = np.concatenate(blocks).astype(np.float32) / 32768
    starts = [
        (text[position - 1 :][:length], sample / rate)
        for position, length, sample in events
        if length
    ]
    before = int(0.3 * SAMPLE_RATE)
    samples = np.pad(soxr.resample(wave, rate, SAMPLE_RATE), (before, SAMPLE_RATE))
    return SpokenSentence(
        text, locale, np.asarray(samples, np.float32), [(w, t + 0.3) for w, t in starts]
    )


def make_sentences(locales: Sequence[str], each: int, seed: int = 7) -> list[SpokenSentence]:
    """Synthesizes sentences of each locale with held-out texts and held-out voices."""
    rng = random.Random(seed)
    found: list[SpokenSentence] = []
    for locale in locales:
        candidates = (templates.random_sentence(locale, rng) for _ in range(100 * each))
        for text in [t for t in candidates if not may_train_on(t)][:each]:
            voice = f"{rng.choice(ESPEAK_BASE[locale])}+{rng.choice(ESPEAK_HELD_OUT)}"
            found.append(speak(text, locale, voice))
    return found


class Offset(NamedTuple):
    """Delay of a word in seconds; end is None if the true end is unknown."""

    start: float
    end: float | None


def offsets(
    recognizer: wheatear.Recognizer, spoken: SpokenSentence, latency: int, delay: Delay
) -> list[Offset]:
    """Measures the delays of correctly recognized words."""
    late = {latency: (round(1000 * delay.start), round(1000 * delay.end))}
    manifest = replace(recognizer.model.manifest, delays_ms=late)
    corrected = type(recognizer)(replace(recognizer.model, manifest=manifest))
    found = corrected.transcribe(spoken.samples, language=spoken.locale, latency_ms=latency)
    recognized = found.words
    true = [bare_words(word) for word, _ in spoken.starts]
    result = []
    for a, b in matching_pairs(true, [bare_words(word.text) for word in recognized]):
        # A word ends at the start of the next one, unless punctuation follows.
        word, follows = recognized[b], a + 1 < len(true) and recognized[b].text[-1:].isalnum()
        end = word.end - spoken.starts[a + 1][1] if follows else None
        result.append(Offset(word.start - spoken.starts[a][1], end))
    return result


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else 0.0


def measure(
    recognizer: wheatear.Recognizer, spoken: Sequence[SpokenSentence]
) -> list[dict[str, Any]]:
    """Returns a row for each latency: correction and remaining median error in ms."""
    rows = []
    for latency in recognizer.latencies_ms:
        fit = [o for s in spoken[::2] for o in offsets(recognizer, s, latency, Delay())]
        delay = Delay(
            max(0.0, _median([o.start for o in fit])),
            max(0.0, _median([o.end for o in fit if o.end is not None])),
        )
        left = [o for s in spoken[1::2] for o in offsets(recognizer, s, latency, delay)]
        rows.append(
            {
                "latency_ms": latency, "words": len(left),
                "start_ms": round(1000 * delay.start), "end_ms": round(1000 * delay.end),
                "start_error_ms": round(1000 * _median([abs(o.start) for o in left])),
                "end_error_ms": round(
                    1000 * _median([abs(o.end) for o in left if o.end is not None])
                ),
            }
        )  # fmt: skip
    return rows


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Emission delay of words.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--sentences", type=int, default=40, help="sentences of each locale")
    parser.add_argument(
        "--write", action="store_true", help="store the correction in the bundle's manifest"
    )
    arguments = parser.parse_args(argv)
    recognizer = wheatear.load(arguments.bundle)
    locales = [locale for locale in templates.LOCALES if locale in recognizer.languages]
    rows = measure(recognizer, make_sentences(locales, arguments.sentences))
    for row in rows:
        print(json.dumps(row))
    if arguments.write:
        delays = {row["latency_ms"]: (row["start_ms"], row["end_ms"]) for row in rows}
        bundle = open_bundle(arguments.bundle)
        write_manifest(arguments.bundle, replace(bundle.manifest, delays_ms=delays))


if __name__ == "__main__":
    main()
