"""Hours of audio: memory and time per chunk stay flat, and the text is that of the file."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import wheatear
from wheatear.audio.reader import AudioReader, sample_speech
from wheatear.transcript.results import Final

HOURS = float(os.environ.get("WHEATEAR_SOAK_HOURS", "10"))
RATE = 16_000
PERIOD = 600  # seconds that repeat
_SPEECH = sample_speech()


def audio(hours: float) -> Iterator[np.ndarray]:
    """Speech with pauses, a room's noise, and every ten minutes four of digital silence."""
    rng, seconds = np.random.default_rng(0), len(_SPEECH) / RATE
    for _ in range(round(hours * 3600 / PERIOD)):
        left = float(PERIOD)
        while left > 300:
            yield _SPEECH * np.float32(rng.uniform(0.1, 1.0))
            pause = rng.uniform(0.2, 20)
            yield rng.normal(0, 10 ** rng.uniform(-5, -3), int(pause * RATE)).astype(np.float32)
            left -= seconds + pause
        for _ in range(int(left)):
            yield np.zeros(RATE, np.float32)


def resident() -> float:
    """Megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class EventCounter:
    """Finals, boiled down."""

    def __init__(self) -> None:
        self.words, self._hash = 0, hashlib.sha256()

    def add(self, event: object) -> None:
        if isinstance(event, Final):
            self.words += len(event.words)
            self._hash.update(repr((event.text, event.words, event.end)).encode())

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


@pytest.mark.slow
def test_hours_of_audio(capsys: pytest.CaptureFixture[str]) -> None:
    recognizer = wheatear.load(threads=1)
    stream = recognizer.stream(language="en-US", latency_ms=560, keep=False)
    live, hours, samples_read = EventCounter(), [], 0
    begun, words_before = time.process_time(), 0
    for block in audio(HOURS):
        for at in range(0, len(block), 1600):
            for event in stream.push(block[at : at + 1600]):
                live.add(event)
        samples_read += len(block)
        if samples_read >= 3600 * RATE * (len(hours) + 1):
            now = time.process_time()
            hours.append((now - begun, live.words - words_before, resident()))
            begun, words_before = now, live.words
    stream.finish()
    for event in stream.last_events:
        live.add(event)
    assert live.words > 100 * HOURS
    whole = EventCounter()
    reader = AudioReader(audio(HOURS), samples_read / RATE, ExitStack())
    recognizer.transcribe(reader, language="en-US", latency_ms=560, on_event=whole.add, keep=False)
    assert (whole.words, whole.digest) == (live.words, live.digest)
    with capsys.disabled():
        for number, (seconds, words, megabytes) in enumerate(hours, 1):
            print(f"hour {number}: {seconds:.1f} s of CPU, {words} words, {megabytes:.0f} MB")
    if len(hours) > 2:
        # The last hour has what the second one had: hours differ in the number of words.
        assert hours[-1][2] < hours[1][2] + 10
        rates = [seconds / words for seconds, words, _ in hours]
        assert rates[-1] < 1.5 * min(rates)
