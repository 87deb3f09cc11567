"""Word error rates of a bundle on recordings and on synthetic speech, through the engine.

    python -m wheatear.train.evaluate speech/manifest.jsonl --synthetic DIR/corpus/test.jsonl \
        --json results.json

Words are compared in lower case without punctuation, digits spelled out. The Spanish prompt lists
leave out most accents, so `wer` folds accents in Spanish; `wer_strict` does not. Intervals hold
95 % of resamplings of the clips.
"""

from __future__ import annotations

import argparse
import json
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

import wheatear
from wheatear.convert.verify import edit_distance
from wheatear.features import SAMPLE_RATE
from wheatear.train import texts
from wheatear.train.corpus import LOCALE_OF
from wheatear.train.data import Utterance, read_manifest
from wheatear.train.sentences import words

Groups = dict[str, list[Utterance]]


def normal(text: str, locale: str, fold: bool) -> list[str]:
    """The words to compare; `fold` takes the accents off."""
    runs = ("".join(run) for _, run in groupby(text, str.isdigit))
    text = "".join(f" {texts.spell(int(run), locale)} " if run.isdigit() else run for run in runs)
    if fold:
        parts = unicodedata.normalize("NFD", text)
        text = "".join(c for c in parts if not unicodedata.combining(c))
    return words(text).split()


def interval(errors: list[int], lengths: list[int]) -> list[float]:
    """Bounds of the error rate in per cent, by bootstrap over clips."""
    picks = np.random.default_rng(0).integers(0, len(errors), (1000, len(errors)))
    rates = np.array(errors)[picks].sum(1) / np.array(lengths)[picks].sum(1)
    return [round(100 * float(bound), 1) for bound in np.percentile(rates, [2.5, 97.5])]


def measure(
    recognizer: wheatear.Recognizer, groups: Groups, latencies: list[int]
) -> Iterator[dict[str, Any]]:
    """One row for each group, latency and prompt (the locale given, or auto)."""
    for group, clips in sorted(groups.items()):
        locale = clips[0].locale
        for latency in latencies:
            for prompt in (locale, "auto"):
                heard = [
                    recognizer.transcribe(clip.read(), language=prompt, latency_ms=latency)
                    for clip in clips
                ]
                said = [normal(clip.text, locale, False) for clip in clips]
                lengths = [len(each) for each in said]
                row: dict[str, Any] = {
                    "group": group,
                    "latency_ms": latency,
                    "prompt": prompt,
                    "clips": len(clips),
                    "words": sum(lengths),
                }
                for key, fold in (("wer", locale == "es-US"), ("wer_strict", False)):
                    errors = [
                        edit_distance(
                            normal(clip.text, locale, fold), normal(got.text, locale, fold)
                        )
                        for clip, got in zip(clips, heard, strict=True)
                    ]
                    row[key] = round(100 * sum(errors) / sum(lengths), 1)
                    row[f"{key}_95"] = interval(errors, lengths)
                right = sum(got.language == locale for got in heard)
                row["language_right"] = round(100 * right / len(clips), 1)
                yield row


def human_groups(manifest: Path) -> Groups:
    """Evaluation recordings: the speakers of the training set, and all others."""
    groups: Groups = defaultdict(list)
    for line in manifest.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if locale := LOCALE_OF.get(entry["lang"]):
            path = manifest.parent / entry["audio_filepath"]
            known = "known" if entry["source"].startswith("asterisk") else "unknown"
            clip = Utterance(path, 0, sf.info(path).frames, entry["text"], locale)
            groups[f"human {locale}, speaker {known}"].append(clip)
    return groups


def heard_in_noise(recognizer: wheatear.Recognizer, seconds: int = 10) -> list[str]:
    """What silence and white noise at -80, -60, -40 and -30 dBFS are taken for."""
    noise = np.random.default_rng(0).standard_normal(seconds * SAMPLE_RATE).astype(np.float32)
    levels = (0.0, 10**-4, 10**-3, 10**-2, 10**-1.5)
    return [recognizer.transcribe(np.float32(level) * noise).text for level in levels]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Word error rates of a bundle.")
    parser.add_argument("manifest", type=Path, help="human recordings kept for evaluation")
    parser.add_argument("--model", help="bundle; the one that comes with Wheatear if left out")
    parser.add_argument("--synthetic", type=Path, help="manifest of held-out synthetic voices")
    parser.add_argument("--latencies", default="80,320,1120", help="milliseconds")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    recognizer = wheatear.load(arguments.model)
    groups = human_groups(arguments.manifest)
    for clip in read_manifest(arguments.synthetic) if arguments.synthetic else []:
        groups.setdefault(f"synthetic {clip.locale}, voice unknown", []).append(clip)
    rows = []
    for row in measure(recognizer, groups, [int(ms) for ms in arguments.latencies.split(",")]):
        print(json.dumps(row), flush=True)
        rows.append(row)
    noise = heard_in_noise(recognizer)
    print("silence and noise were taken for", noise)
    if arguments.json:
        result = {"rows": rows, "silence_and_noise": noise}
        arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
