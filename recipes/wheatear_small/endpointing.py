"""End-of-turn detection: early ends and delays, by kind of voice activity detection.

    python -m recipes.wheatear_small.endpointing MANIFEST [--model BUNDLE] [--latencies 160,1120]

Three seconds of faint noise follow each clip.  An end is early if it is more than a tenth of a
second before the clip's last loud sample; the delay is that of the last end.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

import wheatear
from recipes.wheatear_small.text_filter import LOCALE_OF
from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.vad import Voice
from wheatear.evaluate.clips import speech_span
from wheatear.train.data.manifest import Utterance, read_manifest

_EARLY_S = 0.1


def measure(
    recognizer: wheatear.Recognizer, clips: Sequence[Utterance], latency: int, voice: Voice,
    noise: float,
) -> dict[str, Any]:  # fmt: skip
    """Measures the clips at one latency and noise level; returns a row."""
    rng, delays, early = np.random.default_rng(0), [], 0
    for clip in clips:
        samples = clip.read()
        end = 1 + speech_span(samples)[1]
        padded = np.pad(samples, (SAMPLE_RATE, 3 * SAMPLE_RATE))
        padded = (padded + rng.normal(0, noise, len(padded))).astype(np.float32)
        ends: list[float] = []

        def on_event(event: wheatear.Event, ends: list[float] = ends) -> None:
            if isinstance(event, wheatear.Turn) and event.kind == "ended":
                ends.append(event.time)

        recognizer.transcribe(
            padded, language=LOCALE_OF.get(clip.locale, clip.locale), latency_ms=latency,
            turns=wheatear.TurnRules(voice=voice), on_event=on_event,
        )  # fmt: skip
        if ends:
            early += any(time < end - _EARLY_S for time in ends)
            delays.append(ends[-1] - end)
    return {
        "voice": voice, "latency_ms": latency, "noise_dbfs": round(20 * np.log10(noise)),
        "clips": len(delays), "early_per_cent": round(100 * early / max(1, len(delays)), 1),
        "delay_ms": round(1000 * float(np.median(delays))),
        "delay_p90_ms": round(1000 * float(np.percentile(delays, 90))),
    }  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Early ends and delays of turns.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", help="bundle; by default the shipped model")
    parser.add_argument("--latencies", default="160,1120", help="milliseconds")
    a = parser.parse_args(argv)
    recognizer = wheatear.load(a.model)
    known = recognizer.languages
    clips = [
        clip
        for clip in read_manifest(a.manifest, "skip")
        if LOCALE_OF.get(clip.locale, clip.locale) in known
    ]
    for noise in (1e-4, 3e-3):
        for latency in map(int, a.latencies.split(",")):
            for voice in get_args(Voice):
                print(json.dumps(measure(recognizer, clips, latency, voice, noise)), flush=True)


if __name__ == "__main__":
    main()
