"""RNN-T loss with the joint inside (Graves 2012, arXiv 1211.3711).

The logits of all utterances together, [B, T, U, V], would not fit; here they exist for a few
utterances at a time, packed without padding, and turn into their own gradient in place.  Plain
torch, so the same code runs on CPU and CUDA.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NEVER = -1e30  # log-probability of what cannot happen; finite, so that its gradient is too
GROUP = 1 << 24  # logits held at once: 64 MiB in float32


def lattice(
    blank: Tensor, emit: Tensor, frames: Tensor, tokens: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Negative log-likelihood of each utterance and its gradient.

    blank [B, T, U+1]: log-probability of leaving frame t after u tokens; emit [B, T, U]: of
    saying token u+1 there; frames, tokens [B]: true lengths, frames >= 1.
    Returns nll [B], d nll / d blank, d nll / d emit.
    """
    blank = blank.detach().requires_grad_()
    emit = emit.detach().requires_grad_()
    with torch.enable_grad():
        batch, longest, width = blank.shape
        rows = longest + width - 1
        # Shear, so that row n holds the cells with t + u = n: they depend on row n - 1 alone.
        n = torch.arange(rows, device=blank.device)[:, None]
        t = n - torch.arange(width, device=blank.device)  # [rows, U+1]
        valid = (t >= 0) & (t < longest)
        at = t.clamp(0, longest - 1).expand(batch, -1, -1)
        leave = blank.gather(1, at).masked_fill(~valid, NEVER).unbind(1)
        say = emit.gather(1, at[..., :-1]).masked_fill(~valid[:, :-1], NEVER).unbind(1)
        edge = blank.new_full((batch, 1), NEVER)
        alpha = torch.cat((edge.new_zeros(batch, 1), edge.expand(-1, width - 1)), 1)
        alphas = [alpha]  # log-probability of reaching each cell of row n
        for row in range(rows - 1):
            stay = alpha + leave[row]
            spoke = torch.cat((edge, alpha[:, :-1] + say[row]), 1)
            alpha = torch.logaddexp(stay, spoke)
            alphas.append(alpha)
        utterance = torch.arange(batch, device=blank.device)
        last = frames - 1
        end = torch.stack(alphas, 1)[utterance, last + tokens, tokens]
        nll = -(end + blank[utterance, last, tokens])
        by_blank, by_emit = torch.autograd.grad(nll.sum(), (blank, emit))
    return nll.detach(), by_blank, by_emit


class _JointLoss(torch.autograd.Function):
    """Computes all gradients in the forward pass, while the logits are there."""

    @staticmethod
    def forward(
        ctx: Any, encoded: Tensor, predicted: Tensor, weight: Tensor, bias: Tensor,
        targets: Tensor, frames: Tensor, tokens: Tensor, scale: Tensor, group: int,
    ) -> Tensor:  # fmt: skip
        grads = [torch.zeros_like(x) for x in (encoded, predicted, weight, bias)]
        t_of, u_of = frames.tolist(), tokens.tolist()
        losses = encoded.new_zeros(len(t_of))
        members: list[int] = []
        cells = 0
        for b in range(len(t_of)):
            size = t_of[b] * (u_of[b] + 1) * weight.shape[0]
            if members and cells + size > group:
                _one_group(members, encoded, predicted, weight, bias, targets, frames, tokens,
                           scale, losses, grads)  # fmt: skip
                members, cells = [], 0
            members.append(b)
            cells += size
        _one_group(members, encoded, predicted, weight, bias, targets, frames, tokens, scale,
                   losses, grads)  # fmt: skip
        ctx.save_for_backward(*grads)
        return (losses * scale).sum()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        return (*(g * outer[0] for g in ctx.saved_tensors), None, None, None, None, None)


def _one_group(
    members: list[int], encoded: Tensor, predicted: Tensor, weight: Tensor, bias: Tensor,
    targets: Tensor, frames: Tensor, tokens: Tensor, scale: Tensor, losses: Tensor,
    grads: list[Tensor],
) -> None:  # fmt: skip
    """Adds the losses and gradients of the utterances `members`."""
    blank = weight.shape[0] - 1
    t_of, u_of = frames[members].tolist(), tokens[members].tolist()
    shapes = [(t, u + 1) for t, u in zip(t_of, u_of, strict=True)]
    sizes = [t * u for t, u in shapes]
    hidden = torch.cat(
        [
            (encoded[b, :t, None] + predicted[b, None, :u]).flatten(0, 1)
            for b, (t, u) in zip(members, shapes, strict=True)
        ]
    ).relu_()  # [N, H], N cells of all lattices end to end
    logits = torch.addmm(bias, hidden, weight.t())  # [N, V+1]
    norm = logits.logsumexp(1)
    # The token that each cell would say; the last column says nothing, its share stays zero.
    said = torch.cat(
        [
            torch.cat((targets[b, : u - 1], targets.new_zeros(1))).repeat(t)
            for b, (t, u) in zip(members, shapes, strict=True)
        ]
    )[:, None]
    box = (len(members), max(t_of), max(u_of) + 1)
    log_blank, log_emit = logits.new_full(box, NEVER), logits.new_full(box, NEVER)
    cells_blank = (logits[:, blank] - norm).split(sizes)
    cells_emit = (logits.gather(1, said).squeeze(1) - norm).split(sizes)
    for i, shape in enumerate(shapes):
        log_blank[i, : shape[0], : shape[1]] = cells_blank[i].view(shape)
        log_emit[i, : shape[0], : shape[1]] = cells_emit[i].view(shape)
    nll, by_blank, by_emit = lattice(
        log_blank, log_emit[:, :, :-1], frames[members], tokens[members]
    )
    losses[members] = nll
    by_emit = torch.nn.functional.pad(by_emit, (0, 1))
    weights = scale[members, None, None]
    flat = [
        torch.cat([g[i, :t, :u].flatten() for i, (t, u) in enumerate(shapes)])
        for g in (by_blank * weights, by_emit * weights)
    ]
    # d/d logits = softmax * (visits of the cell) - (visits that took this exit)
    grad = logits.sub_(norm[:, None]).exp_().mul_(-(flat[0] + flat[1])[:, None])
    grad[:, blank] += flat[0]
    grad.scatter_add_(1, said, flat[1][:, None])
    grads[2].addmm_(grad.t(), hidden)
    grads[3].add_(grad.sum(0))
    by_hidden = (grad @ weight).mul_(hidden > 0).split(sizes)
    for b, shape, part in zip(members, shapes, by_hidden, strict=True):
        cells = part.view(*shape, -1)
        grads[0][b, : shape[0]] = cells.sum(1)
        grads[1][b, : shape[1]] = cells.sum(0)


def joint_loss(
    encoded: Tensor, predicted: Tensor, weight: Tensor, bias: Tensor,
    targets: Tensor, frames: Tensor, tokens: Tensor, scale: Tensor, group: int = GROUP,
) -> Tensor:  # fmt: skip
    """Sum over utterances of scale[b] * RNN-T loss, with logits = relu(enc + pred) W' + bias.

    encoded [B, T, H] and predicted [B, U+1, H]: the joint's projections; weight [V+1, H], bias
    [V+1], blank last; targets [B, U]; frames, tokens, scale [B].
    """
    loss: Tensor = _JointLoss.apply(
        encoded, predicted, weight, bias, targets, frames, tokens, scale, group
    )
    return loss
