"""What phrases to listen for are worth, and what they cost where nobody says them.

    python -m recipes.wheatear_small.boosting MANIFEST [--model BUNDLE] [--weights 0.5,1,2] [--beam
    4]

Each clip gets the long words of its own text among those of other clips, then those of others
alone.  Told are how many of its own words are found, word error rates, and false fires: words of
others in the transcript that nobody said.
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
from recipes.wheatear_small.test_set import compared
from recipes.wheatear_small.text_filter import LOCALE_OF
from wheatear.evaluate.wer import count_edits
from wheatear.train.data.manifest import Utterance, read_manifest

LONG = 6  # letters of a word that is worth a phrase


def long_words(clip: Utterance) -> list[str]:
    """The words of a clip that may be listened for, as written."""
    words = (word.strip(".,;:!?¿¡\"'…()") for word in clip.text.replace("ё", "е").split())
    return sorted({word for word in words if len(word) >= LONG and word.isalpha()})


def measure(
    recognizer: wheatear.Recognizer,
    clips: Sequence[Utterance],
    latency: int,
    weight: float,
    count: int,
    beam: wheatear.BeamRules | None,
) -> dict[str, Any]:
    """One row: without phrases, with one's own among others, with those of others alone."""
    chance = random.Random(0)  # noqa: S311
    total: Counter[str] = Counter()
    for clip in clips:
        own, said = long_words(clip), compared(clip.text, clip.locale)
        others = sorted(
            {w for c in clips if c is not clip for w in long_words(c)}
            - {*own, *map(str.capitalize, own), *map(str.lower, own)}
        )
        others = chance.sample(others, min(count, len(others)))
        lists = {"plain": [], "own": [*own, *others], "others": others}
        total["words"] += len(said)
        listed = {form for word in own for form in compared(word, clip.locale)}
        total["listed"] += len(listed)
        for name, phrases in lists.items():
            heard = recognizer.transcribe(
                clip.read(), language=clip.locale, latency_ms=latency, beam=beam,
                phrases=[wheatear.Phrase(p, weight) for p in phrases],
            )  # fmt: skip
            got = compared(heard.text, clip.locale)
            foreign = {form for word in others for form in compared(word, clip.locale)}
            total[f"{name} errors"] += count_edits(said, got).errors
            total[f"{name} found"] += len(listed & set(got))
            total[f"{name} false"] += sum(w in foreign and w not in said for w in got)
    rates = {
        f"{name}_{key}": round(100 * total[f"{name} {what}"] / max(1, total[of]), 1)
        for name in ("plain", "own", "others")
        for key, what, of in (
            ("wer", "errors", "words"), ("recall", "found", "listed"), ("false", "false", "words"),
        )
    }  # fmt: skip
    return {"clips": len(clips), "listed": total["listed"], "phrases": count, **rates}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="What phrases to listen for are worth.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", help="bundle; the one that comes with Wheatear if left out")
    parser.add_argument("--latencies", default="80,1120", help="milliseconds")
    parser.add_argument("--weights", default="1", help="of the phrases")
    parser.add_argument("--count", type=int, default=100, help="phrases that nobody says")
    parser.add_argument("--beam", type=int, default=0, help="hypotheses; 0 is greedy search")
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
        some = [
            Utterance(c.path, c.start, c.size, c.text, LOCALE_OF.get(locale, locale))
            for c in clips
            if c.locale == locale
        ]
        for latency in map(int, a.latencies.split(",")):
            for weight in map(float, a.weights.split(",")):
                row = measure(recognizer, some, latency, weight, a.count, beam)
                print(
                    json.dumps({"locale": locale, "latency_ms": latency, "weight": weight, **row})
                )


if __name__ == "__main__":
    main()
