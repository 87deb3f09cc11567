"""Figures of a run, against those computed from its utterances."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from fake_engines import TEXTS, FakeEngine

from wheatear.convert.verify import edit_distance
from wheatear.errors import WheatearError
from wheatear.evaluate.corpora import read_corpus
from wheatear.evaluate.runner import NOISE, EvaluationPlan, run
from wheatear.evaluate.summary import against


def test_rows_agree_with_the_utterances(summary, results, tmp_path):
    """Error rates are computed again from the normalized texts."""
    lines = [
        json.loads(s) for s in (tmp_path / "out" / "utterances.jsonl").read_text().splitlines()
    ]
    for row in summary["rows"]:
        same = ("system", "precision", "mode", "latency_ms", "prompt", "locale", "group")
        own = [r for r in lines if all(r[name] == row[name] for name in same)]
        good = [r for r in own if r["fault"] is None]
        assert (row["utterances"], row["failed"]) == (len(good), len(own) - len(good))
        if not good:
            assert row["error_rate"] is None
            continue
        texts = [(r["normal_reference"].split(), r["normal_hypothesis"].split()) for r in good]
        errors = sum(edit_distance(*pair) for pair in texts)
        length = sum(len(reference) for reference, _ in texts)
        assert (row["errors"], row["length"], row["unit"]) == (errors, length, "word")
        assert row["error_rate"]["value"] == row["wer"]["value"]
        assert row["wer"]["value"] == pytest.approx(100 * errors / length, abs=0.006)
        kinds = sum(row[name]["value"] for name in ("insertions", "deletions", "substitutions"))
        assert kinds == pytest.approx(row["wer"]["value"], abs=0.02)
        characters = "".join(r["normal_reference"].replace(" ", "") for r in good)
        wrong = sum(
            edit_distance(
                r["normal_reference"].replace(" ", ""), r["normal_hypothesis"].replace(" ", "")
            )
            for r in good
        )
        assert row["cer"]["value"] == pytest.approx(100 * wrong / len(characters), abs=0.006)
        seconds = sum(r["seconds"] for r in good)
        assert row["rtf"] == pytest.approx(sum(r["compute"] for r in good) / seconds, abs=0.001)
        times = [r["end_ms"] for r in good]
        assert row["end_ms"]["median"] == pytest.approx(np.median(times), abs=0.06)
        assert (row["turn_ms"] is None) == (row["mode"] != "stream")
        assert (row["language_right"] is None) == (row["prompt"] == "given")
    assert len(summary["rows"]) == 2 * 2 * 2 * 3  # systems, modes, prompts; ann, bob, cat
    right = {
        (r["locale"], r["group"]): r["language_right"]["value"]
        for r in summary["rows"]
        if r["language_right"]
    }
    assert right == {("en-US", "ann"): 100, ("en-US", "bob"): 100, ("fr-FR", "cat"): 0}


def test_means_noise_failures_and_left_out(summary):
    means = [m for m in summary["means"] if m["system"] == "good" and m["prompt"] == "given"]
    assert [(m["mode"], m["group"], m["locales"]) for m in means] == [
        (mode, group, 1) for mode in ("whole", "stream") for group in ("ann", "bob", "cat")
    ]
    assert {n["hypothesis"] for n in summary["noise"] if n["system"] == "good"} == {""}
    assert {n["hypothesis"] for n in summary["noise"] if n["mode"] == "whole"} == {"", "shh <b>"}
    assert {f["id"] for f in summary["failed"]} == {"13.wav", "broken.wav"}
    assert summary["left_out"] == [
        {"system": name, "locale": "xx-XX", "clips": 1} for name in ("good", "bad | one")
    ]


def test_systems_of_a_run_are_compared(summary):
    rows = [r for r in summary["differences"] if r["prompt"] == "given"]
    assert [(r["system"], r["against"], r["mode"], r["group"]) for r in rows] == [
        ("bad | one", "good", "whole", group) for group in ("ann", "bob", "cat")
    ]  # windows are not compared with streams
    rates = {
        (r["system"], r["mode"], r["prompt"], r["group"]): r["error_rate"] for r in summary["rows"]
    }
    for row in rows:
        ours = rates["bad | one", "whole", "given", row["group"]]["value"]
        theirs = rates["good", "whole", "given", row["group"]]["value"]
        assert row["difference"]["value"] == pytest.approx(ours - theirs, abs=0.02)
        assert row["difference"]["low"] <= row["difference"]["value"] <= row["difference"]["high"]


def test_runs_are_compared_on_common_utterances(results, corpus, clock, tmp_path):
    plan = EvaluationPlan(("whole",))
    same = run(
        read_corpus(corpus).clips, iter([FakeEngine(clock, TEXTS, "good")]), plan, tmp_path / "b"
    )
    found = against(results.scored, same.scored)
    assert {(r["system"], r["against"], r["mode"]) for r in found} == {
        ("good", "good", "whole"), ("bad | one", "good", "whole"),
    }  # fmt: skip
    for row in found:
        if row["system"] == "good":
            assert row["difference"] | {"p": 1} == {"value": 0, "low": 0, "high": 0, "p": 1}
    other = [replace(clip, reference="something else") for clip in read_corpus(corpus).clips]
    changed = run(other, iter([FakeEngine(clock, TEXTS, "good")]), plan, tmp_path / "c")
    with pytest.raises(WheatearError, match="nothing in common"):
        against(results.scored, changed.scored)


def test_noise_is_in_no_rate(summary):
    assert NOISE not in {row["group"] for row in summary["rows"]}
    assert NOISE not in {row["group"] for row in summary["differences"]}
