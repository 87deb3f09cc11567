"""Corpus building: reserved sentences, licenses, resuming, spelling."""

from __future__ import annotations

import hashlib
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.wheatear_small import corpus, synthesizers, templates, text_filter
from recipes.wheatear_small.corpus_parts import (
    CorpusPart,
    Sources,
    clips_of_part,
    read_corpus_parts,
)
from recipes.wheatear_small.licenses import unlisted_license
from wheatear.errors import CorpusError

SENTENCES = [
    templates.random_sentence(locale, random.Random(i))
    for locale in templates.LOCALES
    for i in range(99)
]


def bucket(text: str) -> int:
    return int(hashlib.sha256(text.strip().lower().encode()).hexdigest(), 16) % 5


def reserved_sentence() -> str:
    return next(s for s in SENTENCES if bucket(s) in (0, 1))


def test_two_of_five_buckets_are_reserved() -> None:
    assert {bucket(s) for s in SENTENCES} == set(range(5))
    for sentence in SENTENCES:
        assert text_filter.may_train_on(sentence) == (bucket(sentence) >= 2)
        assert text_filter.may_train_on(f"  {sentence.lower()} ") == text_filter.may_train_on(
            sentence
        )


def test_reserved_sentence_is_refused(tmp_path: Path) -> None:
    part = corpus.PartWriter(tmp_path, "x")
    with pytest.raises(CorpusError, match="reserved for evaluation"):
        part.add(np.zeros(1600, np.float32), reserved_sentence(), "en-US")
    part.close()
    assert (tmp_path / "x.jsonl").read_text() == ""


def test_normal_forms_are_not_reserved() -> None:
    for sentence in SENTENCES:
        text = text_filter.training_text(sentence, "en-US")
        if bucket(sentence) in (0, 1):
            assert text is None
        else:
            assert text is None or bucket(text) >= 2


def test_excluded_sentence_is_not_trained_on() -> None:
    free = next(s for s in SENTENCES if bucket(s) >= 2)
    assert (
        text_filter.training_text(free, "en-US", frozenset({text_filter.bare_words(free)})) is None
    )


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
    assert text_filter.spoken_form(prompt, locale) == expected


def test_random_sentences_have_no_digits_and_no_open_slots() -> None:
    for sentence in SENTENCES:
        assert not any(c.isdigit() or c in "{}" for c in sentence)
        assert sentence[-1] in ".?!"


def recordings(folder: Path, license: str = "CC-BY-3.0") -> tuple[Path, Path]:
    """Manifests of forty recordings, and of one that evaluation has as well."""
    lines = []
    for i, text in enumerate(SENTENCES[:40]):
        name = f"{i}.flac"
        sf.write(folder / name, np.full(80_000, 0.1), 16_000)
        about = {"audio_filepath": name, "duration": 5.0, "text": text, "lang": "en-US"}
        lines.append({**about, "speaker": "a", "source": "b", "license": license})
    manifest, kept = folder / "manifest.jsonl", folder / "kept.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    kept.write_text(json.dumps(next(line for line in lines if bucket(line["text"]) >= 2)))
    return manifest, kept


def build(folder: Path, options: str = "", license: str = "CC-BY-3.0") -> Path:
    """A corpus with one part of recordings."""
    manifest, kept = recordings(folder, license)
    recipe = folder / "recipe.toml"
    recipe.write_text(f"[people]\nrecordings = true\n{options}")
    out = folder / "out"
    where = ["--out", str(out), "--clips", str(manifest), "--exclude", str(kept)]
    corpus.main(["build", str(recipe), *where, "--workers", "1"])
    return out


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_built_manifest_has_no_reserved_sentence(tmp_path: Path) -> None:
    out = build(tmp_path)
    kept = json.loads((tmp_path / "kept.jsonl").read_text())["text"]
    written = read(out / "people.jsonl")
    assert 0 < len(written) < 40
    assert all(bucket(line["text"]) >= 2 for line in written)
    assert text_filter.bare_words(kept) not in {
        text_filter.bare_words(line["text"]) for line in written
    }
    assert len(np.fromfile(out / "people.pcm", "<i2")) == 80_000 * len(written)
    corpus.main(["check", str(out), "--exclude", str(tmp_path / "kept.jsonl")])


