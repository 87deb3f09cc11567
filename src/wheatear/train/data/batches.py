"""Batches of training clips: tokens, joined sentences, augmentation, frame labels.

An epoch's order and each batch are functions of (seed, epoch, index), so that training resumes
at any step by counting batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples
from wheatear.train.data import augment
from wheatear.train.data.augment import Generator
from wheatear.train.data.manifest import Utterance
from wheatear.train.data.mel import FRAME, LogMel
from wheatear.train.data.prompts import AUTO
from wheatear.train.data.tokenizer import Tokenizer

IGNORE = -100  # label of frames without frame supervision, torch's default
Clip = tuple[Utterance, ...]
"""Sentences that make one clip; none for a clip of silence."""


class Batch(NamedTuple):
    """B clips, padded."""

    mel: Tensor
    """[B, M, bins] log-mel."""
    mel_lengths: Tensor
    """[B] valid mel frames."""
    targets: Tensor
    """[B, U] tokens."""
    target_lengths: Tensor
    """[B] number of tokens."""
    labels: Tensor
    """[B, T] target of each frame: a token, the blank, or IGNORE."""
    prompts: Tensor
    """[B] slots of the language prompt."""
    seconds: float
    """Audio in the batch."""


@dataclass(frozen=True)
class BatchConfig:
    """Makeup of the batches of one stage of training."""

    parts: dict[str, float]
    """Passes through each part of the corpus in an epoch."""
    max_seconds: float = 15.0
    """Longest clip, also of joined sentences."""
    batch_seconds: float = 40.0
    """Audio of a batch in seconds, padding included."""
    augment: float = 0.0
    """Probability of added noise; the other augmentations scale with it."""
    joined: float = 0.0
    """Share of clips with two or three sentences."""
    silence: float = 0.0
    """Share of clips without speech, with silence or noise."""


class BatchBuilder:
    """Makes batches of a corpus; texts and offsets are in memory, audio stays on disk."""

    def __init__(
        self,
        parts: Mapping[str, Sequence[Utterance]],
        tokenizer: Tokenizer,
        prompts: Mapping[str, int],
        bins: int = 128,
    ) -> None:
        """Takes the prompt slot of each locale; none for a model without language prompt."""
        self.parts, self.tokenizer, self.prompts = parts, tokenizer, prompts
        self.mel = LogMel(bins)

    def epoch_batches(self, config: BatchConfig, seed: int, epoch: int) -> list[list[Clip]]:
        """Returns the batches of an epoch; a clip is a tuple of sentences, empty for silence."""
        rng = np.random.default_rng((seed, epoch))
        limit = int(config.max_seconds * SAMPLE_RATE)
        pool: list[Utterance] = []
        for name, times in config.parts.items():
            part = [u for u in self.parts[name] if u.size <= limit]
            pool += part * int(times)
            extra = round(len(part) * (times % 1))
            pool += [part[i] for i in rng.permutation(len(part))[:extra]]
        pool = [pool[i] for i in rng.permutation(len(pool))]
        clips: list[Clip] = [()] * round(config.silence * len(pool))
        by_locale: dict[str, list[Utterance]] = {}
        for utterance in pool:
            by_locale.setdefault(utterance.locale, []).append(utterance)
        for utterance in pool:
            clip = [utterance]
            if rng.random() < config.joined:
                others = by_locale[utterance.locale]
                for _ in range(int(rng.integers(1, 3))):
                    other = others[int(rng.integers(len(others)))]
                    if sum(u.size for u in clip) + other.size < 0.9 * limit:
                        clip.append(other)
            clips.append(tuple(clip))
        return _bucket(clips, int(config.batch_seconds * SAMPLE_RATE), rng)

    def batch(self, clips: list[Clip], config: BatchConfig, seed: object) -> Batch:
        """Makes a batch; equal arguments give equal tensors."""
        rng = np.random.default_rng(seed)  # type: ignore[arg-type]
        made = [self._clip(clip, config, rng) for clip in clips]
        mel, mel_lengths = self.mel(*pad([samples for samples, _, _ in made]))
        for i, valid in enumerate(mel_lengths.tolist()):
            if rng.random() < 2 * config.augment:
                mel[i, :valid] = augment.spec_augment(mel[i, :valid], rng)
        size = max(1, *(len(ids) for _, ids, _ in made))
        targets = torch.zeros(len(made), size, dtype=torch.long)
        labels = torch.full((len(made), mel.shape[1] // 8 + 2), IGNORE)
        for i, (_, ids, frames) in enumerate(made):
            targets[i, : len(ids)] = torch.tensor(ids, dtype=torch.long)
            labels[i, : len(frames)] = torch.from_numpy(frames)
        # Drawn for every model, so that one without prompts sees the same batches.
        prompts = [
            self.prompts.get(AUTO if not clip or rng.random() < 0.5 else clip[0].locale, 0)
            for clip in clips
        ]
        seconds = float(sum(len(samples) for samples, _, _ in made)) / SAMPLE_RATE
        return Batch(
            mel, mel_lengths, targets, torch.tensor([len(ids) for _, ids, _ in made]), labels,
            torch.tensor(prompts), seconds,
        )  # fmt: skip

    def _clip(
        self, clip: Clip, config: BatchConfig, rng: Generator
    ) -> tuple[Samples, list[int], np.ndarray]:
        """Joins sentences with pauses; returns samples, tokens and a label for each frame."""
        strength = config.augment
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
        if clip and rng.random() < 0.5:  # many recordings end with the last sound
            pieces.pop()
        if not clip:
            pieces.append(_pause(rng, 0.5, 4.0))
        samples = self._augment(np.concatenate(pieces), bool(clip), strength, rng)
        return samples, ids, self._labels(len(samples), spans)

    def _augment(self, samples: Samples, speech: bool, strength: float, rng: Generator) -> Samples:
        """Adds reverberation, noise and a band limit by chance, and changes the level."""
        if speech and rng.random() < 0.6 * strength:
            samples = augment.reverb(samples, rng)
        if speech and rng.random() < strength:
            noise = augment.colored_noise(len(samples), rng)
            if rng.random() < 0.3:
                noise = self._babble(len(samples), rng)
            samples = augment.add_at_snr(samples, noise, rng.uniform(5, 30))
        if not speech and rng.random() < 0.8:
            noise = augment.colored_noise(len(samples), rng)
            samples = np.asarray(samples + noise * 10 ** rng.uniform(-4, -1.5), np.float32)
        if rng.random() < 0.5 * strength:
            samples = augment.telephone(samples, rng)
        gain = 10 ** rng.uniform(-1.0, 0.2) if strength else 1.0
        floor = rng.standard_normal(len(samples), np.float32) * 10 ** rng.uniform(-5, -3.7)
        return np.asarray(np.clip(samples * gain + floor, -1, 1), np.float32)

    def _babble(self, size: int, rng: Generator) -> Samples:
        """Mixes one to four utterances of the corpus."""
        mixture = np.zeros(size, np.float32) + 1e-6
        names = list(self.parts)
        for _ in range(int(rng.integers(1, 5))):
            part = self.parts[names[int(rng.integers(len(names)))]]
            voice = part[int(rng.integers(len(part)))].read()[:size]
            mixture[: len(voice)] += voice
        return mixture

    def _labels(self, samples: int, spans: list[tuple[int, int, list[int]]]) -> np.ndarray:
        """Labels frames: tokens spread over a sentence by their letters, blank elsewhere."""
        frames = samples // FRAME + 1
        # The newest sample of a frame lies at its index times 80 ms: it gets the token there.
        time = np.arange(frames) * FRAME
        labels = np.full(frames, self.tokenizer.size, np.int64)
        for first, end, tokens in spans:
            if not tokens:
                continue
            share = np.cumsum(self.tokenizer.durations(tokens))
            ends = first + share / share[-1] * (end - first)
            inside = (time > first) & (time <= end)
            at = np.searchsorted(ends, time[inside])
            labels[inside] = np.array(tokens)[np.minimum(at, len(tokens) - 1)]
        return labels

    def stream(
        self, config: BatchConfig, seed: int, skip: int = 0, every: int = 1
    ) -> Iterator[Batch]:
        """Yields batches without end: number `skip` and each `every`-th after it."""
        epoch = 0
        while True:
            batches = self.epoch_batches(config, seed, epoch)
            count = len(batches)
            for index in range(skip, count, every):
                yield self.batch(batches[index], config, (seed, epoch, index, 1))
            skip = (skip - count) if skip >= count else (skip - count) % every
            epoch += 1


def pad(clips: Sequence[Samples]) -> tuple[Tensor, Tensor]:
    """Stacks clips: samples [B, N], zeros behind each, and lengths [B]."""
    lengths = torch.tensor([len(clip) for clip in clips])
    samples = torch.zeros(len(clips), int(lengths.max()))
    for row, clip in zip(samples, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    return samples, lengths


def _pause(rng: Generator, low: float, high: float) -> Samples:
    return np.zeros(int(rng.uniform(low, high) * SAMPLE_RATE), np.float32)


def _bucket(clips: list[Clip], budget: int, rng: Generator) -> list[list[Clip]]:
    """Groups clips of similar length in random order; `budget` is in samples with padding."""
    clips = [clips[i] for i in rng.permutation(len(clips))]
    batches: list[list[Clip]] = []
    for at in range(0, len(clips), 512):
        # A second for the pauses; a clip of silence may join any length.
        sized = [
            ((sum(u.size for u in c) or int(rng.integers(4 * SAMPLE_RATE))) + SAMPLE_RATE, c)
            for c in clips[at : at + 512]
        ]
        batch: list[Clip] = []
        for size, clip in sorted(sized, key=lambda pair: pair[0]):
            if batch and size * (len(batch) + 1) > budget:
                batches.append(batch)
                batch = []
            batch.append(clip)
        batches.append(batch)
    return [batches[i] for i in rng.permutation(len(batches))]
