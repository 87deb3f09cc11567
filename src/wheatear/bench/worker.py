"""A process that measures: one line of JSON in, what to do; one line of JSON out, what it found.

Each measurement of Wheatear has a process of its own, so that the time to load and the peak of
memory are those of one setting: `python -m wheatear.bench.worker`.
"""

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import wheatear
from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.reader import sample_speech
from wheatear.audio.samples import Samples
from wheatear.bench.measurements import Setting, Taken
from wheatear.bench.memory import peak_rss_mb
from wheatear.bench.stages import timed_stages
from wheatear.bench.token_rate import speaking

_WARM_UP = 1.0  # seconds of audio that do not count, or two chunks


def speech(seconds: float, offset: int = 0) -> Samples:
    """A human voice over and over, beginning somewhere else for each stream."""
    return np.resize(np.roll(sample_speech(), -offset), round(seconds * SAMPLE_RATE))


def warm_up_chunks(latency_ms: int) -> int:
    """Chunks before those that count."""
    return max(2, round(_WARM_UP * 1000 / latency_ms))


def chunks_of(setting: Setting) -> int:
    """Chunks that count."""
    return max(1, round(setting.seconds * 1000 / setting.latency_ms))


def take(setting: Setting, bundle: Path) -> Taken:
    """Measures in this process; once only, if time to load and memory are to mean anything."""
    start = time.perf_counter()
    recognizer = wheatear.load(bundle, threads=setting.threads)
    load_s = time.perf_counter() - start
    with speaking(setting.tokens_per_s), timed_stages() as stages:
        measure = _run_file if setting.whole else run_streams
        chunk_ms, cpu_s, tokens = measure(recognizer, setting, stages)
    stages["Python"] = sum(chunk_ms) / 1000 - sum(stages.values())
    return Taken(
        chunk_ms=tuple(chunk_ms),
        audio_s=len(chunk_ms) * _seconds(setting) * setting.streams,
        cpu_s=cpu_s,
        tokens=tokens,
        load_s=load_s,
        peak_rss_mb=peak_rss_mb(),
        stages=dict(stages),
    )


def _seconds(setting: Setting) -> float:
    """Of audio, in what is timed."""
    return setting.seconds if setting.whole else setting.latency_ms / 1000


def run_streams(
    recognizer: wheatear.Recognizer, setting: Setting, stages: dict[str, float]
) -> tuple[list[float], float, int]:
    """Milliseconds of each chunk, seconds of processor time and tokens of them all.

    Live streams in step: each push brings every stream a chunk, and all are computed in a batch.
    """
    chunk = setting.latency_ms * SAMPLE_RATE // 1000
    warm_up = warm_up_chunks(setting.latency_ms)
    chunks = warm_up + chunks_of(setting)
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


def _run_file(
    recognizer: wheatear.Recognizer, setting: Setting, stages: dict[str, float]
) -> tuple[list[float], float, int]:
    """Milliseconds for a file, once after a short one, seconds of processor time and tokens."""
    recognizer.transcribe(speech(_WARM_UP), latency_ms=setting.latency_ms)
    samples = speech(setting.seconds)
    stages.clear()
    cpu, start = time.process_time(), time.perf_counter()
    transcript = recognizer.transcribe(samples, latency_ms=setting.latency_ms)
    elapsed = time.perf_counter() - start
    return [elapsed * 1000], time.process_time() - cpu, len(transcript.tokens)


def main() -> None:
    """Answers requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is no answer
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        taken = take(Setting(**request["setting"]), Path(request["bundle"]))
        print(json.dumps(asdict(taken)), file=answers, flush=True)


if __name__ == "__main__":
    main()
