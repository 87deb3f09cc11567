"""Transducer in torch: cache-aware FastConformer encoder, predictor, joint, language prompt.

Topology and state-dict names are those of NeMo's EncDecRNNTBPEModelWithPrompt, so that checkpoints
can be exchanged (tests/train/network/test_transducer.py compares the output with NeMo's).
Whole utterances are computed under the attention mask of one latency, without streaming.

Shapes: B utterances, M mel frames (10 ms), T encoder frames (80 ms), U tokens, d = d_model.

Sources: Gulati et al. 2020 (Conformer, arXiv 2005.08100), Rekesh et al. 2023 (FastConformer,
arXiv 2305.05084), Noroozi et al. 2023 (cache-aware streaming, arXiv 2312.17279), Dai et al. 2019
(relative positions, arXiv 1901.02860).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of a network."""

    vocab_size: int
    """Number of pieces; the blank is the index after the last piece."""
    d_model: int = 160
    layers: int = 6
    heads: int = 4
    mels: int = 128
    subsampling_channels: int = 64
    ff_expansion: int = 4
    conv_kernel: int = 9
    left_context: int = 56
    """Past frames in the attention, in whole chunks."""
    predictor_hidden: int = 160
    predictor_layers: int = 2
    joint_hidden: int = 160
    prompts: int = 128
    """Slots of the language prompt; 0 for a model without one."""
    prompt_hidden: int = 0
    """Hidden width of the prompt kernel; 0: twice d_model, as in NeMo."""
    mel_shift: float = 0.0
    mel_scale: float = 1.0
    """The input of the first convolution is (mel + shift) * scale; export folds this away."""
    dropout: float = 0.1


