"""Whether confidence means something: how often words are right by how sure the bundle was.

    python -m wheatear.train.calibration BUNDLE --fit FIT.jsonl --held HELD.jsonl [--write]
        [--json FILE] [--picture FILE.png]

A word is right where it stands in the alignment with what was said.  Platt's line through the
log-odds, fitted on the one manifest, turns the search's probabilities into calibrated ones; the
expected calibration error is measured on the other, before and after.  --write puts the line into
the bundle's manifest.

Sources: Platt 1999 (probabilities from scores), Guo et al. 2017 (arXiv 1706.04599, expected
calibration error).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import wheatear
from wheatear.bundle import open_bundle, write_manifest
from wheatear.train.evaluate import FOLDED, normal
from wheatear.train.manifest import Utterance, read_manifest
from wheatear.words import calibrated

Floats = npt.NDArray[np.float64]
BINS = 10


def judged(
    recognizer: wheatear.Recognizer, clips: Sequence[Utterance], latencies: Sequence[int]
) -> tuple[Floats, Floats]:
    """(confidence, 1 if right else 0) of every word that was heard in the clips."""
    sure, right = [], []
    for clip in clips:
        fold = clip.locale in FOLDED
        said = normal(clip.text, clip.locale, fold)
        for latency in latencies:
            words = recognizer.transcribe(
                clip.read(), language=clip.locale, latency_ms=latency
            ).words
            heard, owner = [], []
            for number, word in enumerate(words):
                parts = normal(word.text, clip.locale, fold)
                heard += parts
                owner += [number] * len(parts)
            good = set()
            for block in SequenceMatcher(None, said, heard, autojunk=False).get_matching_blocks():
                good |= set(owner[block.b : block.b + block.size])
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
    from matplotlib.figure import Figure  # noqa: PLC0415  (slow to import)

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
    raw = replace(bundle, manifest=replace(bundle.manifest, confidence=(1.0, 0.0)))
    recognizer = wheatear.Recognizer(raw, threads=2)
    latencies = [int(ms) for ms in arguments.latencies.split(",")]
    found: list[tuple[Floats, Floats]] = [
        judged(recognizer, read_manifest(path), latencies)
        for path in (arguments.fit, arguments.held)
    ]
    line = fit(*found[0])
    sure, right = found[1]
    before = reliability(sure, right)
    after = reliability(np.array([calibrated(p, line) for p in sure]), right)
    result: dict[str, Any] = {
        "scale": round(line[0], 4), "shift": round(line[1], 4), "words": len(sure),
        "right": round(float(right.mean()), 4), "error_before": round(expected_error(before), 4),
        "error_after": round(expected_error(after), 4), "before": before, "after": after,
    }  # fmt: skip
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    if arguments.picture:
        draw(arguments.picture, before, after)
    if arguments.write:
        rounded = (result["scale"], result["shift"])
        write_manifest(arguments.bundle, replace(bundle.manifest, confidence=rounded))


if __name__ == "__main__":
    main()
