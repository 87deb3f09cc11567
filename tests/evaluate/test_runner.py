"""Runs that are stopped, audio that is broken, times of a clock that is made up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_engines import SAYS, WORK, Clock, Parrot, Streaming, tone

from wheatear.errors import WheatearError
from wheatear.evaluate.corpora import read_corpus
from wheatear.evaluate.engines.engine import FixedWindows, Hypothesis
from wheatear.evaluate.records import UTTERANCES, Scoring
from wheatear.evaluate.runner import NOISE, EvaluationPlan, run
from wheatear.evaluate.timing import time_file, time_stream, time_turn_end

WHOLE = EvaluationPlan(modes=("whole",))


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / UTTERANCES).read_text().splitlines()]


def spoken(folder: Path) -> list[dict]:
    return [line for line in lines(folder) if line["group"] != NOISE]


def test_what_is_written_down(corpus: Path, clock: Clock, tmp_path: Path):
    parrot = Parrot(clock, SAYS)
    clips = read_corpus(corpus).clips
    results = run(clips, iter([parrot]), replace(WHOLE, by="speaker"), tmp_path / "out")
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
        "fingerprint": "first weights, 1 threads", "system": "parrot", "precision": "int8",
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
    assert dict(results.left_out) == {("parrot", "xx-XX"): 1}
    noise = [line for line in lines(tmp_path / "out") if line["group"] == NOISE]
    assert len(noise) == 10
    assert {line["seconds"] for line in noise} == {10.0}


def test_a_run_goes_on_where_it_was_stopped(corpus: Path, clock: Clock, tmp_path: Path):
    clips, out = read_corpus(corpus).clips, tmp_path / "out"

    class Stopped(Parrot):
        def transcribe(self, samples, locale):
            if len(self.heard) == 5:  # the first to warm up
                raise KeyboardInterrupt
            return super().transcribe(samples, locale)

    with pytest.raises(KeyboardInterrupt):
        run(clips, iter([Stopped(clock, SAYS)]), WHOLE, out)
    assert [line["id"] for line in lines(out)] == ["5.wav", "6.wav", "13.wav", "7.wav"]
    with (out / UTTERANCES).open("a") as file:
        file.write('{"id": "8.wav", "locale": "fr-')  # cut off
    parrot = Parrot(clock, SAYS)
    first = run(clips, iter([parrot]), WHOLE, out)
    # To warm up; what failed and what was not reached; noise; all of it without the language.
    assert [tenths for tenths, locale in parrot.heard if locale] == [10, 13, 8, *[100] * 5]
    again = Parrot(clock, SAYS)
    second = run(clips, iter([again]), WHOLE, out)
    assert [tenths for tenths, _ in again.heard] == [10, 13, 10, 13]  # only what had failed
    assert [(r.key, s) for r, s in first.scored] == [(r.key, s) for r, s in second.scored]
    assert not list(out.glob("*.partial"))


def test_what_another_run_needs_is_kept(corpus: Path, clock: Clock, tmp_path: Path):
    clips, out = read_corpus(corpus).clips[:2], tmp_path / "out"
    plan = replace(WHOLE, prompts=("given",))
    run(clips, iter([Parrot(clock, SAYS), Parrot(clock, SAYS, "other")]), plan, out)
    everything = lines(out)
    run(clips[:1], iter([Parrot(clock, SAYS)]), plan, out)
    assert [line["id"] for line in spoken(out)] == ["5.wav"]
    parrots = [Parrot(clock, SAYS), Parrot(clock, SAYS, "other")]
    run(clips, iter(parrots), plan, out)
    assert [parrot.heard for parrot in parrots] == [[], []]
    assert lines(out) == everything
    assert [path.name for path in out.iterdir()] == [UTTERANCES]


def test_what_has_changed_is_done_again(corpus: Path, clock: Clock, tmp_path: Path):
    clips, out = read_corpus(corpus).clips, tmp_path / "out"
    plan = replace(WHOLE, prompts=("given",))
    run(clips, iter([Parrot(clock, SAYS)]), plan, out)
    other = [replace(clips[0], reference="One two"), *clips[1:]]
    parrot = Parrot(clock, SAYS)
    run(other, iter([parrot]), plan, out)
    assert [tenths for tenths, _ in parrot.heard] == [10, 5, 13]
    for changed in (replace(plan, threads=2), plan):
        parrot = Parrot(clock, SAYS)
        if changed is plan:
            parrot.info = replace(parrot.info, fingerprint="other weights")
        run(other, iter([parrot]), changed, out)
        assert len(parrot.heard) == 11


def test_scores_follow_the_options(corpus: Path, clock: Clock, tmp_path: Path):
    says = SAYS | {8: "s\u00e0lut"}
    clips, out = read_corpus(corpus, None).clips[4:5], tmp_path / "out"
    run(clips, iter([Parrot(clock, says)]), WHOLE, out)
    assert spoken(out)[0]["errors"] == 1
    parrot = Parrot(clock, says)
    run(clips, iter([parrot]), replace(WHOLE, scoring=Scoring(False, frozenset({"fr"}))), out)
    assert not parrot.heard
    assert spoken(out)[0]["errors"] == 0


def test_nothing_at_all(corpus: Path, clock: Clock, tmp_path: Path):
    clips = read_corpus(corpus).clips
    with pytest.raises(WheatearError, match="no engine knows"):
        run(clips[5:6], iter([Parrot(clock, SAYS)]), WHOLE, tmp_path / "out")

    class Broken(Parrot):
        def transcribe(self, samples, locale):
            raise RuntimeError("out of order")

    with pytest.raises(WheatearError, match="out of order"):
        run(clips, iter([Broken(clock, SAYS)]), WHOLE, tmp_path / "out")


def test_engines_of_one_name_are_told_apart(corpus: Path, clock: Clock, tmp_path: Path):
    clips = read_corpus(corpus).clips[:1]
    parrots = [Parrot(clock, SAYS), Parrot(clock, {5: "x"}), Parrot(clock, {5: "y"}, precision="")]
    results = run(clips, iter(parrots), replace(WHOLE, prompts=("given",)), tmp_path / "out")
    assert [name for name, _ in results.engines] == ["parrot", "parrot #2", "parrot"]
    assert [line["hypothesis"] for line in spoken(tmp_path / "out")] == ["One two free", "x", "y"]


def test_modes_are_never_mixed(corpus: Path, clock: Clock, tmp_path: Path):
    clips = read_corpus(corpus).clips[:1]
    plan = EvaluationPlan(("whole", "stream"), ("given",), pieces=0.3)
    engines = [Parrot(clock, SAYS), Streaming(clock, SAYS, "live")]
    run(clips, iter(engines), plan, tmp_path / "out")
    found = {(line["system"], line["mode"]): line for line in spoken(tmp_path / "out")}
    assert list(found) == [
        ("parrot", "whole"), ("parrot", "pieces of 0.3 s"), ("live", "whole"), ("live", "stream"),
    ]  # fmt: skip
    assert found["parrot", "pieces of 0.3 s"]["turn_ms"] is None
    assert found["live", "stream"]["turn_ms"] is not None
    assert found["live", "stream"]["hypothesis"] == found["live", "whole"]["hypothesis"]


def test_whole_files_begin_when_they_are_there(clock: Clock):
    timed = time_file(Parrot(clock, SAYS), tone(5), "en-US")
    assert timed.heard.text == "One two free"
    assert (timed.compute, timed.end, timed.first) == (pytest.approx(WORK), timed.compute, None)


def test_live_sessions_run_on_audio_time(clock: Clock):
    """Blocks of 20 ms that take a millisecond each: the computer waits for the audio."""
    timed = time_stream(Streaming(clock, SAYS), tone(5), "en-US", 2.0)
    assert timed.heard.text == "One two free"
    assert timed.compute == pytest.approx(25 * 0.001 + WORK)
    assert timed.first == pytest.approx(
        0.02 + 0.001, abs=0.002
    )  # the first loud block, and its work
    assert timed.end == pytest.approx(0.001 + WORK)


def test_what_is_too_slow_falls_behind(clock: Clock):
    class Slow(Streaming):
        def start_stream(self, locale, pieces):
            live = super().start_stream(locale, pieces)
            push = live.push

            def slow(samples):
                clock.now += 0.05
                return push(samples)

            live.push = slow
            return live

    timed = time_stream(Slow(clock, SAYS), tone(5), "en-US", 2.0)
    assert timed.end == pytest.approx(0.02 + 25 * 0.051 + WORK - 0.5)


def test_the_end_of_a_turn_counts_from_the_end_of_speech(clock: Clock):
    live = Streaming(clock, SAYS)
    assert time_turn_end(live, tone(5), None, 2.0) == pytest.approx(0.5, abs=0.03)
    assert time_turn_end(Parrot(clock, SAYS), tone(5), None, 9.0) is None


def test_pieces_are_heard_one_after_the_other(clock: Clock):
    parrot = Parrot(clock, {3: "three", 2: "two"})
    live = FixedWindows(parrot, None, 0.3)
    told = [
        said.text for at in range(0, 8 * 1600, 320) for said in live.push(tone(8)[at : at + 320])
    ]
    assert told == ["three", "three three"]
    assert live.finish() == Hypothesis("three three two", "en")
    assert [tenths for tenths, _ in parrot.heard] == [3, 3, 2]
    assert FixedWindows(parrot, None, 1.0).finish() == Hypothesis("")


def test_empty_audio_is_a_fault(clock: Clock, tmp_path: Path):
    import soundfile

    from wheatear.evaluate.clips import Clip

    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 16_000)
    soundfile.write(tmp_path / "5.wav", tone(5), 16_000)
    clips = [Clip(f"{n}.wav", tmp_path / f"{n}.wav", "en-US", "a") for n in ("none", 5)]
    run(clips, iter([Parrot(clock, SAYS)]), WHOLE, tmp_path / "out")
    assert "holds no audio" in spoken(tmp_path / "out")[0]["fault"]
