"""Batches: seeds, contents of an epoch, labels, silence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_runs import LOCALES

from wheatear.train.data.batches import IGNORE, BatchBuilder, BatchConfig
from wheatear.train.data.manifest import read_manifest
from wheatear.train.data.mel import FRAME
from wheatear.train.data.prompts import new_prompts
from wheatear.train.data.tokenizer import Tokenizer

CONFIG = BatchConfig(parts={"a": 1.5}, augment=0.5, joined=0.5, silence=0.1, batch_seconds=20)


@pytest.fixture
def builder(work: Path) -> BatchBuilder:
    part = read_manifest(work / "corpus" / "a.jsonl")
    tokenizer = Tokenizer.train([u.text for u in part], LOCALES, 70)
    return BatchBuilder({"a": part}, tokenizer, new_prompts(LOCALES, 128))


def test_encoded_sentence_ends_with_the_tag_of_its_locale(builder: BatchBuilder) -> None:
    ids = builder.tokenizer.encode("Uno dos tres.", "es-US")
    assert builder.tokenizer.decode(ids) == ("Uno dos tres.", ["<es-US>"])
    assert [p for p, _ in builder.tokenizer.pieces()][:4] == [
        "<unk>",
        "<en-US>",
        "<es-US>",
        "<fr-CA>",
    ]


def test_equal_seeds_give_equal_batches(builder: BatchBuilder) -> None:
    first, second = (next(builder.stream(CONFIG, 5, skip=3)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    stream = builder.stream(CONFIG, 5)
    fourth = [next(stream) for _ in range(4)][3]
    assert torch.equal(first.mel, fourth.mel)  # skipped batches are not made
    assert not torch.equal(first.mel[0], next(builder.stream(CONFIG, 6)).mel[0][:1])


def test_epoch_contains_each_sentence(builder: BatchBuilder) -> None:
    batches = builder.epoch_batches(CONFIG, 0, 0)
    clips = [clip for batch in batches for clip in batch]
    assert {u for clip in clips for u in clip} == set(builder.parts["a"])
    assert any(len(clip) > 1 for clip in clips)
    assert sum(clip == () for clip in clips) == 6
    assert all(len({u.locale for u in clip}) <= 1 for clip in clips)


def test_labels_follow_the_tokens_and_pauses_are_blank(builder: BatchBuilder) -> None:
    plain = BatchConfig(parts={"a": 1})
    clips = builder.epoch_batches(plain, 0, 0)[0]
    batch = builder.batch(clips, plain, 0)
    blank = builder.tokenizer.size
    for row, (labels, size) in enumerate(zip(batch.labels, batch.target_lengths, strict=True)):
        frames = labels[labels != IGNORE]
        assert len(frames) == int(batch.mel_lengths[row]) * 160 // FRAME + 1
        assert frames[0] == blank  # a pause comes first
        labeled = torch.unique_consecutive(frames[frames != blank]).tolist()
        # In order, though a short token may fall between two frames.
        targets = iter(batch.targets[row, :size].tolist())
        assert all(token in targets for token in labeled)


def test_clip_of_silence_has_no_tokens(builder: BatchBuilder) -> None:
    batch = builder.batch([(), ()], CONFIG, 0)
    assert batch.target_lengths.tolist() == [0, 0]
    assert batch.prompts.tolist() == [101, 101]
    assert set(batch.labels.unique().tolist()) <= {builder.tokenizer.size, IGNORE}
