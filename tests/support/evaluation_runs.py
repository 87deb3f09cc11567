"""Fixtures: a made-up clock, corpora, and a run of made-up engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
from fake_engines import TEXTS, Clock, FakeEngine, StreamingFakeEngine, tone

from wheatear.audio.reader import sample_speech
from wheatear.evaluate import timing
from wheatear.evaluate.corpora import read_corpus
from wheatear.evaluate.runner import EvaluationPlan, Results, run
from wheatear.evaluate.summary import summarize


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(timing, "perf_counter", made)
    return made


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A manifest of five utterances in two locales, one of them broken, and one of a third."""
    rows = [
        (5, "One two three.", "en-US", "ann"),
        (6, "Four five, six seven.", "en-US", "bob"),
        (13, "Eight.", "en-US", "bob"),
        (7, "Bonjour tout le monde.", "fr-FR", "cat"),
        (8, "Salut", "fr-FR", "cat"),
        (9, "Hm", "xx-XX", "cat"),
    ]
    lines = []
    for tenths, text, lang, speaker in rows:
        soundfile.write(tmp_path / f"{tenths}.wav", tone(tenths), 16_000)
        lines.append(
            {"audio_filepath": f"{tenths}.wav", "text": text, "lang": lang, "speaker": speaker}
        )
    (tmp_path / "broken.wav").write_text("no audio")
    lines.append(
        {"audio_filepath": "broken.wav", "text": "Gone", "lang": "fr-FR", "speaker": "cat"}
    )
    path = tmp_path / "test.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A manifest of the sample recording and of its first half."""
    soundfile.write(tmp_path / "a.wav", sample_speech(), 16_000)
    soundfile.write(tmp_path / "b.wav", sample_speech()[:32_000], 16_000)
    texts = "I'm sorry, but I was unable to locate the person you are calling", "I'm sorry"
    lines = [
        {"audio_filepath": f"{name}.wav", "text": text, "lang": "en-US", "speaker": name}
        for name, text in zip("ab", texts, strict=True)
    ]
    path = tmp_path / "speech.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.fixture
def results(corpus: Path, clock: Clock, tmp_path: Path) -> Results:
    """A run of two engines, one of them worse and without streams."""
    worse = {**TEXTS, 5: "Nothing", 6: "", 7: "Quoi", 8: "Salut", 100: "shh <b>"}
    engines = [
        StreamingFakeEngine(clock, TEXTS, "good"),
        FakeEngine(clock, worse, "bad | one", "fp32"),
    ]
    plan = EvaluationPlan(("whole", "stream"), by="speaker", window_s=0.3)
    return run(read_corpus(corpus).clips, iter(engines), plan, tmp_path / "out")


@pytest.fixture
def summary(results: Results) -> dict[str, Any]:
    return summarize(results)
