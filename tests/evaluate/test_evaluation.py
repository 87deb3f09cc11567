"""One evaluation, from clips to files."""

from __future__ import annotations

import pytest

from wheatear.errors import WheatearError
from wheatear.evaluate.corpora import read_corpus
from wheatear.evaluate.evaluation import Systems, choose, evaluate
from wheatear.evaluate.runner import EvaluationPlan


def test_clips_are_chosen_by_locale_and_limit(corpus):
    clips = read_corpus(corpus).clips
    assert [clip.id for clip in choose(clips, ["en_us"], 2)] == ["5.wav", "6.wav"]
    assert [clip.id for clip in choose(clips, [], 1)] == ["5.wav", "7.wav", "9.wav"]
    with pytest.raises(WheatearError, match="no clips of ja-jp; there are of en-US, fr-FR, xx-XX"):
        choose(clips, ["ja-JP"], None)


def test_systems_are_checked_before_any_is_opened():
    Systems(latencies=(80, 560)).check()
    with pytest.raises(WheatearError, match="no 100 ms mode"):
        Systems(latencies=(100,)).check()
    with pytest.raises(WheatearError, match="is no engine"):
        Systems(others=("whisper",)).check()


def test_evaluation_writes_records_summary_and_report(speech, tmp_path):
    clips = read_corpus(speech).clips[:1]
    plan = EvaluationPlan(("whole",), ("given",))
    labels = []
    summary = evaluate(
        clips, Systems(latencies=(560,)), plan, tmp_path / "out", title="A title",
        progress=lambda label, done, total: labels.append(label),
    )  # fmt: skip
    assert [row["latency_ms"] for row in summary["rows"]] == [560]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.html", "report.md", "summary.json", "utterances.jsonl",
    }  # fmt: skip
    assert labels[0].startswith("wheatear-small int8: whole 560 ms, language given: 1 recordings")
