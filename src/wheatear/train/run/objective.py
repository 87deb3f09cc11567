"""Training objective: transducer, CTC and frame losses on one encoder."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wheatear.train.data.batches import IGNORE, Batch
from wheatear.train.network.loss import joint_loss
from wheatear.train.network.transducer import Network, NetworkConfig


class Heads(nn.Module):
    """Output layers on the encoder that are used only in training."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.frame = nn.Linear(config.d_model, config.vocab_size + 1)
        self.ctc = nn.Linear(config.d_model, config.vocab_size + 1)


class LossWeights(NamedTuple):
    """Weights of the parts of the loss, and options of the transducer's part."""

    frame: float = 0.0
    ctc: float = 0.3
    token_dropout: float = 0.0
    """Share of the predictor's tokens that are replaced by the blank."""
    transducer_share: float = 1.0
    """Share of the clips in the transducer's loss."""
    bf16: bool = False


def loss_of_batch(
    network: Network, heads: Heads, batch: Batch, lookahead: int, weights: LossWeights
) -> tuple[Tensor, dict[str, float]]:
    """Computes the loss of a batch per token, and its parts for the log."""
    blank = network.config.vocab_size
    with torch.autocast(batch.mel.device.type, torch.bfloat16, enabled=weights.bf16):
        encoded, frames = network.encode(batch.mel, batch.mel_lengths, batch.prompts, lookahead)
    encoded = encoded.float()
    tokens = batch.target_lengths
    # The end of a clip counts as a token, which bounds the weight of clips of silence.
    scale = 1.0 / (float(tokens.sum()) + len(frames))
    transducer = _transducer_loss(network, batch, encoded, frames, weights) * scale
    total = (1 - weights.ctc) * transducer
    parts = {"rnnt": transducer.item()}
    if weights.ctc:
        ctc = F.ctc_loss(
            heads.ctc(encoded).log_softmax(-1).transpose(0, 1), batch.targets, frames, tokens,
            blank=blank, reduction="none", zero_infinity=True,
        ).sum() * scale  # fmt: skip
        total = total + weights.ctc * ctc
        parts["ctc"] = ctc.item()
    total = (1 - 0.85 * weights.frame) * total
    if weights.frame > 0:
        logits = heads.frame(encoded)
        labels = batch.labels[:, : logits.shape[1]]
        labels = F.pad(labels, (0, logits.shape[1] - labels.shape[1]), value=IGNORE)
        known = labels != IGNORE
        total = total + weights.frame * F.cross_entropy(logits[known], labels[known])
        speech = known & (labels != blank)
        hit = (logits.argmax(-1) == labels)[speech].float()
        parts["frame accuracy"] = hit.mean().item() if len(hit) else 0.0
    return total, parts


def _transducer_loss(
    network: Network, batch: Batch, encoded: Tensor, frames: Tensor, weights: LossWeights
) -> Tensor:
    """Sums the RNN-T loss over the clips, or estimates the sum from a random share of them."""
    blank, clips = network.config.vocab_size, len(frames)
    count = max(1, round(clips * weights.transducer_share))
    chosen = torch.randperm(clips)[:count].to(frames.device) if count < clips else slice(None)
    targets, tokens = batch.targets[chosen], batch.target_lengths[chosen]
    history = targets
    if weights.token_dropout:
        dropped = torch.rand(history.shape, device=history.device) < weights.token_dropout
        history = history.masked_fill(dropped, blank)
    start = targets.new_full((len(targets), 1), blank)
    predicted, _ = network.decoder(torch.cat((start, history), 1))
    output = network.joint.output
    return joint_loss(
        network.joint.enc(encoded[chosen]), network.joint.pred(predicted),
        output.weight, output.bias, targets, frames[chosen], tokens,
        encoded.new_full((len(targets),), clips / len(targets)),
    )  # fmt: skip
