"""From manifests to batches: reading, tokens, clips of several sentences, augmentation.

The plan of an epoch and every batch in it are functions of (seed, epoch, index), so that
training resumes at any step by counting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wheatear.audio.samples import Samples
from wheatear.train.data import augment
from wheatear.train.data.augment import Generator
from wheatear.train.data.manifest import Utterance
from wheatear.train.data.mel import FRAME, SAMPLE_RATE, LogMel
from wheatear.train.data.prompts import AUTO
from wheatear.train.data.tokenizer import Tokenizer

IGNORE = -100  # label of frames without frame supervision, torch's default


class Batch(NamedTuple):
    """B clips, padded."""

    mel: Tensor
    """[B, M, bins] log-mel."""
    mel_lengths: Tensor
    """[B] valid mel frames."""
    targets: Tensor
    """[B, U] tokens."""
    target_lengths: Tensor
    """[B]."""
    labels: Tensor
    """[B, T] frame supervision: a token, the blank, or IGNORE."""
    prompts: Tensor
    """[B] slots of the language prompt."""
    seconds: float
    """Audio in the batch."""


@dataclass(frozen=True)
class Recipe:
    """How clips are made in one stage of training."""

    parts: dict[str, float]
    """How often an epoch goes through each part of the corpus."""
    max_seconds: float = 15.0
    """Longest clip; joined sentences stay below as well."""
    batch_seconds: float = 40.0
    """Audio in a batch, padding included."""
    augment: float = 0.0
    """Probability of each of the milder augmentations; the rarer ones scale with it."""
    joined: float = 0.0
    """Share of clips that hold two or three sentences."""
    silence: float = 0.0
    """Share of clips that hold none, only silence or noise."""


class Data:
    """The corpus in memory (texts and offsets; audio stays on disk)."""

    def __init__(
        self,
        parts: Mapping[str, Sequence[Utterance]],
        tokenizer: Tokenizer,
        prompts: Mapping[str, int],
        bins: int = 128,
    ) -> None:
        """prompts: slot of each locale; empty for a model without language prompt."""
        self.parts, self.tokenizer, self.prompts = parts, tokenizer, prompts
        self.mel = LogMel(bins)

    def plan(self, recipe: Recipe, seed: int, epoch: int) -> list[list[tuple[Utterance, ...]]]:
        """The batches of an epoch as clips, each a tuple of sentences (empty: silence)."""
        rng = np.random.default_rng((seed, epoch))
        limit = int(recipe.max_seconds * SAMPLE_RATE)
        pool: list[Utterance] = []
        for name, times in recipe.parts.items():
            part = [u for u in self.parts[name] if u.size <= limit]
            pool += part * int(times)
            extra = round(len(part) * (times % 1))
            pool += [part[i] for i in rng.permutation(len(part))[:extra]]
        pool = [pool[i] for i in rng.permutation(len(pool))]
        clips: list[tuple[Utterance, ...]] = [()] * round(recipe.silence * len(pool))
        by_locale: dict[str, list[Utterance]] = {}
        for utterance in pool:
            by_locale.setdefault(utterance.locale, []).append(utterance)
        for utterance in pool:
            clip = [utterance]
            if rng.random() < recipe.joined:
                others = by_locale[utterance.locale]
                for _ in range(int(rng.integers(1, 3))):
                    other = others[int(rng.integers(len(others)))]
                    if sum(u.size for u in clip) + other.size < 0.9 * limit:
                        clip.append(other)
            clips.append(tuple(clip))
        return _bucket(clips, int(recipe.batch_seconds * SAMPLE_RATE), rng)

    def batch(self, clips: list[tuple[Utterance, ...]], recipe: Recipe, seed: object) -> Batch:
        """One batch; equal arguments give equal tensors."""
        rng = np.random.default_rng(seed)  # type: ignore[arg-type]
        made = [self._clip(clip, recipe, rng) for clip in clips]
        lengths = torch.tensor([len(samples) for samples, _, _ in made])
        samples = torch.zeros(len(made), int(lengths.max()))
        for row, (clip, _, _) in zip(samples, made, strict=True):
            row[: len(clip)] = torch.from_numpy(clip)
        mel, mel_lengths = self.mel(samples, lengths)
        for i, valid in enumerate(mel_lengths.tolist()):
            if rng.random() < 2 * recipe.augment:
                mel[i, :valid] = augment.mask(mel[i, :valid], rng)
        size = max(1, *(len(ids) for _, ids, _ in made))
        targets = torch.zeros(len(made), size, dtype=torch.long)
        labels = torch.full((len(made), mel.shape[1] // 8 + 2), IGNORE)
        for i, (_, ids, frames) in enumerate(made):
            targets[i, : len(ids)] = torch.tensor(ids, dtype=torch.long)
            labels[i, : len(frames)] = torch.from_numpy(frames)
        # Drawn in any case, so that a model without prompts sees the same batches.
        auto = [not clip or rng.random() < 0.5 for clip in clips]
        prompts = [
            self.prompts.get(AUTO if a else clip[0].locale, 0)
            for clip, a in zip(clips, auto, strict=True)
        ]
        return Batch(
            mel, mel_lengths, targets, torch.tensor([len(ids) for _, ids, _ in made]), labels,
            torch.tensor(prompts), float(lengths.sum()) / SAMPLE_RATE,
        )  # fmt: skip

    def _clip(
        self, clip: tuple[Utterance, ...], recipe: Recipe, rng: Generator
    ) -> tuple[Samples, list[int], np.ndarray]:
        """Samples, tokens, and a label for each frame, of sentences with pauses around them."""
        strength = recipe.augment
        pieces = [_pause(rng, 0.05, 0.5)]
        ids: list[int] = []
        spans: list[tuple[int, int, list[int]]] = []  # first and last loud sample, tokens
        factor = rng.uniform(0.88, 1.14) if rng.random() < 1.4 * strength else 1.0
        for utterance in clip:
            spoken = utterance.read()
            if factor != 1.0:
                spoken = augment.speed(spoken, factor)
            tokens = self.tokenizer.encode(utterance.text, utterance.locale)
            first = sum(map(len, pieces))
            loud = np.flatnonzero(np.abs(spoken) >= 0.02 * np.abs(spoken).max())
            spans.append((first + int(loud[0]), first + int(loud[-1]), tokens))
            ids += tokens
            pieces += [spoken, _pause(rng, 0.1, 0.7)]
        if clip and rng.random() < 0.5:  # recordings often end with the last sound
            pieces.pop()
        if not clip:
            pieces.append(_pause(rng, 0.5, 4.0))
        samples = self._room(np.concatenate(pieces), bool(clip), strength, rng)
        return samples, ids, self._labels(len(samples), spans)

    def _room(self, samples: Samples, speech: bool, strength: float, rng: Generator) -> Samples:
        """What the place and the line do to a clip, and its level."""
        if speech and rng.random() < 0.6 * strength:
            samples = augment.reverb(samples, rng)
        if speech and rng.random() < strength:
            noise = augment.coloured_noise(len(samples), rng)
            if rng.random() < 0.3:
                noise = self._babble(len(samples), rng)
            samples = augment.add_at_snr(samples, noise, rng.uniform(5, 30))
        if not speech and rng.random() < 0.8:
            noise = augment.coloured_noise(len(samples), rng)
            samples = np.asarray(samples + noise * 10 ** rng.uniform(-4, -1.5), np.float32)
        if rng.random() < 0.5 * strength:
            samples = augment.telephone(samples, rng)
        gain = 10 ** rng.uniform(-1.0, 0.2) if strength else 1.0
        floor = rng.standard_normal(len(samples), np.float32) * 10 ** rng.uniform(-5, -3.7)
        return np.asarray(np.clip(samples * gain + floor, -1, 1), np.float32)

    def _babble(self, size: int, rng: Generator) -> Samples:
        """One to four other voices on top of each other."""
        crowd = np.zeros(size, np.float32) + 1e-6
        names = list(self.parts)
        for _ in range(int(rng.integers(1, 5))):
            part = self.parts[names[int(rng.integers(len(names)))]]
            voice = part[int(rng.integers(len(part)))].read()[:size]
            crowd[: len(voice)] += voice
        return crowd

    def _labels(self, samples: int, spans: list[tuple[int, int, list[int]]]) -> np.ndarray:
        """Frame supervision: tokens spread over a sentence by their letters, else the blank."""
        frames = samples // FRAME + 1
        # The frame's newest sample lies at its index times 80 ms: label what was just heard.
        time = np.arange(frames) * FRAME
        labels = np.full(frames, self.tokenizer.size, np.int64)
        for first, end, tokens in spans:
            if not tokens:
                continue
            share = np.cumsum(self.tokenizer.weights(tokens))
            ends = first + share / share[-1] * (end - first)
            inside = (time > first) & (time <= end)
            at = np.searchsorted(ends, time[inside])
            labels[inside] = np.array(tokens)[np.minimum(at, len(tokens) - 1)]
        return labels

    def stream(self, recipe: Recipe, seed: int, skip: int = 0, every: int = 1) -> Iterator[Batch]:
        """Batches without end: after the first `skip`, every so-many-th."""
        epoch = 0
        while True:
            plan = self.plan(recipe, seed, epoch)
            for index in range(skip, len(plan), every):
                yield self.batch(plan[index], recipe, (seed, epoch, index, 1))
            skip = (skip - len(plan)) if skip >= len(plan) else (skip - len(plan)) % every
            epoch += 1


def _pause(rng: Generator, low: float, high: float) -> Samples:
    return np.zeros(int(rng.uniform(low, high) * SAMPLE_RATE), np.float32)


def _bucket(
    clips: list[tuple[Utterance, ...]], budget: int, rng: Generator
) -> list[list[tuple[Utterance, ...]]]:
    """Batches of clips of like length, in random order; budget in samples with padding."""
    clips = [clips[i] for i in rng.permutation(len(clips))]
    batches: list[list[tuple[Utterance, ...]]] = []
    for at in range(0, len(clips), 512):
        # A second for the pauses; silence may go with any length.
        sized = [
            ((sum(u.size for u in c) or int(rng.integers(4 * SAMPLE_RATE))) + SAMPLE_RATE, c)
            for c in clips[at : at + 512]
        ]
        batch: list[tuple[Utterance, ...]] = []
        for size, clip in sorted(sized, key=lambda pair: pair[0]):
            if batch and size * (len(batch) + 1) > budget:
                batches.append(batch)
                batch = []
            batch.append(clip)
        batches.append(batch)
    return [batches[i] for i in rng.permutation(len(batches))]
