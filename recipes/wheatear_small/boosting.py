"""Gain by boosted phrases, and false alarms of phrases that do not occur.

    python -m recipes.wheatear_small.boosting MANIFEST [--model BUNDLE] [--weights 0.5,1,2]
        [--beam 4]

Each clip is recognized with its own long words among those of other clips, and with those of other
clips only.  The results are recall of its own words, word error rates, and false alarms: words of
other clips in the transcript that are not in the reference.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wheatear
from recipes.wheatear_small.test_set import comparison_words
from recipes.wheatear_small.text_filter import LOCALE_OF
from wheatear.evaluate.wer import count_edits
from wheatear.train.data.manifest import Utterance, read_manifest

MIN_LETTERS = 6  # of a word that is used as a phrase


def phrases_of(clip: Utterance) -> list[str]:
    """Returns the long words of a clip, as written."""
    words = (word.strip(".,;:!?¿¡\"'…()") for word in clip.text.replace("ё", "е").split())
    return sorted({word for word in words if len(word) >= MIN_LETTERS and word.isalpha()})


def measure(
    recognizer: wheatear.Recognizer,
    clips: Sequence[Utterance],
    latency: int,
    weight: float,
    count: int,
    beam: wheatear.BeamRules | None,
) -> dict[str, Any]:
    """Measures without phrases, with own phrases among others, and with others; returns a row."""
    rng = random.Random(0)  # noqa: S311
    total: Counter[str] = Counter()
    for clip in clips:
        own, reference = phrases_of(clip), comparison_words(clip.text, clip.locale)
        others = sorted(
            {w for c in clips if c is not clip for w in phrases_of(c)}
            - {*own, *map(str.capitalize, own), *map(str.lower, own)}
        )
        others = rng.sample(others, min(count, len(others)))
        lists = {"plain": [], "own": [*own, *others], "others": others}
        total["words"] += len(reference)
        listed = {form for word in own for form in comparison_words(word, clip.locale)}
        total["listed"] += len(listed)
        for name, phrases in lists.items():
            transcript = recognizer.transcribe(
                clip.read(), language=clip.locale, latency_ms=latency, beam=beam,
                phrases=[wheatear.Phrase(p, weight) for p in phrases],
            )  # fmt: skip
            hypothesis = comparison_words(transcript.text, clip.locale)
            other_words = {form for word in others for form in comparison_words(word, clip.locale)}
            total[f"{name} errors"] += count_edits(reference, hypothesis).errors
            total[f"{name} found"] += len(listed & set(hypothesis))
            total[f"{name} false"] += sum(
                w in other_words and w not in reference for w in hypothesis
            )
    rates = {
        f"{name}_{key}": round(100 * total[f"{name} {what}"] / max(1, total[of]), 1)
        for name in ("plain", "own", "others")
        for key, what, of in (
            ("wer", "errors", "words"), ("recall", "found", "listed"), ("false", "false", "words"),
        )
    }  # fmt: skip
    return {"clips": len(clips), "listed": total["listed"], "phrases": count, **rates}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Gain and false alarms of boosted phrases.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", help="bundle; by default the shipped model")
    parser.add_argument("--latencies", default="80,1120", help="milliseconds")
    parser.add_argument("--weights", default="1", help="weights of the phrases")
    parser.add_argument("--count", type=int, default=100, help="number of phrases of other clips")
    parser.add_argument("--beam", type=int, default=0, help="hypotheses; 0 for greedy search")
    a = parser.parse_args(argv)
    recognizer = wheatear.load(a.model)
    clips = [
        clip
        for clip in read_manifest(a.manifest, "skip")
        for locale in [LOCALE_OF.get(clip.locale, clip.locale)]
        if locale in recognizer.languages
    ]
    beam = wheatear.BeamRules(a.beam) if a.beam else None
    for locale in sorted({clip.locale for clip in clips}):
        chosen = [
            Utterance(c.path, c.start, c.size, c.text, LOCALE_OF.get(locale, locale))
            for c in clips
            if c.locale == locale
        ]
        for latency in map(int, a.latencies.split(",")):
            for weight in map(float, a.weights.split(",")):
                row = measure(recognizer, chosen, latency, weight, a.count, beam)
                print(
                    json.dumps({"locale": locale, "latency_ms": latency, "weight": weight, **row})
                )


if __name__ == "__main__":
    main()
