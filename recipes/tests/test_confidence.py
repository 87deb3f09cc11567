"""Calibration of confidence."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.wheatear_small.confidence import (
    draw_reliability,
    evaluate_measure,
    expected_calibration_error,
    fit_calibration,
    judge_words,
    normalized_cross_entropy,
    reliability_rows,
)
from wheatear.audio.reader import sample_speech
from wheatear.model.bundle import open_bundle
from wheatear.model.store import find_bundle
from wheatear.train.data.manifest import Utterance
from wheatear.transcript.results import Word
from wheatear.transcript.words import calibrated


def test_calibration_removes_the_error_of_overconfident_words(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    honest = rng.uniform(0.02, 0.98, 20_000)
    correct = (rng.random(20_000) < honest).astype(float)
    odds = np.log(honest / (1 - honest))
    overconfident = 1 / (1 + np.exp(-(2 * odds + 1)))  # log-odds twice as large, and shifted
    line = fit_calibration(overconfident, correct)
    assert line == (pytest.approx(0.5, abs=0.03), pytest.approx(-0.5, abs=0.05))
    before = reliability_rows(overconfident, correct)
    after = reliability_rows(np.array([calibrated(p, line) for p in overconfident]), correct)
    assert expected_calibration_error(before) > 0.1
    assert expected_calibration_error(after) < 0.02
    assert sum(row["words"] for row in after) == 20_000
    draw_reliability(tmp_path / "a.png", before, after)
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


@given(st.lists(st.floats(0, 1), min_size=2), st.floats(0.05, 10), st.floats(-5, 5))
def test_calibration_keeps_the_order_of_words(
    values: list[float], scale: float, shift: float
) -> None:
    found = [calibrated(value, (scale, shift)) for value in sorted(values)]
    assert found == sorted(found)
    assert all(0 <= value <= 1 for value in found)


def test_aligned_words_are_correct(monkeypatch: pytest.MonkeyPatch) -> None:
    recognized = ["Press", "seven", "pound", "now."]
    words = tuple(Word(text, i, i + 0.5, 0.1 * (i + 1)) for i, text in enumerate(recognized))
    recognizer = SimpleNamespace(transcribe=lambda *_a, **_k: SimpleNamespace(words=words))
    clip = Utterance(Path("none"), 0, 16000, "press 7 now", "en-US")
    monkeypatch.setattr(Utterance, "read", lambda _self: np.zeros(16000, np.float32))
    confidence, correct = judge_words(recognizer, [clip], [80])  # type: ignore[arg-type]
    assert confidence == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert correct.tolist() == [1, 1, 0, 1]


def test_normalized_cross_entropy_is_zero_for_a_guess_and_one_for_certainty() -> None:
    correct = np.array([1.0, 1, 1, 0] * 100)
    assert normalized_cross_entropy(np.full(400, 0.75), correct) == pytest.approx(0)
    assert normalized_cross_entropy(np.where(correct > 0, 0.999999, 1e-6), correct) > 0.99
    assert normalized_cross_entropy(1 - correct, correct) < 0


def test_measures_differ_only_in_confidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = open_bundle(find_bundle(None))
    text = "I'm sorry, but I was unable to locate the person you are calling"
    clip = Utterance(Path("none"), 0, len(sample_speech()), text, "en-US")
    monkeypatch.setattr(Utterance, "read", lambda _self: sample_speech())
    rows = [
        evaluate_measure(bundle, m, [[clip], [clip]], [80, 1120])
        for m in ("probability", "entropy")
    ]
    assert rows[0]["words"] == rows[1]["words"] > 10
    assert rows[0]["right"] == rows[1]["right"]
    assert rows[0]["before"] != rows[1]["before"]