class Subsampling(nn.Module):
    """Log-mel to frames: three causal stride-2 convolutions, the last two depthwise separable."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels = config.subsampling_channels
        self.shift, self.scale = config.mel_shift, config.mel_scale
        depthwise = [nn.Conv2d(channels, channels, 3, 2, groups=channels) for _ in range(2)]
        pointwise = [nn.Conv2d(channels, channels, 1) for _ in range(2)]
        self.conv = nn.Sequential(
            nn.Conv2d(1, channels, 3, 2), nn.ReLU(),
            depthwise[0], pointwise[0], nn.ReLU(),
            depthwise[1], pointwise[1], nn.ReLU(),
        )  # fmt: skip
        bins = config.mels
        for _ in range(3):
            bins = bins // 2 + 1
        self.out = nn.Linear(channels * bins, config.d_model)

    def forward(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """mel [B, M, mels], lengths [B] in mel frames -> [B, T, d], lengths [B] in frames."""
        # Never in half precision, which is too coarse for the log-mel.
        with torch.autocast(mel.device.type, enabled=False):
            return self._subsample(mel, lengths)

    def _subsample(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = _zero_after(mel.unsqueeze(1), lengths)  # [B, 1, M, mels]
        x = (F.pad(x, (2, 1, 2, 1)) + self.shift) * self.scale
        if x.device.type == "cpu":  # faster for the convolutions of torch there
            x = x.contiguous(memory_format=torch.channels_last)
        for i, layer in enumerate(self.conv):
            if i in (2, 5):
                x = F.pad(x, (2, 1, 2, 1))  # in time and frequency: two before, one after
            x = layer(x)
            if i in (1, 4, 7):
                # Zeros past the end at each stage, as in a stream that has ended.
                lengths = lengths // 2 + 1
                x = _zero_after(x, lengths)
        batch, channels, frames, bins = x.shape
        return self.out(x.transpose(1, 2).reshape(batch, frames, channels * bins)), lengths


def _zero_after(x: Tensor, lengths: Tensor) -> Tensor:
    """Zeroes x [B, C, T, bins] from each length on."""
    inside = torch.arange(x.shape[2], device=x.device) < lengths[:, None]
    return x * inside[:, None, :, None]


class FeedForward(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.ff_expansion * config.d_model
        self.linear1 = nn.Linear(config.d_model, width, bias=False)
        self.linear2 = nn.Linear(width, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(F.silu(self.linear1(x)))


class SelfAttention(nn.Module):
    """Multi-head attention with Transformer-XL relative positions, biases untied by layer."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        d, self.heads = config.d_model, config.heads
        self.linear_q, self.linear_k, self.linear_v, self.linear_out, self.linear_pos = (
            nn.Linear(d, d, bias=False) for _ in range(5)
        )
        self.pos_bias_u = nn.Parameter(torch.zeros(self.heads, d // self.heads))
        self.pos_bias_v = nn.Parameter(torch.zeros(self.heads, d // self.heads))

    def forward(self, x: Tensor, positions: Tensor, allowed: Tensor) -> Tensor:
        """x [B, T, d], positions [2T-1, d], allowed [B, 1, T, T] -> [B, T, d]."""
        batch, frames, d = x.shape
        split = (batch, frames, self.heads, d // self.heads)
        q = self.linear_q(x).view(split)
        k = self.linear_k(x).view(split).transpose(1, 2)
        v = self.linear_v(x).view(split).transpose(1, 2)
        p = self.linear_pos(positions).view(1, -1, *split[2:]).transpose(1, 2)
        by_position = _rel_shift((q + self.pos_bias_v).transpose(1, 2) @ p.transpose(-1, -2))
        # Scores by content plus scores by distance, in one fused product.
        bias = (by_position / math.sqrt(split[3])).masked_fill(~allowed, -1e4)
        mixed = F.scaled_dot_product_attention(
            (q + self.pos_bias_u).transpose(1, 2), k, v, attn_mask=bias
        )
        return self.linear_out(mixed.transpose(1, 2).reshape(batch, frames, d))


def _rel_shift(scores: Tensor) -> Tensor:
    """Maps [B, heads, T, 2T-1] by distance to [B, heads, T, T] by key (1901.02860, app. B)."""
    batch, heads, frames, distances = scores.shape
    padded = F.pad(scores, (1, 0)).view(batch, heads, distances + 1, frames)
    return padded[:, :, 1:].reshape(batch, heads, frames, distances)[..., :frames]


class ConvModule(nn.Module):
    """Pointwise, GLU, causal depthwise, norm, SiLU, pointwise; in [B, T, d] throughout."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        d, self.kernel = config.d_model, config.conv_kernel
        self.pointwise_conv1 = nn.Conv1d(d, 2 * d, 1, bias=False)
        self.depthwise_conv = nn.Conv1d(d, d, self.kernel, groups=d, bias=False)
        self.batch_norm = nn.LayerNorm(d)  # NeMo's name for a layer norm
        self.pointwise_conv2 = nn.Conv1d(d, d, 1, bias=False)

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """x [B, T, d], inside [B, T, 1] -> [B, T, d]."""
        x = F.glu(F.linear(x, self.pointwise_conv1.weight.squeeze(-1)), -1) * inside
        # A sum of shifted products: the grouped convolution of torch is slower on CPU.
        padded = F.pad(x, (0, 0, self.kernel - 1, 0))
        taps = self.depthwise_conv.weight.squeeze(1).t()  # [kernel, d]
        y = padded[:, : x.shape[1]] * taps[0]
        for i in range(1, self.kernel):
            y = torch.addcmul(y, padded[:, i : i + x.shape[1]], taps[i])
        y = F.silu(self.batch_norm(y))
        return F.linear(y, self.pointwise_conv2.weight.squeeze(-1))


class Layer(nn.Module):
    """One Conformer block."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        d = config.d_model
        self.norm_feed_forward1 = nn.LayerNorm(d)
        self.feed_forward1 = FeedForward(config)
        self.norm_self_att = nn.LayerNorm(d)
        self.self_attn = SelfAttention(config)
        self.norm_conv = nn.LayerNorm(d)
        self.conv = ConvModule(config)
        self.norm_feed_forward2 = nn.LayerNorm(d)
        self.feed_forward2 = FeedForward(config)
        self.norm_out = nn.LayerNorm(d)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, positions: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
        x = x + 0.5 * self.dropout(self.feed_forward1(self.norm_feed_forward1(x)))
        x = x + self.dropout(self.self_attn(self.norm_self_att(x), positions, allowed))
        x = x + self.dropout(self.conv(self.norm_conv(x), inside))
        x = x + 0.5 * self.dropout(self.feed_forward2(self.norm_feed_forward2(x)))
        return self.norm_out(x)


class Encoder(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.pre_encode = Subsampling(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def forward(self, mel: Tensor, lengths: Tensor, lookahead: int) -> tuple[Tensor, Tensor]:
        """mel [B, M, mels], lengths [B] -> [B, T, d], lengths [B], at lookahead R frames."""
        x, lengths = self.pre_encode(mel, lengths)
        frames = x.shape[1]
        inside = torch.arange(frames, device=x.device) < lengths[:, None]  # [B, T]
        allowed = chunk_mask(frames, lookahead, self.config.left_context, x.device)
        allowed = (allowed & inside[:, None])[:, None]  # [B, 1, T, T]
        positions = relative_positions(frames, self.config.d_model, x.device)
        for layer in self.layers:
            x = layer(x, positions, allowed, inside[..., None])
        return x, lengths


def chunk_mask(frames: int, lookahead: int, left: int, device: torch.device) -> Tensor:
    """Returns [T, T]: True where a query (row) may see a key (column), by chunks."""
    chunk = torch.arange(frames, device=device) // (lookahead + 1)
    behind = chunk[:, None] - chunk
    return (behind >= 0) & (behind <= left // (lookahead + 1))


def relative_positions(frames: int, d: int, device: torch.device) -> Tensor:
    """Returns [2T-1, d]: sines and cosines of the distances T-1 ... -(T-1)."""
    distance = torch.arange(frames - 1, -frames, -1, device=device, dtype=torch.float32)
    rate = torch.exp(torch.arange(0, d, 2, device=device) * (-math.log(10_000.0) / d))
    angle = distance[:, None] * rate
    return torch.stack((angle.sin(), angle.cos()), -1).reshape(2 * frames - 1, d)


class _Recurrent(nn.Module):
    """The LSTM under NeMo's name dec_rnn.lstm."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.predictor_hidden
        self.lstm = nn.LSTM(width, width, config.predictor_layers, batch_first=True)


class _Prediction(nn.Module):
    """Embedding and LSTM under NeMo's name decoder.prediction."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        blank = config.vocab_size  # its row is zero and means "no token yet"
        self.embed = nn.Embedding(blank + 1, config.predictor_hidden, padding_idx=blank)
        self.dec_rnn = _Recurrent(config)


State = tuple[Tensor, Tensor]


class Predictor(nn.Module):
    """Prediction network over the tokens; NeMo calls it the decoder."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.prediction = _Prediction(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Maps tokens [B, U] to [B, U, hidden] and the LSTM state after them."""
        x = self.dropout(self.prediction.embed(tokens))
        out, state = self.prediction.dec_rnn.lstm(x, state)
        return self.dropout(out), state


class Joint(nn.Module):
    """Joint network: frame and prediction to logits over the pieces and the blank."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.enc = nn.Linear(config.d_model, config.joint_hidden)
        self.pred = nn.Linear(config.predictor_hidden, config.joint_hidden)
        # Without dropout: the loss computes the gradient of the joint in one pass.
        output = nn.Linear(config.joint_hidden, config.vocab_size + 1)
        self.joint_net = nn.Sequential(nn.ReLU(), nn.Identity(), output)

    @property
    def output(self) -> nn.Linear:
        return cast(nn.Linear, self.joint_net[2])

    def forward(self, encoded: Tensor, predicted: Tensor) -> Tensor:
        """Projections [..., joint] of one frame and one prediction -> logits [..., V + 1]."""
        return cast(Tensor, self.joint_net(encoded + predicted))


class Network(nn.Module):
    """Encoder, predictor, joint and prompt kernel: all that is exported."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Predictor(config)
        self.joint = Joint(config)
        if config.prompts:
            hidden = config.prompt_hidden or 2 * config.d_model
            self.prompt_kernel = nn.Sequential(
                nn.Linear(config.d_model + config.prompts, hidden),
                nn.ReLU(),
                nn.Linear(hidden, config.d_model),
            )

    def encode(
        self, mel: Tensor, lengths: Tensor, prompts: Tensor, lookahead: int
    ) -> tuple[Tensor, Tensor]:
        """mel [B, M, mels], lengths [B], prompts [B] (slot) -> [B, T, d], lengths [B]."""
        x, lengths = self.encoder(mel, lengths, lookahead)
        if self.config.prompts:
            # A one-hot after the features is one column of the first weight as a bias.
            first, d = cast(nn.Linear, self.prompt_kernel[0]), self.config.d_model
            language = first.weight[:, d:].t()[prompts]  # [B, hidden]
            x = F.linear(x, first.weight[:, :d], first.bias) + language[:, None]
            x = self.prompt_kernel[2](F.relu(x))
        return x, lengths
