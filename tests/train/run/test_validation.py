"""Validation: which sentences are held out, and the rows of error rates."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_runs import LOCALES, PLAN, make_trainer

from wheatear.train.data.manifest import Utterance
from wheatear.train.run.validation import choose_clips, mean_wer, split_validation, validate


def utterances(count: int, locale: str = "en-US") -> list[Utterance]:
    """Each sentence twice, with capitals and without."""
    texts = [f"Sentence {n // 2}." if n % 2 else f"sentence {n // 2}." for n in range(2 * count)]
    return [Utterance(Path("a.pcm"), n, 1, text, locale) for n, text in enumerate(texts)]


@pytest.mark.parametrize(("sentences", "held_out"), [(4, 0), (10, 2), (100, 8), (400, 20)])
def test_sentences_are_held_out_in_all_spellings(sentences: int, held_out: int) -> None:
    every = utterances(sentences)
    training, kept = split_validation(every)
    assert len(kept) == 2 * held_out
    assert sorted(u.start for u in training + kept) == [u.start for u in every]
    assert not {u.text.lower() for u in training} & {u.text.lower() for u in kept}


def test_chosen_clips_do_not_depend_on_the_order() -> None:
    every = utterances(9) + utterances(9, "nl-NL")
    chosen = choose_clips(every, 3)
    assert [u.locale for u in chosen] == ["en-US"] * 3 + ["nl-NL"] * 3
    assert choose_clips(reversed(every), 3) == chosen


def test_a_row_is_measured_for_each_locale_and_latency(work: Path) -> None:
    trainer = make_trainer(PLAN, work)
    data = trainer.data
    clips = choose_clips(data.parts["a"], 2)
    trainer.network.train()
    with torch.no_grad():
        rows = validate(trainer.network, data.tokenizer, data.prompts, clips, (80, 1120))
    assert trainer.network.training
    assert [(row["locale"], row["latency_ms"]) for row in rows] == [
        (locale, ms) for locale in LOCALES for ms in (80, 1120)
    ]
    assert all(row["clips"] == 2 and row["words"] > 0 for row in rows)
    assert mean_wer(rows) == pytest.approx(sum(row["wer"] for row in rows) / 6)
