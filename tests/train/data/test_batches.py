"""Batches are functions of their seed, and labels and tokens fit the audio."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recipes.wheatear_small import templates as texts
from wheatear.train.data.batches import IGNORE, Data, Recipe
from wheatear.train.data.manifest import read_manifest
from wheatear.train.data.mel import FRAME
from wheatear.train.data.prompts import fresh
from wheatear.train.data.tokenizer import Tokenizer

RECIPE = Recipe(parts={"a": 1.5}, augment=0.5, joined=0.5, silence=0.1, batch_seconds=20)


@pytest.fixture
def data(made_up_corpus: Path) -> Data:
    part = read_manifest(made_up_corpus / "a.jsonl")
    tokenizer = Tokenizer.train([u.text for u in part], list(texts.LOCALES), 70)
    return Data({"a": part}, tokenizer, fresh(list(texts.LOCALES), 128))


def test_tokens_end_with_the_tag_and_come_back(data: Data) -> None:
    ids = data.tokenizer.encode("Uno dos tres.", "es-US")
    assert data.tokenizer.decode(ids) == ("Uno dos tres.", ["<es-US>"])
    assert [p for p, _ in data.tokenizer.pieces()][:4] == ["<unk>", "<en-US>", "<es-US>", "<fr-CA>"]


def test_equal_seeds_give_equal_batches(data: Data) -> None:
    first, second = (next(data.stream(RECIPE, 5, skip=3)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    stream = data.stream(RECIPE, 5)
    fourth = [next(stream) for _ in range(4)][3]
    assert torch.equal(first.mel, fourth.mel)  # skipping is the same as having seen
    assert not torch.equal(first.mel[0], next(data.stream(RECIPE, 6)).mel[0][:1])


def test_an_epoch_holds_every_sentence_and_stays_within_its_budget(data: Data) -> None:
    plan = data.plan(RECIPE, 0, 0)
    clips = [clip for batch in plan for clip in batch]
    assert {u for clip in clips for u in clip} == set(data.parts["a"])
    assert any(len(clip) > 1 for clip in clips)
    assert sum(clip == () for clip in clips) == 6
    assert all(len({u.locale for u in clip}) <= 1 for clip in clips)


def test_labels_follow_the_tokens_and_pauses_are_blank(data: Data) -> None:
    plain = Recipe(parts={"a": 1})
    clips = data.plan(plain, 0, 0)[0]
    batch = data.batch(clips, plain, 0)
    blank = data.tokenizer.size
    for row, (labels, size) in enumerate(zip(batch.labels, batch.target_lengths, strict=True)):
        frames = labels[labels != IGNORE]
        assert len(frames) == int(batch.mel_lengths[row]) * 160 // FRAME + 1
        assert frames[0] == blank  # a pause comes first
        said = torch.unique_consecutive(frames[frames != blank]).tolist()
        # In order, though a short token may fall between two frames.
        targets = iter(batch.targets[row, :size].tolist())
        assert all(token in targets for token in said)


def test_silence_has_no_words(data: Data) -> None:
    batch = data.batch([(), ()], RECIPE, 0)
    assert batch.target_lengths.tolist() == [0, 0]
    assert batch.prompts.tolist() == [101, 101]
    assert set(batch.labels.unique().tolist()) <= {data.tokenizer.size, IGNORE}
