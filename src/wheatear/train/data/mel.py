"""Log-mel front end of NeMo for batches of waveforms, in torch.

Pre-emphasis 0.97, symmetric Hann of 25 ms at the center of 512 points, hop 10 ms, zero padding.
Then power spectrum, 128 Slaney mel bins, log(x + 2^-24), no normalization.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wheatear.audio.mel import LOG_GUARD, MEL_PER_FRAME, MelSettings, slaney_bank

SETTINGS = MelSettings()
HOP = SETTINGS.hop_length
FRAME = MEL_PER_FRAME * HOP  # 80 ms, one encoder frame


class LogMel(nn.Module):
    """Samples [B, N] and lengths [B] -> log-mel [B, N // 160 + 1, bins], lengths [B] (valid)."""

    def __init__(self, bins: int = 128) -> None:
        super().__init__()
        self.filters: Tensor
        self.window: Tensor
        filters = torch.from_numpy(slaney_bank(MelSettings(n_mels=bins)))  # [points, bins]
        self.register_buffer("filters", filters, persistent=False)
        window = torch.hann_window(SETTINGS.win_length, periodic=False)
        self.register_buffer("window", window, persistent=False)

    @torch.no_grad()
    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        past_end = torch.arange(samples.shape[1], device=samples.device) >= lengths[:, None]
        emphasised = samples - SETTINGS.preemphasis * F.pad(samples, (1, 0))[:, :-1]
        spectrum = torch.stft(
            emphasised.masked_fill(past_end, 0.0),
            SETTINGS.n_fft, HOP, SETTINGS.win_length, self.window,
            center=True, pad_mode="constant", return_complex=True,
        )  # fmt: skip
        power = spectrum.real.square() + spectrum.imag.square()  # [B, points, M]
        mel = torch.log(power.transpose(1, 2) @ self.filters + LOG_GUARD)
        return mel, lengths // HOP
