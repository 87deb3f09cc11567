"""Augmentation: lengths, levels and bands of the results."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.train.data import augment

TIME = np.arange(SAMPLE_RATE) / SAMPLE_RATE
TONE = np.asarray(0.3 * np.sin(2 * np.pi * 1000 * TIME), np.float32)


def test_speed_changes_length_and_pitch() -> None:
    fast = augment.speed(TONE, 1.25)
    assert fast.dtype == np.float32
    assert len(fast) == pytest.approx(len(TONE) / 1.25, abs=1)
    peak = np.abs(np.fft.rfft(fast)).argmax() * SAMPLE_RATE / len(fast)
    assert peak == pytest.approx(1250, abs=5)


@pytest.mark.parametrize("decibels", [0.0, 10.0, 30.0])
def test_noise_is_added_at_the_given_ratio(decibels: float) -> None:
    noise = augment.colored_noise(len(TONE), np.random.default_rng(1))
    added = augment.add_at_snr(TONE, noise, decibels) - TONE
    ratio = 10 * np.log10(np.mean(TONE**2) / np.mean(added**2))
    assert ratio == pytest.approx(decibels, abs=0.1)


def test_telephone_removes_what_is_above_its_band() -> None:
    high = np.asarray(np.sin(2 * np.pi * 7500 * TIME), np.float32)
    limited = augment.telephone(TONE + high, np.random.default_rng(2))
    spectrum = np.abs(np.fft.rfft(limited))
    assert spectrum[1000] > 10 * spectrum[7500]


def test_reverb_keeps_the_length_and_the_direct_sound() -> None:
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[100] = 1.0
    wet = augment.reverb(click, np.random.default_rng(3))
    assert len(wet) == len(click)
    assert wet.argmax() == 100
    assert np.abs(wet[:100]).max() < 1e-3 < np.abs(wet[101:]).max()


def test_spec_augment_masks_with_the_mean_and_keeps_its_input() -> None:
    mel = torch.randn(320, 128, generator=torch.Generator().manual_seed(0))
    before = mel.clone()
    masked = augment.spec_augment(mel, np.random.default_rng(4))
    assert torch.equal(mel, before)
    changed = masked != mel
    assert 0 < changed.float().mean() < 0.5
    assert torch.allclose(masked[changed], mel.mean())
