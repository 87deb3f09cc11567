"""RNN-T loss with the joint included (Graves 2012, arXiv 1211.3711).

The logits of all utterances together, [B, T, U+1, V+1], would not fit into memory.  They exist
for one slice of cells at a time and are turned into their gradient in place; a cell (t, u) of
the lattice is frame t after u tokens.  Utterances that fit share a slice, packed without padding,
and their logits are computed once.  A longer utterance takes two passes over its slices: the first
keeps the log-probabilities of blank and next token of each cell, from which the lattice is solved.
The second computes the logits again for the gradient.  The same code runs on CPU and CUDA.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LOG_ZERO = -1e30  # log-probability of an impossible path; finite, so that its gradient is too
MAX_LOGITS = 1 << 24  # logits in memory at once: 64 MiB in float32


def lattice(
    blank: Tensor, emit: Tensor, frames: Tensor, tokens: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Computes the negative log-likelihood of each utterance and its gradient.

    Args:
        blank: [B, T, U+1] log-probability of the blank at frame t after u tokens.
        emit: [B, T, U] log-probability of token u+1 there.
        frames: [B] true lengths, at least 1.
        tokens: [B] true lengths.

    Returns:
        nll [B], d nll / d blank, d nll / d emit.
    """
    blank = blank.detach().requires_grad_()
    emit = emit.detach().requires_grad_()
    with torch.enable_grad():
        batch, longest, width = blank.shape
        rows = longest + width - 1
        # Sheared: row n holds the cells with t + u = n, which depend only on row n - 1.
        n = torch.arange(rows, device=blank.device)[:, None]
        t = n - torch.arange(width, device=blank.device)  # [rows, U+1]
        valid = (t >= 0) & (t < longest)
        at = t.clamp(0, longest - 1).expand(batch, -1, -1)
        blanks = blank.gather(1, at).masked_fill(~valid, LOG_ZERO).unbind(1)
        emits = emit.gather(1, at[..., :-1]).masked_fill(~valid[:, :-1], LOG_ZERO).unbind(1)
        edge = blank.new_full((batch, 1), LOG_ZERO)
        alpha = torch.cat((edge.new_zeros(batch, 1), edge.expand(-1, width - 1)), 1)
        alphas = [alpha]  # log-probability of reaching each cell of row n
        for row in range(rows - 1):
            stay = alpha + blanks[row]
            emitted = torch.cat((edge, alpha[:, :-1] + emits[row]), 1)
            alpha = torch.logaddexp(stay, emitted)
            alphas.append(alpha)
        utterance = torch.arange(batch, device=blank.device)
        last = frames - 1
        end = torch.stack(alphas, 1)[utterance, last + tokens, tokens]
        nll = -(end + blank[utterance, last, tokens])
        # With one frame and no token nothing depends on emit: its gradient is materialized.
        wanted = (blank, emit)
        by_blank, by_emit = torch.autograd.grad(nll.sum(), wanted, materialize_grads=True)
    return nll.detach(), by_blank, by_emit


class _Block(NamedTuple):
    """Part of an utterance's lattice: frames [t, t + height) x nodes [u, u + width)."""

    utterance: int
    t: int
    height: int
    u: int
    width: int

    @property
    def cells(self) -> int:
        return self.height * self.width

    @property
    def frames(self) -> tuple[int, slice]:
        """Index into [B, T, ...]."""
        return self.utterance, slice(self.t, self.t + self.height)

    @property
    def nodes(self) -> tuple[int, slice]:
        """Index into [B, U+1, ...]."""
        return self.utterance, slice(self.u, self.u + self.width)


_Slice = list[_Block]  # blocks computed at once; their cells are concatenated


