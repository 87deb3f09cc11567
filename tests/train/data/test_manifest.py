"""Manifests for training: audio formats, bad lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from wheatear.errors import ManifestError
from wheatear.train.data.manifest import read_manifest

GOOD = {"audio_filepath": "a.wav", "duration": 1.5, "offset": 0.25, "text": " Yes. ", "lang": "en"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    time = np.arange(2 * 44_100) / 44_100
    tone = np.sin(2 * np.pi * 440 * time) * np.linspace(0, 1, len(time))
    sf.write(tmp_path / "a.wav", np.stack([tone, tone], 1) * 0.5, 44_100)
    (tmp_path / "b.pcm").write_bytes(np.arange(16_000, dtype="<i2").tobytes())
    (tmp_path / "text.wav").write_text("no audio")
    return tmp_path


def write(folder: Path, *lines: Any) -> Path:
    path = folder / "m.jsonl"
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(raw))
    return path


def test_audio_is_read_at_16_khz_mono(folder: Path) -> None:
    (utterance,) = read_manifest(write(folder, GOOD))
    assert (utterance.text, utterance.locale, utterance.size) == ("Yes.", "en", 24_000)
    samples = utterance.read()
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(24_000, abs=2)
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum.argmax() * 16_000 / len(samples) == pytest.approx(440, abs=2)
    assert np.abs(samples[:1600]).max() < 0.1 < np.abs(samples[-1600:]).max()  # from its offset


def test_pcm_without_duration_is_read_to_its_end(folder: Path) -> None:
    (u,) = read_manifest(
        write(folder, {"audio_filepath": "b.pcm", "offset": 0.5, "text": "x"}), locale="nl-NL"
    )
    assert u.locale == "nl-NL"
    np.testing.assert_allclose(u.read(), np.arange(8000, 16_000) / 32768, atol=1e-7)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[1]", "it is list"),
        (GOOD | {"text": ""}, "its 'text' is ''"),
        (GOOD | {"text": None}, "its 'text' is None"),
        ({k: v for k, v in GOOD.items() if k != "audio_filepath"}, "it has no 'audio_filepath'"),
        ({k: v for k, v in GOOD.items() if k != "lang"}, "it names no locale"),
        (GOOD | {"audio_filepath": "gone.wav"}, "its audio .*gone.wav is not there"),
        (GOOD | {"audio_filepath": "text.wav"}, "its audio .*text.wav cannot be read"),
        (GOOD | {"duration": "1.5"}, "its 'duration' is '1.5'"),
        (GOOD | {"duration": True}, "its 'duration' is True"),
        (GOOD | {"duration": float("nan")}, "its 'duration' is nan"),
        (GOOD | {"duration": 0}, "its duration is 0 s"),
        (GOOD | {"duration": 9}, "it ends at 9.25 s, but .* has 2 s"),
        (GOOD | {"offset": -1}, "its 'offset' is negative"),
        (GOOD | {"offset": 2.05, "duration": 0.04}, "it starts at 2.05 s, where .* has ended"),
    ],
)
def test_bad_line_is_refused_or_skipped(folder: Path, line: Any, message: str) -> None:
    path = write(folder, GOOD, line, b"", GOOD)
    with pytest.raises(ManifestError, match=rf"m\.jsonl, line 2: {message}"):
        read_manifest(path)
    said: list[str] = []
    assert len(read_manifest(path, "skip", warn=said.append)) == 2
    assert len(said) == 1
    assert said[0].startswith(f"skipped {path}, line 2: ")


def test_manifest_without_usable_line_is_refused(folder: Path) -> None:
    for path in (write(folder, b"{"), folder / "gone.jsonl", write(folder)):
        with pytest.raises(ManifestError, match=str(path)):
            read_manifest(path, "skip", warn=lambda _: None)


def test_message_names_five_of_many_bad_lines(folder: Path) -> None:
    with pytest.raises(ManifestError, match="and 15 more lines"):
        read_manifest(write(folder, *[b"{"] * 20))
