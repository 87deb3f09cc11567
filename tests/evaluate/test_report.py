"""Figures are those of the utterances, and the report shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fake_engines import SAYS, Clock, Parrot, Streaming

from wheatear.convert.verify import edit_distance
from wheatear.errors import WheatearError
from wheatear.evaluate.corpora import read_corpus
from wheatear.evaluate.html import page
from wheatear.evaluate.plots import draw
from wheatear.evaluate.report import Section, Table, markdown, sections, side_by_side
from wheatear.evaluate.runner import NOISE, EvaluationPlan, run
from wheatear.evaluate.summary import against, summarize

PLAN = EvaluationPlan(("whole", "stream"), by="speaker", pieces=0.3)


@pytest.fixture
def results(corpus: Path, clock: Clock, tmp_path: Path):
    worse = {**SAYS, 5: "Nothing", 6: "", 7: "Quoi", 8: "Salut", 100: "shh <b>"}
    engines = [Streaming(clock, SAYS, "good"), Parrot(clock, worse, "bad | one", "fp32")]
    return run(read_corpus(corpus).clips, iter(engines), PLAN, tmp_path / "out")


@pytest.fixture
def summary(results):
    return summarize(results)


def test_rows_are_what_the_utterances_say(summary, results, tmp_path):
    """Error rates computed once more, from the normalised texts alone."""
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
        length = sum(len(said) for said, _ in texts)
        assert (row["errors"], row["length"], row["unit"]) == (errors, length, "word")
        assert row["error_rate"]["value"] == row["wer"]["value"]
        assert row["wer"]["value"] == pytest.approx(100 * errors / length, abs=0.006)
        kinds = sum(row[name]["value"] for name in ("insertions", "deletions", "substitutions"))
        assert kinds == pytest.approx(row["wer"]["value"], abs=0.02)
        said = "".join(r["normal_reference"].replace(" ", "") for r in good)
        wrong = sum(
            edit_distance(
                r["normal_reference"].replace(" ", ""), r["normal_hypothesis"].replace(" ", "")
            )
            for r in good
        )
        assert row["cer"]["value"] == pytest.approx(100 * wrong / len(said), abs=0.006)
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


def test_means_noise_and_failures(summary):
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
    loss = {(r[0], r[1]): r[5] for r in side_by_side(summary, brief=True).rows if r[3] == "bob"}
    assert loss["good int8", "stream"] == "+0.00"
    assert loss["good int8", "whole"] == "-"


def test_differences_in_one_run(summary):
    rows = [r for r in summary["differences"] if r["prompt"] == "given"]
    assert [(r["system"], r["against"], r["mode"], r["group"]) for r in rows] == [
        ("bad | one", "good", "whole", group) for group in ("ann", "bob", "cat")
    ]  # pieces are not compared with streams
    rates = {
        (r["system"], r["mode"], r["prompt"], r["group"]): r["error_rate"] for r in summary["rows"]
    }
    for row in rows:
        ours = rates["bad | one", "whole", "given", row["group"]]["value"]
        theirs = rates["good", "whole", "given", row["group"]]["value"]
        assert row["difference"]["value"] == pytest.approx(ours - theirs, abs=0.02)
        assert row["difference"]["low"] <= row["difference"]["value"] <= row["difference"]["high"]


def test_differences_between_runs(results, corpus, clock, tmp_path):
    plan = replace(PLAN, modes=("whole",), by=None)
    same = run(read_corpus(corpus).clips, iter([Parrot(clock, SAYS, "good")]), plan, tmp_path / "b")
    found = against(results.scored, same.scored)
    assert {(r["system"], r["against"], r["mode"]) for r in found} == {
        ("good", "good", "whole"), ("bad | one", "good", "whole"),
    }  # fmt: skip
    for row in found:
        if row["system"] == "good":
            assert row["difference"] | {"p": 1} == {"value": 0, "low": 0, "high": 0, "p": 1}
    other = [replace(clip, reference="something else") for clip in read_corpus(corpus).clips]
    changed = run(other, iter([Parrot(clock, SAYS, "good")]), plan, tmp_path / "c")
    with pytest.raises(WheatearError, match="nothing in common"):
        against(results.scored, changed.scored)


class _Page(HTMLParser):
    """Checks that tags are closed in their order, and collects what the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        for name, value in attrs:
            if name in ("href", "src", "xlink:href") or (value and "url(" in value):
                self.references.append(value)
            if name == "id":
                self.ids.append(value)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_needs_nothing_else(summary, results):
    parts = sections(summary, results.scored)
    text = page("A <title> & more", parts, summary)
    found = _Page()
    found.feed(text)
    assert found.open == []
    assert (
        found.seen.count("svg") == 5
    )  # side by side, rates of two systems, what goes wrong, times
    assert all(reference.lstrip("url(").startswith("#") for reference in found.references)
    assert "A <title> & more" in found.text
    assert "shh <b>" in found.text
    assert "<script" not in text
    targets = {reference.removeprefix("url(").strip("#)") for reference in found.references}
    assert targets <= set(found.ids)
    for target in targets:  # a picture must not take another one's shapes
        assert found.ids.count(target) == 1


def test_markdown_says_the_same(summary, results):
    parts = sections(summary, results.scored)
    text = markdown("Title", parts)
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        part.title.replace("|", "\\|") for part in parts
    ]
    for part in parts:
        for row in part.table.rows if part.table else ():
            assert len(row) == len(part.table.heads)
    assert "bad \\| one fp32" in text
    assert "shh \\<b\\>" in text
    titles = [part.title for part in parts]
    assert titles[:2] == ["Systems", "Side by side"]
    assert {"Differences", "Left out", "Failed", "The worst"} <= set(titles)


def test_cells_of_markdown_stay_in_their_cells():
    table = Table(("a|b",), (("x | y\n`z`",),))
    lines = markdown("t", [Section("s", "", table)]).splitlines()
    assert lines[-1] == "| x \\| y \\`z\\` |"


def test_pictures(summary):
    assert draw(summary, "speed").startswith("<svg")
    assert draw(summary, "rates:nobody:fp32") is None
    latencies = [dict(row, latency_ms=ms) for row in summary["rows"] for ms in (80, 1120)]
    curve = draw({**summary, "rows": latencies}, "rates:good:int8")
    assert "latency, ms" in curve
    named = [dict(row, locale="$x$ ไทย <&>") for row in summary["rows"]]
    assert "$x$ ไทย &lt;&amp;&gt;" in draw({**summary, "rows": named}, "rates:good:int8")
    empty = {"rows": [], "means": []}
    assert [draw(empty, name) for name in ("speed", "edits", "latency")] == [None] * 3


def test_noise_has_no_part_in_any_rate(summary):
    assert NOISE not in {row["group"] for row in summary["rows"]}
    assert NOISE not in {row["group"] for row in summary["differences"]}
