"""The commands that measure phrases and the ends of turns, on a clip or two."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from wheatear.audio import sample_speech
from wheatear.train import boosting, endings, novelty


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


def test_phrases(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boosting.main([str(manifest), "--latencies", "320", "--weights", "0,1", "--count", "5"])
    none, usual = rows(capsys)
    assert none["listed"] == usual["listed"] == 5  # unable, locate, person, calling; nothing
    assert none["own_wer"] == none["plain_wer"] == usual["plain_wer"]
    assert none["own_recall"] == none["plain_recall"]


def test_endings(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endings.main([str(manifest), "--latencies", "320"])
    found = rows(capsys)
    assert [row["voice"] for row in found] == ["words", "energy", "silero"] * 2
    assert all(0 < row["delay_ms"] < 2000 for row in found)  # type: ignore[operator]


def test_words_trained_on_and_others(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    held, clips = tmp_path / "held.jsonl", tmp_path / "trained.jsonl"
    held.write_text("\n".join(json.dumps({**line, "source": "asterisk"}) for line in lines))
    clips.write_text(json.dumps({"text": "Unable to locate the 7 persons", "lang": "en-US"}))
    novelty.main([str(held), str(clips)])
    row = capsys.readouterr().out.splitlines()[2].split(" | ")
    assert row[0] == "| human en-US, speaker known"
    assert (row[1], row[3]) == ("4", "12")
    assert novelty.missed(["a", "b", "c", "d"], ["a", "c", "x"]) == {1, 3}
