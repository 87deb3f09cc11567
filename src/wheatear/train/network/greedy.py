"""Greedy RNN-T search over whole utterances in batches, for validation."""

from __future__ import annotations

import torch
from torch import Tensor

from wheatear.model.size_limits import MAX_SYMBOLS
from wheatear.train.network.transducer import Network


@torch.no_grad()
def greedy_search(network: Network, encoded: Tensor, frames: Tensor) -> list[list[int]]:
    """Returns the tokens of each utterance.

    encoded [B, T, d]: output of the prompt kernel; frames [B]: valid frames of each utterance.
    """
    batch, blank = encoded.shape[0], network.config.vocab_size
    projected = network.joint.enc(encoded)
    last = torch.full((batch, 1), blank, device=encoded.device)
    predicted, state = network.decoder(last)
    predicted = network.joint.pred(predicted[:, 0])
    tokens: list[list[int]] = [[] for _ in range(batch)]
    for t in range(int(frames.max())):
        active = (t < frames).nonzero().squeeze(1)
        for _ in range(MAX_SYMBOLS):
            best = network.joint(projected[active, t], predicted[active]).argmax(-1)
            active, best = active[best != blank], best[best != blank]
            if not len(active):
                break
            for b, token in zip(active.tolist(), best.tolist(), strict=True):
                tokens[b].append(token)
            # Only utterances that emitted a token advance the predictor.
            before = (state[0][:, active].contiguous(), state[1][:, active].contiguous())
            output, after = network.decoder(best[:, None], before)
            predicted[active] = network.joint.pred(output[:, 0])
            state[0][:, active], state[1][:, active] = after
    return tokens
