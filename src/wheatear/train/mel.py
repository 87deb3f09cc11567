"""NeMo's log-mel front end for batches of waveforms, in torch.

Pre-emphasis 0.97, symmetric Hann of 25 ms centred in 512 points, hop 10 ms, zeros around the
ends, power spectrum, 128 Slaney mel bins, log(x + 2^-24), no normalisation.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAMPLE_RATE = 16_000  # Hz
HOP = SAMPLE_RATE // 100  # 10 ms
WINDOW = SAMPLE_RATE // 40  # 25 ms
FFT = 512
FRAME = 8 * HOP  # 80 ms, one encoder frame
PREEMPHASIS = 0.97
LOG_GUARD = 2.0**-24
SILENCE = float(np.log(LOG_GUARD))  # log-mel of digital silence, about -16.6


def mel_filters(bins: int) -> Tensor:
    """[bins, FFT // 2 + 1]: triangles of equal area on Slaney's scale, 0 to 8000 Hz.

    The scale is linear below 1000 Hz (15 mel) and logarithmic above (Slaney 1998, Auditory
    Toolbox; the default of librosa).
    """
    top = 15 + np.log(SAMPLE_RATE / 2 / 1000) / (np.log(6.4) / 27)
    mel = np.linspace(0, top, bins + 2)
    hertz = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
    low, centre, high = (hertz[i : i + bins, None] for i in range(3))
    frequency = np.linspace(0, SAMPLE_RATE / 2, FFT // 2 + 1)
    rising = (frequency - low) / (centre - low)
    falling = (high - frequency) / (high - centre)
    filters = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return torch.from_numpy(filters.astype(np.float32))


class LogMel(nn.Module):
    """Samples [B, N] and lengths [B] -> log-mel [B, N // 160 + 1, bins], lengths [B] (valid)."""

    def __init__(self, bins: int = 128) -> None:
        super().__init__()
        self.filters: Tensor
        self.window: Tensor
        self.register_buffer("filters", mel_filters(bins), persistent=False)
        window = torch.hann_window(WINDOW, periodic=False)
        self.register_buffer("window", window, persistent=False)

    @torch.no_grad()
    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        past_end = torch.arange(samples.shape[1], device=samples.device) >= lengths[:, None]
        emphasised = samples - PREEMPHASIS * F.pad(samples, (1, 0))[:, :-1]
        spectrum = torch.stft(
            emphasised.masked_fill(past_end, 0.0),
            FFT, HOP, WINDOW, self.window, center=True, pad_mode="constant", return_complex=True,
        )  # fmt: skip
        power = spectrum.real.square() + spectrum.imag.square()  # [B, FFT // 2 + 1, M]
        mel = torch.log(power.transpose(1, 2) @ self.filters.t() + LOG_GUARD)
        return mel, lengths // HOP
