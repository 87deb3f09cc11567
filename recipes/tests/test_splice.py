"""Alignment of words, and sentences spliced from recordings."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.wheatear_small import align, corpus
from recipes.wheatear_small.recordings import AlignedRecording, Run, read_aligned
from recipes.wheatear_small.splice import Splicer
from recipes.wheatear_small.text_filter import bare_words, may_train_on
from wheatear.audio.mel import SAMPLE_RATE
from wheatear.errors import CorpusError


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 99))
def test_best_path_has_the_highest_score_of_all(frames: int, tokens: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    blanks = rng.standard_normal((frames, tokens + 1))
    emits = rng.standard_normal((frames, tokens))

    def worth(path: tuple[int, ...]) -> float:
        score = sum(emits[frame, u] for u, frame in enumerate(path))
        return score + sum(blanks[t, sum(f <= t for f in path)] for t in range(frames - 1))

    paths = itertools.combinations_with_replacement(range(frames), tokens)
    best = max(map(worth, paths))
    found = tuple(align.best_path(blanks, emits))
    assert list(found) == sorted(found)
    assert worth(found) == pytest.approx(best)


def speech(*bursts: float) -> np.ndarray:
    """Makes bursts of noise of given seconds, with 60 ms of silence between them."""
    rng = np.random.default_rng(0)
    parts = [0.3 * rng.standard_normal(round(s * SAMPLE_RATE)) for s in bursts]
    pause = np.zeros(round(0.06 * SAMPLE_RATE))
    joined = [part for burst in parts for part in (burst, pause)]
    return np.concatenate(joined[:-1]).astype(np.float32)


def test_words_are_cut_only_where_it_is_quiet() -> None:
    samples = speech(0.5, 0.8)
    found = align.cut_into_runs(samples, ["one", "two", "three"], [0.0, 0.55, 0.9])
    assert [run.words for run in found] == [("one",), ("two", "three")]
    assert 0.5 <= found[0].end <= 0.56
    assert found[0].start == 0
    assert found[1].end == pytest.approx(len(samples) / SAMPLE_RATE)


def test_run_too_short_for_its_letters_is_joined_with_the_next() -> None:
    found = align.cut_into_runs(
        speech(0.5, 0.07, 0.5), ["one", "impossible", "two"], [0.0, 0.57, 0.7]
    )
    assert [run.words for run in found] == [("one",), ("impossible", "two")]


TEXTS = [
    ("Please", "enter", "your", "number."), ("Goodbye", "John."), ("I", "heard", "John."),
    ("Press", "one,", "then", "hold."), ("Two", "messages."), ("The", "number", "is", "new."),
]  # fmt: skip


def recorded(folder: Path) -> list[AlignedRecording]:
    found = []
    for number, text in enumerate(TEXTS):
        sf.write(folder / f"{number}.wav", speech(*[0.3] * len(text)), SAMPLE_RATE)
        runs = tuple(Run((w,), 0.36 * i, 0.36 * i + 0.3) for i, w in enumerate(text))
        found.append(AlignedRecording(f"{number}.wav", "en-US", "someone", "CC-BY-3.0", runs))
    return found


def test_spliced_sentences_are_allowed_and_match_their_audio(tmp_path: Path) -> None:
    known = [w.strip(".,").lower() for text in TEXTS for w in text]
    splicer = Splicer(recorded(tmp_path), tmp_path)
    taken = bare_words("the number is new")
    found = list(splicer.sentences(60, frozenset({taken}), random.Random(0)))
    assert len(found) == 60
    assert len({text for text, _, _ in found}) > 40
    for text, splice, license in found:
        assert may_train_on(text)
        assert bare_words(text) != taken
        assert set(bare_words(text).split()) <= set(known)
        assert (text[0].isupper() and "John" in text) or "john" not in text.lower()
        assert not any(word.endswith(",") for word in text.split()[-1:])
        seconds = sum(s.end - s.start + s.pause for s in splice.stretches)
        assert len(splice.read()) == pytest.approx(seconds * SAMPLE_RATE, abs=16)
        assert license == "CC-BY-3.0"


def test_spliced_part_is_built_checked_and_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps(asdict(line)) for line in recorded(tmp_path)]
    aligned, recipe = tmp_path / "aligned.jsonl", tmp_path / "recipe.toml"
    aligned.write_text("\n".join(lines))
    assert read_aligned(aligned) == {"en-US": recorded(tmp_path)}
    recipe.write_text("[splice]\nspliced = 20\n")
    clips = tmp_path / "clips.jsonl"
    clips.write_text("")
    command = ["build", str(recipe), "--out", str(tmp_path / "out"), "--clips", str(clips)]
    with pytest.raises(CorpusError, match="--aligned"):
        corpus.main(command)
    for expected in ("splice: 20 clips", "splice: was complete already"):
        corpus.main([*command, "--aligned", str(aligned)])
        assert expected in capsys.readouterr().out
    corpus.main(["check", str(tmp_path / "out"), "--exclude", str(clips)])
    aligned.write_text("\n".join(lines[1:]))
    with pytest.raises(CorpusError, match="other options"):
        corpus.main([*command, "--aligned", str(aligned)])
