"""A corpus of one part, "a", small enough to train on in a test."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from recipes.wheatear_small import templates as texts
from wheatear.train.data.mel import SAMPLE_RATE


@pytest.fixture
def made_up_corpus(tmp_path: Path) -> Path:
    """Folder with digits "spoken" by tones, one pitch a word."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    rng, clips, lines, offset = random.Random(0), [], [], 0
    pitch: dict[str, int] = {}
    time = np.arange(SAMPLE_RATE // 3) / SAMPLE_RATE
    for i in range(40):
        locale = texts.LOCALES[i % 3]
        text = texts.digits(locale, rng)
        said = [pitch.setdefault(word, 200 + 41 * len(pitch)) for word in text.lower().split()]
        clip = np.concatenate([0.3 * np.sin(2 * np.pi * hertz * time) for hertz in said])
        about = {"offset": offset / SAMPLE_RATE, "duration": len(clip) / SAMPLE_RATE}
        lines.append({"audio_filepath": "a.pcm", "text": text, "lang": locale, **about})
        clips.append(clip)
        offset += len(clip)
    (np.concatenate(clips) * 32767).astype("<i2").tofile(folder / "a.pcm")
    (folder / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
