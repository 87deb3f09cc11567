"""Training runs of a few seconds: a corpus of tones, a small network, a plan."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.train.data.batches import BatchConfig
from wheatear.train.run.config import Stage, TrainConfig
from wheatear.train.run.loop import training_batches
from wheatear.train.run.trainer import Trainer
from wheatear.train.run.training_data import load_training_data

ORACLE = Path(__file__).parents[1] / "oracle"
DIGITS = {
    "en-US": "zero one two three four five six seven eight nine",
    "es-US": "cero uno dos tres cuatro cinco seis siete ocho nueve",
    "fr-CA": "zéro un deux trois quatre cinq six sept huit neuf",
}
LOCALES = tuple(DIGITS)
SIZES = {
    "d_model": 32, "layers": 1, "heads": 2, "subsampling_channels": 8, "predictor_hidden": 16,
    "joint_hidden": 16, "mel_shift": 8.0, "mel_scale": 0.25, "dropout": 0.1,
}  # fmt: skip
STAGE = Stage(1.0, BatchConfig(parts={"a": 1}, batch_seconds=20, augment=0.3, silence=0.1), (0, 13))
PLAN = TrainConfig(
    "tiny", seed=1, pieces=70, steps=12, rate=2e-3, warmup=5, hold=0.5, ctc=0.3, token_dropout=0.1,
    frame_until=0.5, checks=0, license="CC0-1.0", notice="Made of tones.", network=SIZES,
    stages=(STAGE,),
)  # fmt: skip
FINETUNING_PLAN = TrainConfig(
    "tuned", rate=1e-3, steps=3, warmup=1, ctc=0.0, checks=0, start=str(ORACLE / "tiny-multi.nemo"),
    stages=(STAGE,),
)  # fmt: skip


def write_corpus(folder: Path) -> None:
    """Writes part "a" of a corpus: rows of digits in three locales, a tone for each word."""
    folder.mkdir()
    rng, clips, lines, offset = random.Random(0), [], [], 0
    pitch: dict[str, int] = {}
    time = np.arange(SAMPLE_RATE // 3) / SAMPLE_RATE
    for i in range(40):
        locale = LOCALES[i % 3]
        words = rng.choices(DIGITS[locale].split(), k=rng.randint(2, 6))
        tones = [pitch.setdefault(word, 200 + 41 * len(pitch)) for word in words]
        clip = np.concatenate([0.3 * np.sin(2 * np.pi * hertz * time) for hertz in tones])
        text = " ".join(words).capitalize() + "."
        place = {"offset": offset / SAMPLE_RATE, "duration": len(clip) / SAMPLE_RATE}
        lines.append({"audio_filepath": "a.pcm", "text": text, "lang": locale, **place})
        clips.append(clip)
        offset += len(clip)
    (np.concatenate(clips) * 32767).astype("<i2").tofile(folder / "a.pcm")
    (folder / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_trainer(plan: TrainConfig, work: Path) -> Trainer:
    """Makes a trainer; a warning fails the test, except a note on the nearest locale."""

    def warn(line: str) -> None:
        if not line.startswith("language "):
            pytest.fail(line)

    return Trainer(plan, load_training_data(plan, work, warn), work)


def run_steps(trainer: Trainer, steps: int) -> list[float]:
    """Takes steps without the loop around them; returns the transducer's losses."""
    trainer.network.train()
    batches = training_batches(trainer)
    count = trainer.plan.accumulate
    return [trainer.update([next(batches) for _ in range(count)])["rnnt"] for _ in range(steps)]


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Copies the weights of a network."""
    return {name: p.detach().clone() for name, p in trainer.network.named_parameters()}


def export_checkpoint_of(work: Path, layers: int) -> Path:
    """Exports an untrained checkpoint as WORK/base.safetensors."""
    sizes = SIZES | {"layers": layers}
    plan = TrainConfig(
        "base", rate=1e-3, steps=1, pieces=70, checks=0, network=sizes, stages=(STAGE,)
    )
    path = make_trainer(plan, work).export()
    (work / "tokenizer.model").unlink()
    return path