def _split_lattice(utterance: int, height: int, width: int, most: int) -> Iterator[_Slice]:
    """Splits a lattice into slices of at most `most` cells: whole frames, or parts of one."""
    rows, columns = max(1, most // width), min(width, most)
    for t in range(0, height, rows):
        for u in range(0, width, columns):
            yield [_Block(utterance, t, min(rows, height - t), u, min(columns, width - u))]


def _group_utterances(shapes: list[tuple[int, int]], most: int) -> Iterator[list[_Slice]]:
    """Yields groups of utterances whose lattices are solved together, as slices of `most` cells.

    Small utterances are grouped in one slice, which needs no second pass.  The others make one
    group, since solving takes T + U steps for any number of utterances.
    """
    packed: _Slice = []
    large: list[_Slice] = []
    free = most
    for b, (height, width) in enumerate(shapes):
        if height * width > most:
            large += _split_lattice(b, height, width, most)
            continue
        if height * width > free:
            yield [packed]
            packed, free = [], most
        packed.append(_Block(b, 0, height, 0, width))
        free -= height * width
    if packed:
        yield [packed]
    if large:
        yield large


class _Joint:
    """The joint, its gradients, and a buffer for the logits of one slice."""

    def __init__(self, inputs: list[Tensor], next_tokens: Tensor, cells: int) -> None:
        """Takes the token that follows each node, [B, U+1], and the cells of the largest slice."""
        # Sums over 13,088 classes and hundreds of steps need float32 for inputs of any type.
        wide = reduce(torch.promote_types, [x.dtype for x in inputs], torch.float32)
        self.encoded, self.predicted, self.weight, self.bias = (x.to(wide) for x in inputs)
        self.grads = [
            torch.zeros_like(x) for x in (self.encoded, self.predicted, self.weight, self.bias)
        ]
        self.next_tokens = next_tokens
        self.buffer = self.bias.new_empty(cells, len(self.bias))
        self.current: _Slice | None = None  # whose logits are in the buffer

    def scores(self, blocks: _Slice) -> Tensor:
        """Returns the log-probabilities of blank and next token in each cell, [2, N].

        Keeps `powers` and `total` for `backward`: softmax = powers / total.
        """
        self.hidden = self._hidden(blocks)
        self.emitted = torch.cat([self.next_tokens[b.nodes].repeat(b.height) for b in blocks])[
            :, None
        ]
        logits = self.buffer[: len(self.hidden)]  # reused: new memory costs as much as a pass
        torch.addmm(self.bias, self.hidden, self.weight.t(), out=logits)
        exits = torch.stack((logits[:, -1], logits.gather(1, self.emitted).squeeze(1)))
        top = logits.amax(1)
        self.powers = logits.sub_(top[:, None]).exp_()
        self.total = self.powers.sum(1)
        self.current = blocks
        return exits - top - self.total.log()  # in this order: top may be large

    def _hidden(self, blocks: _Slice) -> Tensor:
        """Returns relu(enc + pred) of each cell, [N, H]."""
        sizes = [b.cells for b in blocks]
        hidden = self.encoded.new_empty(sum(sizes), self.encoded.shape[2])
        for b, part in zip(blocks, hidden.split(sizes), strict=True):
            encoded, predicted = self.encoded[b.frames], self.predicted[b.nodes]
            torch.add(encoded[:, None], predicted, out=part.view(b.height, b.width, -1))
        return hidden.relu_()

    def backward(self, blocks: _Slice, by_scores: Tensor) -> None:
        """Adds to the gradients, given the gradient of the loss by the scores, [2, N]."""
        if self.current is not blocks:
            self.scores(blocks)
        self.current = None  # the logits become their gradient:
        # softmax * (visits of the cell) - (visits that took this exit)
        by_blank, by_emit = by_scores
        grad = self.powers.mul_((-(by_blank + by_emit) / self.total)[:, None])
        grad[:, -1] += by_blank
        grad.scatter_add_(1, self.emitted, by_emit[:, None])
        encoded, predicted, weight, bias = self.grads
        weight.addmm_(grad.t(), self.hidden)
        bias.add_(grad.sum(0))
        by_hidden = (grad @ self.weight).mul_(self.hidden > 0)
        for b, part in zip(blocks, by_hidden.split([b.cells for b in blocks]), strict=True):
            cells = part.view(b.height, b.width, -1)
            encoded[b.frames] += cells.sum(1)
            predicted[b.nodes] += cells.sum(0)


def _group_loss(
    joint: _Joint, slices: list[_Slice], shapes: list[tuple[int, int]],
    frames: Tensor, tokens: Tensor, scale: Tensor,
) -> Tensor:  # fmt: skip
    """Returns the losses of a group of utterances, [B]; adds their gradients times scale [B].

    shapes: (frames, tokens + 1) of each utterance; the slices hold their cells in order.
    """
    flat = torch.cat([joint.scores(blocks) for blocks in slices], 1)  # [2, N]
    heights, widths = zip(*shapes, strict=True)
    box = flat.new_full((2, len(shapes), max(heights), max(widths)), LOG_ZERO)
    parts = flat.split([height * width for height, width in shapes], 1)
    for i, (shape, part) in enumerate(zip(shapes, parts, strict=True)):
        box[:, i, : shape[0], : shape[1]] = part.view(2, *shape)
    nll, by_blank, by_emit = lattice(box[0], box[1, ..., :-1], frames, tokens)
    by_box = torch.stack((by_blank, F.pad(by_emit, (0, 1)))) * scale[:, None, None]
    by_flat = torch.cat([by_box[:, i, :t, :u].flatten(1) for i, (t, u) in enumerate(shapes)], 1)
    by_slices = by_flat.split([sum(b.cells for b in blocks) for blocks in slices], 1)
    # In reverse, because the logits of the last slice are still in the buffer.
    for blocks, by_scores in reversed(list(zip(slices, by_slices, strict=True))):
        joint.backward(blocks, by_scores)
    return nll


class _JointLoss(torch.autograd.Function):
    """Computes all gradients in the forward pass, while the logits are in memory."""

    @staticmethod
    def forward(
        ctx: Any, encoded: Tensor, predicted: Tensor, weight: Tensor, bias: Tensor,
        targets: Tensor, frames: Tensor, tokens: Tensor, scale: Tensor, max_logits: int,
    ) -> Tensor:  # fmt: skip
        shapes = [(t, u + 1) for t, u in zip(frames.tolist(), tokens.tolist(), strict=True)]
        # The last node emits nothing and padding may be no token: any token has a share of zero.
        node = torch.arange(targets.shape[1] + 1, device=targets.device)
        next_tokens = F.pad(targets, (0, 1)).masked_fill(node >= tokens[:, None], 0)
        # With a small vocabulary the hidden layer is larger than the logits.
        plan = list(_group_utterances(shapes, max(1, max_logits // max(weight.shape))))
        cells = max(sum(b.cells for b in blocks) for slices in plan for blocks in slices)
        total = torch.zeros((), device=encoded.device)
        with torch.autocast(encoded.device.type, enabled=False):
            joint = _Joint([encoded, predicted, weight, bias], next_tokens, cells)
            for slices in plan:
                members = list(dict.fromkeys(b.utterance for blocks in slices for b in blocks))
                at = torch.tensor(members, device=frames.device)
                weights = scale[at].to(joint.bias.dtype)
                nll = _group_loss(
                    joint, slices, [shapes[b] for b in members], frames[at], tokens[at], weights
                )
                total = total + nll @ weights
        ctx.save_for_backward(*joint.grads)
        ctx.dtypes = [x.dtype for x in (encoded, predicted, weight, bias)]
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        # Narrowed last: the outer gradient may lift these into the range of float16.
        grads = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return (*((g * outer[0]).to(dtype) for g, dtype in grads), None, None, None, None, None)


def joint_loss(
    encoded: Tensor, predicted: Tensor, weight: Tensor, bias: Tensor,
    targets: Tensor, frames: Tensor, tokens: Tensor, scale: Tensor, max_logits: int = MAX_LOGITS,
) -> Tensor:  # fmt: skip
    """Computes the sum over utterances of scale[b] * RNN-T loss.

    logits = relu(encoded + predicted) W' + bias.  Computes in float32 (float64 if an input is),
    also under autocast; gradients have the types of the inputs.

    Args:
        encoded: [B, T, H] projection of the encoder.
        predicted: [B, U+1, H] projection of the predictor.
        weight: [V+1, H], blank last.
        bias: [V+1].
        targets: [B, U].
        frames: [B] true lengths.
        tokens: [B] true lengths.
        scale: [B].
        max_logits: Logits in memory at once.
    """
    loss: Tensor = _JointLoss.apply(
        encoded, predicted, weight, bias, targets, frames, tokens, scale, max_logits
    )
    return loss
