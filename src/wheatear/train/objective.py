"""What training minimises: transducer, CTC and frame supervision on one encoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wheatear.train.data import IGNORE, Batch
from wheatear.train.loss import joint_loss
from wheatear.train.network import Network, NetworkConfig


class Heads(nn.Module):
    """Training only: what the encoder says frame by frame, without the predictor."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.frame = nn.Linear(config.d_model, config.vocab_size + 1)
        self.ctc = nn.Linear(config.d_model, config.vocab_size + 1)


def losses(
    network: Network,
    heads: Heads,
    batch: Batch,
    lookahead: int,
    frame_weight: float,
    ctc_weight: float,
    forget: float = 0.0,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch per token, and its parts to print."""
    blank = network.config.vocab_size
    encoded, frames = network.encode(batch.mel, batch.mel_lengths, batch.prompts, lookahead)
    start = batch.targets.new_full((len(frames), 1), blank)
    said = batch.targets
    if forget:
        said = said.masked_fill(torch.rand(said.shape, device=said.device) < forget, blank)
    predicted, _ = network.decoder(torch.cat((start, said), 1))
    tokens = batch.target_lengths
    # The end of a clip counts as a token, so that clips of silence do not weigh without bound.
    scale = torch.full((len(frames),), 1.0 / (float(tokens.sum()) + len(frames)))
    output = network.joint.output
    transducer = joint_loss(
        network.joint.enc(encoded), network.joint.pred(predicted), output.weight, output.bias,
        batch.targets, frames, tokens, scale.to(encoded.device),
    )  # fmt: skip
    ctc = F.ctc_loss(
        heads.ctc(encoded).log_softmax(-1).transpose(0, 1), batch.targets, frames, tokens,
        blank=blank, reduction="none", zero_infinity=True,
    ).sum() * scale[0]  # fmt: skip
    total = (1 - 0.85 * frame_weight) * ((1 - ctc_weight) * transducer + ctc_weight * ctc)
    parts = {"rnnt": transducer.item(), "ctc": ctc.item()}
    if frame_weight > 0:
        logits = heads.frame(encoded)
        labels = batch.labels[:, : logits.shape[1]]
        labels = F.pad(labels, (0, logits.shape[1] - labels.shape[1]), value=IGNORE)
        known = labels != IGNORE
        total = total + frame_weight * F.cross_entropy(logits[known], labels[known])
        speech = known & (labels != blank)
        hit = (logits.argmax(-1) == labels)[speech].float()
        parts["frame accuracy"] = hit.mean().item() if len(hit) else 0.0
    return total, parts
