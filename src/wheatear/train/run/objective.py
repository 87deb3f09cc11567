"""What training minimises: transducer, CTC and frame supervision on one encoder."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wheatear.train.data.batches import IGNORE, Batch
from wheatear.train.network.loss import joint_loss
from wheatear.train.network.transducer import Network, NetworkConfig


class Heads(nn.Module):
    """Training only: what the encoder says frame by frame, without the predictor."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.frame = nn.Linear(config.d_model, config.vocab_size + 1)
        self.ctc = nn.Linear(config.d_model, config.vocab_size + 1)


class Weights(NamedTuple):
    """How the parts of the loss are weighed."""

    frame: float = 0.0
    ctc: float = 0.3
    forget: float = 0.0
    """Share of the predictor's tokens that are hidden."""
    transducer_share: float = 1.0
    """Share of the clips that the transducer's loss looks at."""
    bf16: bool = False


def losses(
    network: Network, heads: Heads, batch: Batch, lookahead: int, weights: Weights
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch per token, and its parts to print."""
    blank = network.config.vocab_size
    with torch.autocast(batch.mel.device.type, torch.bfloat16, enabled=weights.bf16):
        encoded, frames = network.encode(batch.mel, batch.mel_lengths, batch.prompts, lookahead)
    encoded = encoded.float()
    tokens = batch.target_lengths
    # The end of a clip counts as a token, so that clips of silence do not weigh without bound.
    scale = 1.0 / (float(tokens.sum()) + len(frames))
    transducer = _transducer(network, batch, encoded, frames, weights) * scale
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


def _transducer(
    network: Network, batch: Batch, encoded: Tensor, frames: Tensor, weights: Weights
) -> Tensor:
    """Its loss summed over the clips, or an estimate of the sum from a random share of them."""
    blank, clips = network.config.vocab_size, len(frames)
    count = max(1, round(clips * weights.transducer_share))
    some = torch.randperm(clips)[:count].to(frames.device) if count < clips else slice(None)
    targets, tokens = batch.targets[some], batch.target_lengths[some]
    said = targets
    if weights.forget:
        hidden = torch.rand(said.shape, device=said.device) < weights.forget
        said = said.masked_fill(hidden, blank)
    start = targets.new_full((len(targets), 1), blank)
    predicted, _ = network.decoder(torch.cat((start, said), 1))
    output = network.joint.output
    return joint_loss(
        network.joint.enc(encoded[some]), network.joint.pred(predicted),
        output.weight, output.bias, targets, frames[some], tokens,
        encoded.new_full((len(targets),), clips / len(targets)),
    )  # fmt: skip
