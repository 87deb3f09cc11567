"""Augmentation of speech: speed, reverberation, noise, band limits, SpecAugment.

Functions take and return float32 samples [n] at 16 kHz, or a log-mel [M, bins].  They draw only
from the given generator, so that a batch is a function of its seed.
"""

from __future__ import annotations

import numpy as np
import torch

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples

Generator = np.random.Generator


def speed(samples: Samples, factor: float) -> Samples:
    """Resamples speech to play faster (factor > 1) or slower; pitch and formants change too."""
    points = np.arange(0, len(samples) - 1, factor)
    return np.asarray(np.interp(points, np.arange(len(samples)), samples), np.float32)


def reverb(samples: Samples, rng: Generator) -> Samples:
    """Adds the reverberation of a room: decaying noise of 0.05 to 0.35 s."""
    size = int(SAMPLE_RATE * rng.uniform(0.05, 0.35))
    response = rng.standard_normal(size, np.float32) * np.exp(-6.9 * np.arange(size) / size)
    response *= rng.uniform(0.1, 0.5) / np.linalg.norm(response)
    response[0] = 1.0  # the direct sound
    points = 1 << (len(samples) + size).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, points) * np.fft.rfft(response, points), points)
    return np.asarray(wet[: len(samples)], np.float32)


def telephone(samples: Samples, rng: Generator) -> Samples:
    """Limits speech to the band of a telephone (about 300-3400 Hz) or a small microphone."""
    spectrum = np.fft.rfft(samples)
    hertz = np.linspace(0, SAMPLE_RATE / 2, len(spectrum))
    low = rng.uniform(50, 300)
    high = rng.uniform(3300, 4000) if rng.random() < 0.7 else rng.uniform(4000, 7000)
    spectrum[(hertz < low) | (hertz > high)] *= 0.01
    return np.asarray(np.fft.irfft(spectrum, len(samples)), np.float32)


def colored_noise(size: int, rng: Generator) -> Samples:
    """Noise of unit power whose spectrum falls by a random power of the frequency."""
    spectrum = np.fft.rfft(rng.standard_normal(size, np.float32))
    spectrum /= np.arange(1, len(spectrum) + 1) ** rng.uniform(0, 0.9)
    noise = np.fft.irfft(spectrum, size).astype(np.float32)
    if rng.random() < 0.2:  # mains hum
        time = np.arange(size) / SAMPLE_RATE
        noise += noise.std() * np.sin(2 * np.pi * rng.choice([50, 60, 100, 120]) * time)
    return np.asarray(noise / (noise.std() + 1e-9), np.float32)


def add_at_snr(samples: Samples, noise: Samples, decibels: float) -> Samples:
    """Adds noise to speech at a signal-to-noise ratio in decibels."""
    power = np.sqrt(np.mean(samples**2) / (np.mean(noise**2) + 1e-12))
    return np.asarray(samples + noise * (power * 10 ** (-decibels / 20)), np.float32)


def spec_augment(mel: torch.Tensor, rng: Generator) -> torch.Tensor:
    """Sets two bands and two time spans to the mean level (Park et al. 2019, arXiv 1904.08779)."""
    frames, bins = mel.shape
    mel, level = mel.clone(), float(mel.mean())
    for _ in range(2):
        width = int(rng.integers(0, 22))
        start = int(rng.integers(0, bins - width))
        mel[:, start : start + width] = level
    for _ in range(2):
        width = int(rng.integers(0, max(1, min(40, frames // 16)) + 1))
        start = int(rng.integers(0, frames - width))
        mel[start : start + width] = level
    return mel
