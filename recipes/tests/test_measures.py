"""Measurements of phrases, ends of turns and seen words, on one or two clips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from recipes.wheatear_small import boosting, endpointing, seen_words, test_set
from wheatear.audio.reader import sample_speech
from wheatear.cli import main as wheatear_command
from wheatear.evaluate.records import Condition, Record


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", sample_speech(), 16_000)
    soundfile.write(tmp_path / "b.wav", sample_speech()[:24_000], 16_000)
    texts = "I'm sorry, but I was unable to locate the person you are calling", "Nothing like it"
    lines = [
        {"audio_filepath": f"{name}.wav", "text": text, "lang": "en-US"}
        for name, text in zip("ab", texts, strict=True)
    ]
    path = tmp_path / "clips.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_phrases_of_weight_zero_change_nothing(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boosting.main([str(manifest), "--latencies", "320", "--weights", "0,1", "--count", "5"])
    none, usual = rows(capsys)
    assert none["listed"] == usual["listed"] == 5  # unable, locate, person, calling; nothing
    assert none["own_wer"] == none["plain_wer"] == usual["plain_wer"]
    assert none["own_recall"] == none["plain_recall"]


def test_turns_end_within_two_seconds(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endpointing.main([str(manifest), "--latencies", "320"])
    found = rows(capsys)
    assert [row["voice"] for row in found] == ["words", "energy", "silero"] * 2
    assert all(0 < row["delay_ms"] < 2000 for row in found)  # type: ignore[operator]


def test_errors_are_split_by_words_in_training(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    speakers = [{**line, "speaker": name} for line, name in zip(lines, ("ann", "bob"), strict=True)]
    manifest.write_text("\n".join(map(json.dumps, speakers)))
    clips, test_manifest, out = tmp_path / "trained.jsonl", tmp_path / "all.jsonl", tmp_path / "out"
    trained = {**speakers[0], "text": "Unable to locate the 7 persons"}
    clips.write_text(json.dumps(trained))
    sources = [str(manifest), "--trained", str(clips), "--synthetic", str(manifest)]
    test_set.main([*sources, "--out", str(test_manifest)])
    sets = [json.loads(line)["set"] for line in test_manifest.read_text().splitlines()]
    assert sets == [test_set.KNOWN, test_set.UNKNOWN, test_set.SYNTHETIC, test_set.SYNTHETIC]
    options = ["--by", "set", "--prompt", "given", "--mode", "whole", "--latency", "1120"]
    with pytest.raises(SystemExit) as ended:
        wheatear_command(["evaluate", str(test_manifest), "--output", str(out), *options])
    assert ended.value.code == 0
    capsys.readouterr()
    seen_words.main([str(out), str(clips)])
    found = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in found] == [f"en-US, {name}" for name in sets[:3]]
    assert [(row[1], row[3]) for row in found] == [("4", "9"), ("0", "3"), ("4", "12")]


def test_numbers_are_compared_as_words() -> None:
    assert test_set.comparison_words("Press 25, it's Été", "en-US") == [
        "press",
        "twenty",
        "five",
        "it's",
        "été",
    ]
    assert test_set.comparison_words("Pulse 7, años", "es-419") == ["pulse", "siete", "anos"]
    record = Record(
        Condition("m", "", "whole", 80, "given"), "a", "en-US", "", None, 1.0, "a b c d", "a c x"
    )
    assert seen_words.count_missed([record], frozenset("ab")) == {
        "known": 2, "known missed": 1, "new": 2, "new missed": 1,
    }  # fmt: skip
