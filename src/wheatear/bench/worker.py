"""Measures one setting of Wheatear: `python -m wheatear.bench.worker`.

Standard input holds one JSON object with the setting and the bundle; the measurement goes to
standard output. Each measurement runs in a separate process, so that load time and peak memory are
those of one setting.
"""

import json
import os
import sys
import time
from collections.abc import MutableMapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

import wheatear
from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.reader import sample_speech
from wheatear.audio.samples import Samples
from wheatear.bench.machine import peak_rss_mb
from wheatear.bench.measurements import Measurement, Setting
from wheatear.bench.stages import timed_stages
from wheatear.bench.token_rate import forced_token_rate

_WARM_UP = 1.0  # seconds of audio that are not measured, or two chunks


def speech(seconds: float, offset: int = 0) -> Samples:
    """The sample recording, repeated, from a sample offset on."""
    return np.resize(np.roll(sample_speech(), -offset), round(seconds * SAMPLE_RATE))


def warm_up_chunks(latency_ms: int) -> int:
    """Number of chunks before the measured ones."""
    return max(2, round(_WARM_UP * 1000 / latency_ms))


def measured_chunks(setting: Setting) -> int:
    """Number of measured chunks."""
    return max(1, round(setting.seconds * 1000 / setting.latency_ms))


def measure(setting: Setting, bundle: Path) -> Measurement:
    """Measures in this process; load time and memory are valid for the first call only."""
    start = time.perf_counter()
    recognizer = wheatear.load(bundle, threads=setting.threads)
    load_s = time.perf_counter() - start
    with forced_token_rate(setting.tokens_per_s), timed_stages() as stages:
        time_it = _time_file if setting.whole else time_streams
        chunk_ms, cpu_s, tokens = time_it(recognizer, setting, stages)
    stages["Python"] = sum(chunk_ms) / 1000 - sum(stages.values())
    seconds = setting.seconds if setting.whole else setting.latency_ms / 1000
    return Measurement(
        tuple(chunk_ms), len(chunk_ms) * seconds * setting.streams, cpu_s, tokens, load_s,
        peak_rss_mb(), dict(stages),
    )  # fmt: skip


def time_streams(
    recognizer: wheatear.Recognizer, setting: Setting, stages: MutableMapping[str, float]
) -> tuple[list[float], float, int]:
    """Times live streams in lockstep: each push brings a chunk to every stream, in one batch.

    Returns milliseconds of each chunk, seconds of processor time, and number of tokens. `stages`
    is cleared after the warm-up.
    """
    chunk = setting.latency_ms * SAMPLE_RATE // 1000
    warm_up = warm_up_chunks(setting.latency_ms)
    chunks = warm_up + measured_chunks(setting)
    streams = [
        recognizer.stream(latency_ms=setting.latency_ms, keep=False) for _ in range(setting.streams)
    ]
    audio = [
        speech(chunks * setting.latency_ms / 1000, offset=n * SAMPLE_RATE // 3)
        for n in range(setting.streams)
    ]
    chunk_ms: list[float] = []
    cpu, tokens = 0.0, 0
    for n in range(chunks):
        if n == warm_up:
            chunk_ms.clear()
            stages.clear()
            cpu, tokens = time.process_time(), 0
        here = slice(n * chunk, (n + 1) * chunk)
        blocks = [(stream, own[here]) for stream, own in zip(streams, audio, strict=True)]
        start = time.perf_counter()
        events = recognizer.push_many(blocks)
        chunk_ms.append((time.perf_counter() - start) * 1000)
        tokens += sum(
            len(e.tokens) for new in events for e in new if isinstance(e, wheatear.Partial)
        )
    return chunk_ms, time.process_time() - cpu, tokens


def _time_file(
    recognizer: wheatear.Recognizer, setting: Setting, stages: MutableMapping[str, float]
) -> tuple[list[float], float, int]:
    """Times one file, after a short one; the same results as `time_streams`."""
    recognizer.transcribe(speech(_WARM_UP), latency_ms=setting.latency_ms)
    samples = speech(setting.seconds)
    stages.clear()
    cpu, start = time.process_time(), time.perf_counter()
    transcript = recognizer.transcribe(samples, latency_ms=setting.latency_ms)
    elapsed = time.perf_counter() - start
    return [elapsed * 1000], time.process_time() - cpu, len(transcript.tokens)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries is no part of the answer
    request = json.load(sys.stdin)
    measurement = measure(Setting(**request["setting"]), Path(request["bundle"]))
    json.dump(asdict(measurement), answers)
    answers.close()


if __name__ == "__main__":
    main()
