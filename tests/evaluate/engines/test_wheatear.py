"""Wheatear as an engine."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

import wheatear
from wheatear.audio.reader import sample_speech
from wheatear.evaluate.engines.engine import Hypothesis
from wheatear.evaluate.engines.wheatear import Wheatear
from wheatear.evaluate.timing import time_stream, time_turn_end
from wheatear.model.bundle import open_bundle
from wheatear.model.manifest import write_manifest
from wheatear.model.store import find_bundle


@pytest.fixture(scope="module")
def recognizer() -> wheatear.Recognizer:
    return wheatear.load(threads=1)


def test_bundle_is_transcribed_as_by_the_recognizer(recognizer):
    engine = Wheatear(recognizer, 320)
    assert engine.name == "wheatear-small"
    assert engine.detects
    info = engine.info
    assert (info.precision, info.latency_ms, info.parameters) == ("int8", 320, 4_830_147)
    assert 7e6 < info.size < 9e6  # without the checkpoint to train from
    languages = {"en-US": "en-US", "fr-FR": "fr-CA", "es-419": "es-US", "ja-JP": None}
    languages |= {"pt-PT": "pt-BR", "en-AU": "en-US", "de_at": "de-DE", "gsw-CH": None}
    assert {locale: engine.language_for(locale) for locale in languages} == languages
    samples = sample_speech()
    expected = recognizer.transcribe(samples, language="en-US", latency_ms=320)
    assert engine.transcribe(samples, "en-US") == Hypothesis(expected.text)
    assert engine.transcribe(samples, None).language == "en-US"
    timed = time_stream(engine, samples, "en-US", 2.0)
    assert timed.hypothesis == Hypothesis(expected.text)
    assert 0 < timed.first_s < len(samples) / 16_000
    assert 0.4 < time_turn_end(engine, samples, "en-US", 2.0) < 3


def test_fingerprint_depends_on_weights_and_not_on_documents(tmp_path):
    def fingerprint(folder: Path) -> str:
        return Wheatear(wheatear.load(folder, threads=1), 80).info.fingerprint

    folder = Path(shutil.copytree(find_bundle(None), tmp_path / "copy"))
    first = fingerprint(folder)
    (folder / "MODEL_CARD.md").write_text("Something else")
    manifest = open_bundle(find_bundle(None)).manifest
    write_manifest(folder, manifest)
    assert fingerprint(folder) == first
    write_manifest(folder, dataclasses.replace(manifest, confidence=(1.0, 0.5)))
    assert fingerprint(folder) != first


def test_beam_and_model_without_languages(recognizer, recognizer_of):
    engine = Wheatear(recognizer, 80, wheatear.BeamRules(4))
    assert engine.name == "wheatear-small, beam 4"
    assert engine.transcribe(sample_speech(), "en-US").text
    english = Wheatear(recognizer_of("tiny-en"), 80)
    assert (english.language_for("fr-FR"), english.detects) == ("auto", False)
    assert english.start_stream("auto", 1).finish() == Hypothesis("")
