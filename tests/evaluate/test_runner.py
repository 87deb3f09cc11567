"""Runs that are interrupted, and audio that is broken."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_engines import TEXTS, WORK, Clock, FakeEngine, StreamingFakeEngine, tone

from wheatear.errors import WheatearError
from wheatear.evaluate.corpora import read_corpus
from wheatear.evaluate.records import UTTERANCES, Scoring
from wheatear.evaluate.runner import NOISE, EvaluationPlan, run

PLAN = EvaluationPlan(modes=("whole",))


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / UTTERANCES).read_text().splitlines()]


def spoken(folder: Path) -> list[dict]:
    return [line for line in lines(folder) if line["group"] != NOISE]


def test_records_have_texts_times_and_scores(corpus: Path, clock: Clock, tmp_path: Path):
    engine = FakeEngine(clock, TEXTS)
    clips = read_corpus(corpus).clips
    results = run(clips, iter([engine]), replace(PLAN, by="speaker"), tmp_path / "out")
    found = spoken(tmp_path / "out")
    assert [(line["id"], line["prompt"]) for line in found] == [
        (f"{name}.wav", prompt)
        for prompt in ("given", "auto")
        for name in (5, 6, 13, 7, 8, "broken")
    ]
    assert found[0] | {"compute": None} == {
        "id": "5.wav", "locale": "en-US", "group": "ann", "asked": "en-US", "seconds": 0.5,
        "reference": "One two three.", "hypothesis": "One two free", "language": None,
        "compute": None, "first_ms": None, "end_ms": 100.0, "turn_ms": None, "fault": None,
        "fingerprint": "first weights, 1 threads", "system": "fake", "precision": "int8",
        "mode": "whole", "latency_ms": None, "prompt": "given", "errors": 2, "length": 1,
        "normal_reference": "123", "normal_hypothesis": "12 free", "unit": "word",
        "words": {"length": 1, "insertions": 1, "deletions": 0, "substitutions": 1},
        "letters": {"length": 3, "insertions": 3, "deletions": 0, "substitutions": 1},
        "written": {"marks": 1, "wrong_marks": 1, "cased": 2, "miscased": 0},
        "language_right": None,
    }  # fmt: skip
    assert found[0]["compute"] == pytest.approx(WORK)
    by_id = {(line["id"], line["prompt"]): line for line in found}
    assert by_id["13.wav", "auto"]["fault"] == "thirteen brings bad luck"
    assert "broken.wav" in by_id["broken.wav", "given"]["fault"]
    assert by_id["5.wav", "auto"]["language_right"] is True
    assert by_id["7.wav", "auto"]["language_right"] is False
    assert by_id["7.wav", "auto"]["asked"] is None
    assert by_id["8.wav", "given"]["written"] == {
        "marks": 0, "wrong_marks": 0, "cased": 1, "miscased": 1,
    }  # fmt: skip
    assert dict(results.left_out) == {("fake", "xx-XX"): 1}
    noise = [line for line in lines(tmp_path / "out") if line["group"] == NOISE]
    assert len(noise) == 10
    assert {line["seconds"] for line in noise} == {10.0}


def test_interrupted_run_continues(corpus: Path, clock: Clock, tmp_path: Path):
    clips, out = read_corpus(corpus).clips, tmp_path / "out"

    class Stopped(FakeEngine):
        def transcribe(self, samples, locale):
            if len(self.calls) == 5:  # the first to warm up
                raise KeyboardInterrupt
            return super().transcribe(samples, locale)

    with pytest.raises(KeyboardInterrupt):
        run(clips, iter([Stopped(clock, TEXTS)]), PLAN, out)
    assert [line["id"] for line in lines(out)] == ["5.wav", "6.wav", "13.wav", "7.wav"]
    with (out / UTTERANCES).open("a") as file:
        file.write('{"id": "8.wav", "locale": "fr-')  # cut off
    engine = FakeEngine(clock, TEXTS)
    first = run(clips, iter([engine]), PLAN, out)
    # Warm-up; failed and missing clips; noise. Then all of it without the language.
    assert [tenths for tenths, locale in engine.calls if locale] == [10, 13, 8, *[100] * 5]
    again = FakeEngine(clock, TEXTS)
    second = run(clips, iter([again]), PLAN, out)
    assert [tenths for tenths, _ in again.calls] == [10, 13, 10, 13]  # only what had failed
    assert [(r.key, s) for r, s in first.scored] == [(r.key, s) for r, s in second.scored]
    assert not list(out.glob("*.partial"))


def test_records_of_other_clips_are_kept(corpus: Path, clock: Clock, tmp_path: Path):
    clips, out = read_corpus(corpus).clips[:2], tmp_path / "out"
    plan = replace(PLAN, prompts=("given",))
    run(clips, iter([FakeEngine(clock, TEXTS), FakeEngine(clock, TEXTS, "other")]), plan, out)
    everything = lines(out)
    run(clips[:1], iter([FakeEngine(clock, TEXTS)]), plan, out)
    assert [line["id"] for line in spoken(out)] == ["5.wav"]
    engines = [FakeEngine(clock, TEXTS), FakeEngine(clock, TEXTS, "other")]
    run(clips, iter(engines), plan, out)
    assert [engine.calls for engine in engines] == [[], []]
    assert lines(out) == everything
    assert [path.name for path in out.iterdir()] == [UTTERANCES]


def test_changed_references_and_weights_run_again(corpus: Path, clock: Clock, tmp_path: Path):
    clips, out = read_corpus(corpus).clips, tmp_path / "out"
    plan = replace(PLAN, prompts=("given",))
    run(clips, iter([FakeEngine(clock, TEXTS)]), plan, out)
    other = [replace(clips[0], reference="One two"), *clips[1:]]
    engine = FakeEngine(clock, TEXTS)
    run(other, iter([engine]), plan, out)
    assert [tenths for tenths, _ in engine.calls] == [10, 5, 13]
    for changed in (replace(plan, threads=2), plan):
        engine = FakeEngine(clock, TEXTS)
        if changed is plan:
            engine.info = replace(engine.info, fingerprint="other weights")
        run(other, iter([engine]), changed, out)
        assert len(engine.calls) == 11


def test_scores_follow_the_options_without_a_new_run(corpus: Path, clock: Clock, tmp_path: Path):
    texts = TEXTS | {8: "s\u00e0lut"}
    clips, out = read_corpus(corpus, None).clips[4:5], tmp_path / "out"
    run(clips, iter([FakeEngine(clock, texts)]), PLAN, out)
    assert spoken(out)[0]["errors"] == 1
    engine = FakeEngine(clock, texts)
    run(clips, iter([engine]), replace(PLAN, scoring=Scoring(False, frozenset({"fr"}))), out)
    assert not engine.calls
    assert spoken(out)[0]["errors"] == 0


def test_run_without_any_transcript_is_an_error(corpus: Path, clock: Clock, tmp_path: Path):
    clips = read_corpus(corpus).clips
    with pytest.raises(WheatearError, match="no engine knows"):
        run(clips[5:6], iter([FakeEngine(clock, TEXTS)]), PLAN, tmp_path / "out")

    class Broken(FakeEngine):
        def transcribe(self, samples, locale):
            raise RuntimeError("out of order")

    with pytest.raises(WheatearError, match="out of order"):
        run(clips, iter([Broken(clock, TEXTS)]), PLAN, tmp_path / "out")


def test_engines_of_one_name_are_numbered(corpus: Path, clock: Clock, tmp_path: Path):
    clips = read_corpus(corpus).clips[:1]
    engines = [
        FakeEngine(clock, TEXTS),
        FakeEngine(clock, {5: "x"}),
        FakeEngine(clock, {5: "y"}, precision=""),
    ]
    results = run(clips, iter(engines), replace(PLAN, prompts=("given",)), tmp_path / "out")
    assert [name for name, _ in results.engines] == ["fake", "fake #2", "fake"]
    assert [line["hypothesis"] for line in spoken(tmp_path / "out")] == ["One two free", "x", "y"]


def test_windows_are_a_mode_of_their_own(corpus: Path, clock: Clock, tmp_path: Path):
    clips = read_corpus(corpus).clips[:1]
    plan = EvaluationPlan(("whole", "stream"), ("given",), window_s=0.3)
    engines = [FakeEngine(clock, TEXTS), StreamingFakeEngine(clock, TEXTS, "live")]
    run(clips, iter(engines), plan, tmp_path / "out")
    found = {(line["system"], line["mode"]): line for line in spoken(tmp_path / "out")}
    assert list(found) == [
        ("fake", "whole"), ("fake", "pieces of 0.3 s"), ("live", "whole"), ("live", "stream"),
    ]  # fmt: skip
    assert found["fake", "pieces of 0.3 s"]["turn_ms"] is None
    assert found["live", "stream"]["turn_ms"] is not None
    assert found["live", "stream"]["hypothesis"] == found["live", "whole"]["hypothesis"]


def test_empty_audio_is_a_fault(clock: Clock, tmp_path: Path):
    import soundfile

    from wheatear.evaluate.clips import Clip

    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 16_000)
    soundfile.write(tmp_path / "5.wav", tone(5), 16_000)
    clips = [Clip(f"{n}.wav", tmp_path / f"{n}.wav", "en-US", "a") for n in ("none", 5)]
    run(clips, iter([FakeEngine(clock, TEXTS)]), PLAN, tmp_path / "out")
    assert "holds no audio" in spoken(tmp_path / "out")[0]["fault"]
