"""Whether confidence means something: how often words are right by how sure the bundle was.

    python -m recipes.wheatear_small.confidence BUNDLE --fit FIT.jsonl --held HELD.jsonl [--write]
        [--json FILE] [--picture FILE.png]

A word is right where it stands in the alignment with what was said.  Platt's line through the
log-odds, fitted on the one manifest, turns what the search measures into a calibrated probability;
the expected calibration error is told on the other, before and after, and how much is known of the
words (normalised cross entropy).  Of the measures, a token's probability and the entropy of all,
the one with the smaller error there is taken.  --write puts it into the bundle's manifest.

Sources: Platt 1999 (probabilities from scores), Guo et al. 2017 (arXiv 1706.04599, expected
calibration error), Siu et al. 1997 (normalised cross entropy).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

import wheatear
from recipes.wheatear_small.test_set import compared
from wheatear.evaluate.wer import matching_pairs as aligned
from wheatear.model.bundle import Bundle, open_bundle
from wheatear.model.manifest import ConfidenceMeasure, write_manifest
from wheatear.train.data.manifest import Utterance, read_manifest
from wheatear.transcript.words import calibrated

Floats = npt.NDArray[np.float64]
BINS = 10


def judged(
    recognizer: wheatear.Recognizer, clips: Sequence[Utterance], latencies: Sequence[int]
) -> tuple[Floats, Floats]:
    """(confidence, 1 if right else 0) of every word that was heard in the clips."""
    sure, right = [], []
    for clip in clips:
        said = compared(clip.text, clip.locale)
        for latency in latencies:
            words = recognizer.transcribe(
                clip.read(), language=clip.locale, latency_ms=latency
            ).words
            heard, owner = [], []
            for number, word in enumerate(words):
                parts = compared(word.text, clip.locale)
                heard += parts
                owner += [number] * len(parts)
            good = {owner[place] for _, place in aligned(said, heard)}
            for number in set(owner):
                sure.append(words[number].confidence)
                right.append(float(number in good))
    return np.array(sure), np.array(right)


def fit(sure: Floats, right: Floats) -> tuple[float, float]:
    """Scale and shift of the log-odds that make the words likeliest (Newton's method)."""
    odds = _log_odds(sure)
    x = np.stack([odds, np.ones_like(odds)], 1)
    line = np.array([1.0, 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ line))
        slope = x.T @ (right - p) - 1e-3 * (line - [1.0, 0.0])
        bend = (x * (p * (1 - p))[:, None]).T @ x + 1e-3 * np.eye(2)
        step = np.linalg.solve(bend, slope)
        line = line + step
        if np.abs(step).max() < 1e-9:
            break
    return max(0.05, float(line[0])), float(line[1])  # the surer stays the surer


def _log_odds(sure: Floats) -> Floats:
    p = np.clip(sure, 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


def reliability(sure: Floats, right: Floats) -> list[dict[str, float]]:
    """A row for each tenth of confidence that has words: how many, how sure, how often right."""
    rows = []
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    for number in range(BINS):
        inside = place == number
        if inside.any():
            rows.append(
                {
                    "words": int(inside.sum()), "confidence": round(float(sure[inside].mean()), 4),
                    "right": round(float(right[inside].mean()), 4),
                }
            )  # fmt: skip
    return rows


def expected_error(rows: Sequence[dict[str, float]]) -> float:
    """Mean distance between how sure and how often right, by words."""
    total = sum(row["words"] for row in rows)
    return sum(row["words"] * abs(row["confidence"] - row["right"]) for row in rows) / total


def draw(path: Path, before: Sequence[dict[str, float]], after: Sequence[dict[str, float]]) -> None:
    """The reliability diagram."""
    from wheatear.common.plotting import Figure  # noqa: PLC0415  (slow to import)

    axes = (figure := Figure(figsize=(4.5, 4.5), layout="constrained")).subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for label, rows in (("as the search says", before), ("calibrated", after)):
        error = expected_error(rows)
        axes.plot(
            [row["confidence"] for row in rows], [row["right"] for row in rows],
            marker="o", label=f"{label}, error {error:.3f}",
        )  # fmt: skip
    axes.set(xlabel="confidence of a word", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=110)


def compare(
    bundle: Bundle,
    measure: ConfidenceMeasure,
    manifests: Sequence[Sequence[Utterance]],
    latencies: list[int],
) -> dict[str, Any]:
    """What a measure of the search is worth: fitted on the first clips, told of the second."""
    raw = replace(bundle.manifest, confidence=(1.0, 0.0), confidence_measure=measure)
    recognizer = wheatear.Recognizer(replace(bundle, manifest=raw), threads=2)
    (sure, right), held = (judged(recognizer, clips, latencies) for clips in manifests)
    line = fit(sure, right)
    sure, right = held
    after = np.array([calibrated(p, line) for p in sure])
    before_rows, after_rows = reliability(sure, right), reliability(after, right)
    return {
        "scale": round(line[0], 4), "shift": round(line[1], 4), "words": len(sure),
        "right": round(float(right.mean()), 4), "information": round(information(after, right), 4),
        "error_before": round(expected_error(before_rows), 4),
        "error_after": round(expected_error(after_rows), 4),
        "before": before_rows, "after": after_rows,
    }  # fmt: skip


def information(sure: Floats, right: Floats) -> float:
    """Normalised cross entropy: how much of the doubt about words the confidence takes away.

    1 takes all, 0 is no better than the share that is right, below 0 misleads.
    """
    p = np.clip(sure, 1e-6, 1 - 1e-6)
    cost = -(right * np.log(p) + (1 - right) * np.log(1 - p)).mean()
    share = min(1 - 1e-6, max(1e-6, float(right.mean())))
    doubt = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    return float(1 - cost / doubt)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Whether a bundle's confidence means something.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--fit", type=Path, required=True, help="manifest to fit the line on")
    parser.add_argument("--held", type=Path, required=True, help="manifest to measure on")
    parser.add_argument("--latencies", default="80,1120", help="milliseconds")
    parser.add_argument("--write", action="store_true", help="put it into the bundle's manifest")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--picture", type=Path, help="file for the reliability diagram")
    arguments = parser.parse_args(argv)
    bundle = open_bundle(arguments.bundle)
    latencies = [int(ms) for ms in arguments.latencies.split(",")]
    manifests = [read_manifest(path) for path in (arguments.fit, arguments.held)]
    tried = {m: compare(bundle, m, manifests, latencies) for m in get_args(ConfidenceMeasure)}
    measure = min(tried, key=lambda m: tried[m]["error_after"])
    result = {"measure": measure, **tried[measure]}
    for name, found in tried.items():
        shown = {k: v for k, v in found.items() if k not in ("before", "after")}
        print(json.dumps({"measure": name, **shown}))
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    if arguments.picture:
        draw(arguments.picture, result["before"], result["after"])
    if arguments.write:
        line = (result["scale"], result["shift"])
        write_manifest(
            arguments.bundle,
            replace(bundle.manifest, confidence=line, confidence_measure=measure),
        )


if __name__ == "__main__":
    main()
