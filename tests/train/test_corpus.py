"""What may be written to a corpus, and how prompts are spelled."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from wheatear.train import corpus, sentences, texts

SENTENCES = [
    texts.sentence(locale, random.Random(i)) for locale in texts.LOCALES for i in range(99)
]


def bucket(text: str) -> int:
    return int(hashlib.sha256(text.strip().lower().encode()).hexdigest(), 16) % 5


def owned_by_evaluation() -> str:
    return next(s for s in SENTENCES if bucket(s) in (0, 1))


def test_allowed_is_the_rule_of_the_data() -> None:
    assert {bucket(s) for s in SENTENCES} == set(range(5))
    for sentence in SENTENCES:
        assert sentences.allowed(sentence) == (bucket(sentence) >= 2)
        assert sentences.allowed(f"  {sentence.upper()} ") == sentences.allowed(sentence)


def test_a_part_refuses_what_evaluation_owns(tmp_path: Path) -> None:
    part = corpus.Part(tmp_path, "x")
    with pytest.raises(ValueError, match="evaluation owns"):
        part.add(np.zeros(1600, np.float32), owned_by_evaluation(), "en-US")
    part.close()
    assert (tmp_path / "x.jsonl").read_text() == ""


def test_written_forms_are_allowed_as_well() -> None:
    for sentence in SENTENCES:
        text = sentences.training_text(sentence, "en-US")
        if bucket(sentence) in (0, 1):
            assert text is None
        else:
            assert text is None or bucket(text) >= 2


def test_the_words_of_an_excluded_prompt_are_not_trained_on() -> None:
    free = next(s for s in SENTENCES if bucket(s) >= 2)
    assert sentences.training_text(free, "en-US", frozenset({sentences.words(free)})) is None


@pytest.mark.parametrize(
    ("prompt", "locale", "expected"),
    [
        ("press 1 to call this number", "en-US", "Press one to call this number."),
        ("...to leave the conference.", "en-US", "To leave the conference."),
        ("Your call is now first...", "en-US", "Your call is now first."),
        ("Marque 5 para dejar mensaje", "es-US", "Marque cinco para dejar mensaje."),
        ("Contrasena incorrecta. Por favor", "es-US", "Contraseña incorrecta. Por favor."),
        ("E' in uso.", "it-IT", "È in uso."),
        ("La conferenza ? piena.", "it-IT", None),
        ("3D audio enabled", "en-US", None),
        ("followed by # or just #", "en-US", None),
    ],
)
def test_spoken_form(prompt: str, locale: str, expected: str | None) -> None:
    assert sentences.spoken(prompt, locale) == expected


def test_sentences_hold_no_digits_and_no_open_slots() -> None:
    for sentence in SENTENCES:
        assert not any(c.isdigit() or c in "{}" for c in sentence)
        assert sentence[-1] in ".?!"


def test_human_part_is_written_and_guarded(tmp_path: Path) -> None:
    lines = []
    for i, text in enumerate(s for s in SENTENCES[:40]):
        name = f"{i}.flac"
        sf.write(tmp_path / name, np.full(80_000, 0.1), 16_000)
        about = {"audio_filepath": name, "duration": 5.0, "text": text, "lang": "en-US"}
        lines.append({**about, "speaker": "a", "source": "b", "licence": "c"})
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    corpus.main(["human", "--out", str(tmp_path / "out"), "--clips", str(manifest)])
    written = corpus.read_manifest(tmp_path / "out" / "human.jsonl")
    assert 0 < len(written) < 40
    assert all(bucket(line["text"]) >= 2 for line in written)
    samples = np.fromfile(tmp_path / "out" / "human.pcm", "<i2")
    assert len(samples) == 80_000 * len(written)
