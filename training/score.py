"""Word error rates of a bundle, through the streaming engine, on a manifest of recordings.

    python training/score.py MANIFEST [--model BUNDLE] [--latency 80,320,1120] [--json FILE]

A line of the manifest is a JSON object with audio_filepath (relative to the manifest), text,
lang and source. Words are compared in lower case, without punctuation, digits spelled out; the
Spanish prompt lists lack most accents, so Spanish is compared without them. Intervals are 95 %,
by bootstrap over clips.
"""

import argparse
import json
import re
import unicodedata
from collections import defaultdict
from pathlib import Path

import numpy as np
from num2words import num2words

import wheatear
from wheatear.convert.verify import edit_distance

# What the recordings are labelled -> the model's locale, and the language of num2words.
LOCALES = {"en-US": ("en-US", "en"), "es-419": ("es-US", "es"), "it-IT": ("it-IT", "it")}


def words(text: str, locale: str) -> list[str]:
    """The words that are compared."""
    _, language = LOCALES[locale]
    text = re.sub(r"\d+", lambda m: f" {num2words(int(m[0]), lang=language)} ", text.lower())
    if language == "es":
        text = "".join(
            c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c)
        )
    return re.sub(r"[^\w']", " ", text).split()


def interval(errors: list[int], lengths: list[int]) -> tuple[float, float]:
    """Bounds between which the error rate lies in 95 % of resamplings of the clips."""
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(errors), (1000, len(errors)))
    rates = np.array(errors)[picks].sum(1) / np.array(lengths)[picks].sum(1)
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)


def score(manifest: Path, model: str | None, latencies: list[int]) -> list[dict[str, object]]:
    recognizer = wheatear.load(model)
    clips = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    rows: list[dict[str, object]] = []
    for latency in latencies:
        for prompt in ("given", "auto"):
            heard = defaultdict(list)
            for clip in clips:
                if clip["lang"] not in LOCALES:
                    continue
                locale, _ = LOCALES[clip["lang"]]
                transcript = recognizer.transcribe(
                    manifest.parent / clip["audio_filepath"],
                    language=locale if prompt == "given" else "auto",
                    latency_ms=latency,
                )
                said, got = words(clip["text"], clip["lang"]), words(transcript.text, clip["lang"])
                right = transcript.language == locale
                key = (clip["lang"], clip["source"])
                heard[key].append((edit_distance(said, got), len(said), right))
            for (lang, source), results in sorted(heard.items()):
                errors, lengths, right = (list(column) for column in zip(*results, strict=True))
                rows.append(
                    {
                        "locale": lang,
                        "source": source,
                        "latency_ms": latency,
                        "prompt": prompt,
                        "clips": len(errors),
                        "words": sum(lengths),
                        "wer": sum(errors) / sum(lengths),
                        "interval": interval(errors, lengths),
                        "language_right": sum(right) / len(right),
                    }
                )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--latency", default="80,320,1120")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = score(options.manifest, options.model, [int(x) for x in options.latency.split(",")])
    for row in rows:
        low, high = row["interval"]
        print(
            f"{row['locale']:7} {row['source']:26} {row['latency_ms']:5} ms  {row['prompt']:5}  "
            f"{row['clips']:3} clips {row['words']:4} words  WER {row['wer']:6.1%} "
            f"({low:.0%} - {high:.0%})  language right {row['language_right']:.0%}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
