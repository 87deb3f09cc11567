"""Calibration of word confidence: how often words are correct at each confidence.

    python -m recipes.wheatear_small.confidence BUNDLE --fit FIT.jsonl --held HELD.jsonl [--write]
        [--json FILE] [--picture FILE.png]

A word is correct if it is aligned with the same word of the reference.  Platt's line through the
log-odds, fitted on the first manifest, turns the measure of the search into a calibrated
probability.  Expected calibration error (before and after) and normalized cross entropy are
measured on the second manifest.  Of the measures, a token's probability and the entropy over all
tokens, the one with the smaller error is chosen.  --write stores it in the bundle's manifest.

Sources: Platt 1999 (probabilities from scores), Guo et al. 2017 (arXiv 1706.04599, expected
calibration error), Siu et al. 1997 (normalized cross entropy).
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
from recipes.wheatear_small.test_set import comparison_words
from wheatear.evaluate.wer import matching_pairs
from wheatear.model.bundle import Bundle, open_bundle
from wheatear.model.manifest import ConfidenceMeasure, write_manifest
from wheatear.recognizer.loading import open_model
from wheatear.train.data.manifest import Utterance, read_manifest
from wheatear.transcript.words import calibrated

Floats = npt.NDArray[np.float64]
BINS = 10


def judge_words(
    recognizer: wheatear.Recognizer, clips: Sequence[Utterance], latencies: Sequence[int]
) -> tuple[Floats, Floats]:
    """Returns confidence and 1.0 or 0.0 for correct of all words recognized in the clips."""
    confidence, correct = [], []
    for clip in clips:
        reference = comparison_words(clip.text, clip.locale)
        for latency in latencies:
            words = recognizer.transcribe(
                clip.read(), language=clip.locale, latency_ms=latency
            ).words
            hypothesis, owner = [], []
            for number, word in enumerate(words):
                parts = comparison_words(word.text, clip.locale)
                hypothesis += parts
                owner += [number] * len(parts)
            matched = {owner[place] for _, place in matching_pairs(reference, hypothesis)}
            for number in set(owner):
                confidence.append(words[number].confidence)
                correct.append(float(number in matched))
    return np.array(confidence), np.array(correct)


def fit_calibration(confidence: Floats, correct: Floats) -> tuple[float, float]:
    """Fits scale and shift of the log-odds by maximum likelihood (Newton's method)."""
    log_odds = _log_odds(confidence)
    x = np.stack([log_odds, np.ones_like(log_odds)], 1)
    line = np.array([1.0, 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ line))
        gradient = x.T @ (correct - p) - 1e-3 * (line - [1.0, 0.0])
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-3 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        line = line + step
        if np.abs(step).max() < 1e-9:
            break
    return max(0.05, float(line[0])), float(line[1])  # monotonic: the order of words is kept


def _log_odds(confidence: Floats) -> Floats:
    p = np.clip(confidence, 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


def reliability_rows(confidence: Floats, correct: Floats) -> list[dict[str, float]]:
    """Returns a row for each tenth of confidence: words, mean confidence, share correct."""
    rows = []
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    for number in range(BINS):
        inside = place == number
        if inside.any():
            rows.append(
                {
                    "words": int(inside.sum()),
                    "confidence": round(float(confidence[inside].mean()), 4),
                    "right": round(float(correct[inside].mean()), 4),
                }
            )  # fmt: skip
    return rows


def expected_calibration_error(rows: Sequence[dict[str, float]]) -> float:
    """Returns the mean difference of confidence and share correct, weighted by words."""
    total = sum(row["words"] for row in rows)
    return sum(row["words"] * abs(row["confidence"] - row["right"]) for row in rows) / total


def draw_reliability(
    path: Path, before: Sequence[dict[str, float]], after: Sequence[dict[str, float]]
) -> None:
    """Draws the reliability diagram."""
    from wheatear.common.plotting import Figure  # noqa: PLC0415  (slow to import)

    axes = (figure := Figure(figsize=(4.5, 4.5), layout="constrained")).subplots()
    axes.plot([0, 1], [0, 1], color="gray", linewidth=0.8)
    for label, rows in (("uncalibrated", before), ("calibrated", after)):
        error = expected_calibration_error(rows)
        axes.plot(
            [row["confidence"] for row in rows], [row["right"] for row in rows],
            marker="o", label=f"{label}, error {error:.3f}",
        )  # fmt: skip
    axes.set(
        xlabel="confidence of a word", ylabel="share that is correct", xlim=(0, 1), ylim=(0, 1)
    )
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=110)


def evaluate_measure(
    bundle: Bundle,
    measure: ConfidenceMeasure,
    manifests: Sequence[Sequence[Utterance]],
    latencies: list[int],
) -> dict[str, Any]:
    """Fits a measure of the search on the first manifest and evaluates it on the second."""
    raw = replace(bundle.manifest, confidence=(1.0, 0.0), confidence_measure=measure)
    recognizer = wheatear.Recognizer(replace(open_model(bundle.path, threads=2), manifest=raw))
    (confidence, correct), held_out = (
        judge_words(recognizer, clips, latencies) for clips in manifests
    )
    line = fit_calibration(confidence, correct)
    confidence, correct = held_out
    after = np.array([calibrated(p, line) for p in confidence])
    before_rows, after_rows = (
        reliability_rows(confidence, correct),
        reliability_rows(after, correct),
    )
    return {
        "scale": round(line[0], 4), "shift": round(line[1], 4), "words": len(confidence),
        "right": round(float(correct.mean()), 4),
        "normalized_cross_entropy": round(normalized_cross_entropy(after, correct), 4),
        "error_before": round(expected_calibration_error(before_rows), 4),
        "error_after": round(expected_calibration_error(after_rows), 4),
        "before": before_rows, "after": after_rows,
    }  # fmt: skip


def normalized_cross_entropy(confidence: Floats, correct: Floats) -> float:
    """Returns the normalized cross entropy: the reduction of uncertainty by the confidence.

    1 is certainty, 0 equals a constant confidence, below 0 is worse.
    """
    p = np.clip(confidence, 1e-6, 1 - 1e-6)
    cost = -(correct * np.log(p) + (1 - correct) * np.log(1 - p)).mean()
    share = min(1 - 1e-6, max(1e-6, float(correct.mean())))
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    return float(1 - cost / entropy)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Calibration of a bundle's confidence.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument(
        "--fit",
        type=Path,
        required=True,
        help="manifest to fit the calibration on",
    )
    parser.add_argument("--held", type=Path, required=True, help="manifest to measure on")
    parser.add_argument("--latencies", default="80,1120", help="milliseconds")
    parser.add_argument("--write", action="store_true", help="store it in the bundle's manifest")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--picture", type=Path, help="file for the reliability_rows diagram")
    arguments = parser.parse_args(argv)
    bundle = open_bundle(arguments.bundle)
    latencies = [int(ms) for ms in arguments.latencies.split(",")]
    manifests = [read_manifest(path) for path in (arguments.fit, arguments.held)]
    results = {
        m: evaluate_measure(bundle, m, manifests, latencies) for m in get_args(ConfidenceMeasure)
    }
    measure = min(results, key=lambda m: results[m]["error_after"])
    result = {"measure": measure, **results[measure]}
    for name, found in results.items():
        shown = {k: v for k, v in found.items() if k not in ("before", "after")}
        print(json.dumps({"measure": name, **shown}))
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    if arguments.picture:
        draw_reliability(arguments.picture, result["before"], result["after"])
    if arguments.write:
        line = (result["scale"], result["shift"])
        write_manifest(
            arguments.bundle,
            replace(bundle.manifest, confidence=line, confidence_measure=measure),
        )


if __name__ == "__main__":
    main()
