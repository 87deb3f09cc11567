"""Greedy search over whole utterances in batches, for measuring while training."""

from __future__ import annotations

import torch
from torch import Tensor

from wheatear.model.size_limits import MAX_SYMBOLS
from wheatear.train.network.transducer import Network


@torch.no_grad()
def greedy(network: Network, encoded: Tensor, frames: Tensor) -> list[list[int]]:
    """Tokens of each utterance; encoded [B, T, d] (after the prompt kernel), frames [B]."""
    batch, blank = encoded.shape[0], network.config.vocab_size
    projected = network.joint.enc(encoded)
    last = torch.full((batch, 1), blank, device=encoded.device)
    predicted, state = network.decoder(last)
    predicted = network.joint.pred(predicted[:, 0])
    found: list[list[int]] = [[] for _ in range(batch)]
    for t in range(int(frames.max())):
        live = (t < frames).nonzero().squeeze(1)
        for _ in range(MAX_SYMBOLS):
            best = network.joint(projected[live, t], predicted[live]).argmax(-1)
            live, best = live[best != blank], best[best != blank]
            if not len(live):
                break
            for b, token in zip(live.tolist(), best.tolist(), strict=True):
                found[b].append(token)
            # Only what spoke moves the predictor on.
            before = (state[0][:, live].contiguous(), state[1][:, live].contiguous())
            step, after = network.decoder(best[:, None], before)
            predicted[live] = network.joint.pred(step[:, 0])
            state[0][:, live], state[1][:, live] = after
    return found