def test_check_names_all_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = build(tmp_path)
    lines = read(out / "people.jsonl")
    lines[0]["text"] = reserved_sentence()
    lines[1]["license"] = "GPL-2.0"
    lines[2]["duration"] = 1e6  # type: ignore[assignment]
    (out / "people.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(CorpusError, match="3 problems") as caught:
        corpus.main(["check", str(out), "--exclude", str(tmp_path / "kept.jsonl")])
    for number, part in enumerate(("reserved for evaluation", "GPL-2.0", "ends at sample"), 1):
        assert re.search(rf"people.jsonl line {number}: .*{part}", str(caught.value))
    assert "| all |" in capsys.readouterr().out


def test_license_that_is_not_on_the_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"license 'CC-BY-NC-4.0' .* not on the list"):
        build(tmp_path, license="CC-BY-NC-4.0")


@pytest.mark.parametrize(
    "license", ["", "GPL-2.0", "CC0-1.0 (voice), MIT (weights)", "CC-BY-3.0; text Apache-2.0"]
)
def test_other_licenses_are_refused(license: str) -> None:
    assert unlisted_license(license) is not None  # the license of a voice is none of a recording


@given(cut=st.integers(0, 10**7), line_cut=st.integers(0, 10**5))
@settings(max_examples=20, deadline=None)
def test_part_is_resumed_after_a_kill_at_any_byte(
    tmp_path_factory: pytest.TempPathFactory, cut: int, line_cut: int
) -> None:
    folder = tmp_path_factory.mktemp("corpus")
    out = build(folder)
    files = {name: (out / name).read_bytes() for name in ("people.pcm", "people.jsonl")}
    (out / "people.done.json").rename(out / "people.begun.json")
    record = json.loads((out / "people.begun.json").read_text())
    (out / "people.begun.json").write_text(json.dumps(record))
    (out / "people.pcm").write_bytes(files["people.pcm"][:cut])
    (out / "people.jsonl").write_bytes(files["people.jsonl"][:line_cut])
    build(folder)
    assert sorted(read(out / "people.jsonl"), key=by_number) == sorted(
        (json.loads(line) for line in files["people.jsonl"].splitlines()), key=by_number
    )
    assert (out / "people.pcm").read_bytes() == files["people.pcm"]


def by_number(line: dict[str, int]) -> int:
    return line["number"]


def test_complete_part_is_kept_and_other_options_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = build(tmp_path)
    before = (out / "people.jsonl").stat().st_mtime_ns
    build(tmp_path)
    assert (out / "people.jsonl").stat().st_mtime_ns == before
    assert "was complete already" in capsys.readouterr().out
    with pytest.raises(CorpusError, match=r"begun with other options \(seed was 0, is 7\)"):
        build(tmp_path, "seed = 7")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("digit = 4", "unknown option 'digit'"),
        ('locales = ["xx-XX"]', "has the locale 'xx-XX'"),
        ("given = 4", "give their folder with --text"),
        ("a = ", "cannot be read as a corpus file"),
    ],
)
def test_wrong_corpus_file_is_refused(tmp_path: Path, options: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        build(tmp_path, options)


def test_corpus_file_gives_the_same_clips_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cast = [synthesizers.Voice("espeak", name, "none", 1.0) for name in ("a", "b", "c")]
    monkeypatch.setattr(synthesizers, "available", lambda locale, engines: cast)
    part = CorpusPart("x", digits=5, domain=9, seed=3)
    first, second = clips_of_part(part, Sources()), clips_of_part(part, Sources())
    assert first == second
    assert all(bucket(clip.text) >= 2 for clip in first)
    assert {clip.locale for clip in first} == set(templates.LOCALES)


def test_corpus_file_of_the_shipped_model_is_valid() -> None:
    parts = read_corpus_parts(
        Path(__file__).parents[2] / "recipes" / "wheatear_small" / "corpus.toml"
    )
    assert [part.name for part in parts][:2] == ["human", "digits"]
    assert [part.name for part in parts if part.unseen_voices] == ["test"]
