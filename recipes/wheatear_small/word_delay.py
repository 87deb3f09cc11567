"""How late a bundle emits its words, measured on speech whose word times are known.

    python -m recipes.wheatear_small.word_delay BUNDLE [--write]

espeak-ng tells when each word of what it speaks begins.  Words that the bundle hears right give the
delay of a word's first token after its beginning, and of its last token after its end (the next
word's beginning, where no punctuation lies between).  Medians over one half of the sentences are
the correction, and the error that is left is measured on the other half.  --write puts the
correction into the bundle's manifest, per latency.
"""

# Chance here need not be secret.
# ruff: noqa: S311
from __future__ import annotations

import argparse
import ctypes
import json
import random
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr

import wheatear
from recipes.wheatear_small import templates as texts
from recipes.wheatear_small.synthesizers import ESPEAK_BASE, ESPEAK_HELD_OUT
from recipes.wheatear_small.text_filter import allowed, words
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


class Spoken(NamedTuple):
    """A sentence, and when its words begin."""

    text: str
    locale: str
    samples: Samples
    starts: list[tuple[str, float]]
    """Words as they are written, and seconds."""


@cache
def _library() -> tuple[Any, int]:
    try:
        library = ctypes.CDLL("libespeak-ng.so.1")
    except OSError as error:
        raise CorpusError("libespeak-ng.so.1 is not here: apt-get install espeak-ng") from error
    return library, library.espeak_Initialize(_SYNCHRONOUS, 0, None, 0)


def speak(text: str, locale: str, voice: str) -> Spoken:
    """The sentence in an espeak-ng voice such as en-us+f5."""
    library, rate = _library()
    heard: list[np.ndarray] = []
    events: list[tuple[int, int, int]] = []

    def take(wave: Any, count: int, found: Any) -> int:
        if wave:
            heard.append(np.ctypeslib.as_array(wave, (count,)).copy())
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
    wave = np.concatenate(heard).astype(np.float32) / 32768
    starts = [
        (text[position - 1 :][:length], sample / rate)
        for position, length, sample in events
        if length
    ]
    before = int(0.3 * SAMPLE_RATE)
    samples = np.pad(soxr.resample(wave, rate, SAMPLE_RATE), (before, SAMPLE_RATE))
    return Spoken(text, locale, np.asarray(samples, np.float32), [(w, t + 0.3) for w, t in starts])


def sentences(locales: Sequence[str], each: int, seed: int = 7) -> list[Spoken]:
    """So many sentences of each locale that training has not seen, in voices it has not heard."""
    chance = random.Random(seed)
    found: list[Spoken] = []
    for locale in locales:
        texts_of = (texts.sentence(locale, chance) for _ in range(100 * each))
        for text in [t for t in texts_of if not allowed(t)][:each]:
            voice = f"{chance.choice(ESPEAK_BASE[locale])}+{chance.choice(ESPEAK_HELD_OUT)}"
            found.append(speak(text, locale, voice))
    return found


class Offset(NamedTuple):
    """How late a word came, seconds; end is None where the true one is not known."""

    start: float
    end: float | None


def offsets(
    recognizer: wheatear.Recognizer, spoken: Spoken, latency: int, delay: Delay
) -> list[Offset]:
    """Of the words that were heard right."""
    corrected = copy(recognizer)
    late = {latency: (round(1000 * delay.start), round(1000 * delay.end))}
    manifest = replace(recognizer.bundle.manifest, delays_ms=late)
    corrected.bundle = replace(recognizer.bundle, manifest=manifest)
    found = corrected.transcribe(spoken.samples, language=spoken.locale, latency_ms=latency)
    heard = found.words
    true = [words(word) for word, _ in spoken.starts]
    result = []
    for a, b in matching_pairs(true, [words(word.text) for word in heard]):
        # Where the next word follows at once, its beginning is this one's end.
        word, follows = heard[b], a + 1 < len(true) and heard[b].text[-1:].isalnum()
        end = word.end - spoken.starts[a + 1][1] if follows else None
        result.append(Offset(word.start - spoken.starts[a][1], end))
    return result


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else 0.0


def measure(recognizer: wheatear.Recognizer, spoken: Sequence[Spoken]) -> list[dict[str, Any]]:
    """A row for each latency: the correction, and the median error that it leaves, ms."""
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
    parser = argparse.ArgumentParser(description="How late a bundle emits its words.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--sentences", type=int, default=40, help="of each locale")
    parser.add_argument("--write", action="store_true", help="put it into the bundle's manifest")
    arguments = parser.parse_args(argv)
    recognizer = wheatear.load(arguments.bundle)
    locales = [locale for locale in texts.LOCALES if locale in recognizer.languages]
    rows = measure(recognizer, sentences(locales, arguments.sentences))
    for row in rows:
        print(json.dumps(row))
    if arguments.write:
        delays = {row["latency_ms"]: (row["start_ms"], row["end_ms"]) for row in rows}
        bundle = open_bundle(arguments.bundle)
        write_manifest(arguments.bundle, replace(bundle.manifest, delays_ms=delays))


if __name__ == "__main__":
    main()
