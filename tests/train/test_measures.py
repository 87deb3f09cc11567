"""The commands that measure phrases and the ends of turns, on a clip or two."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from wheatear.audio import sample_speech
from wheatear.train import boosting, endings


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
