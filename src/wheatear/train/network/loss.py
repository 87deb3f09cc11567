"""RNN-T loss with the joint inside (Graves 2012, arXiv 1211.3711).

The logits of all utterances together, [B, T, U+1, V+1], would not fit.  Here they exist for one
slice of cells at a time and turn into their own gradient in place; a cell (t, u) of the lattice
is frame t after u tokens.  Utterances that fit share a slice, packed without padding, and their
logits are computed once.  Of one that does not fit, a first pass over its slices keeps two
numbers a cell (blank and next token, normalised), the lattice is solved on these, and a second
pass computes the logits again for the gradient.  Plain torch, so the same code runs on CPU and
CUDA.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
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
        # With one frame and no token nothing depends on emit: its gradient has to be made.
        wanted = (blank, emit)
        by_blank, by_emit = torch.autograd.grad(nll.sum(), wanted, materialize_grads=True)
    return nll.detach(), by_blank, by_emit


class _Block(NamedTuple):
    """Frames [t, t + height) x nodes [u, u + width) of the lattice of one utterance."""

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


_Slice = list[_Block]  # what is computed at once; its cells lie end to end


def _cut(utterance: int, height: int, width: int, most: int) -> Iterator[_Slice]:
    """Slices of at most `most` cells, in the order of the cells: whole frames, or parts of one."""
    rows, columns = max(1, most // width), min(width, most)
    for t in range(0, height, rows):
        for u in range(0, width, columns):
            yield [_Block(utterance, t, min(rows, height - t), u, min(columns, width - u))]


def _plan(shapes: list[tuple[int, int]], most: int) -> Iterator[list[_Slice]]:
    """Groups of utterances whose lattices are solved together; slices have at most `most` cells.

    Small utterances come in groups of one slice, which need no second pass.  The others make one
    group, for a lattice takes T + U steps, however many utterances it holds.
    """
    packed: _Slice = []
    large: list[_Slice] = []
    room = most
    for b, (height, width) in enumerate(shapes):
        if height * width > most:
            large += _cut(b, height, width, most)
            continue
        if height * width > room:
            yield [packed]
            packed, room = [], most
        packed.append(_Block(b, 0, height, 0, width))
        room -= height * width
    if packed:
        yield [packed]
    if large:
        yield large


class _Joint:
    """The joint, its gradients, and room for the logits of one slice."""

    def __init__(self, inputs: list[Tensor], said: Tensor, room: int) -> None:
        """said [B, U+1]: the token that each node would say; room: cells of the largest slice."""
        # Sums over 13,088 classes and hundreds of steps want float32, whatever comes in.
        wide = reduce(torch.promote_types, [x.dtype for x in inputs], torch.float32)
        self.encoded, self.predicted, self.weight, self.bias = (x.to(wide) for x in inputs)
        self.grads = [
            torch.zeros_like(x) for x in (self.encoded, self.predicted, self.weight, self.bias)
        ]
        self.said = said
        self.room = self.bias.new_empty(room, len(self.bias))
        self.held: _Slice | None = None  # whose logits the room holds

    def scores(self, blocks: _Slice) -> Tensor:
        """[2, N]: log-probability of blank and of the next token in each cell.

        Leaves what `descend` needs: softmax = powers / total.
        """
        self.hidden = self._hidden(blocks)
        self.next = torch.cat([self.said[b.nodes].repeat(b.height) for b in blocks])[:, None]
        logits = self.room[: len(self.hidden)]  # used again: new memory costs as much as a pass
        torch.addmm(self.bias, self.hidden, self.weight.t(), out=logits)
        exits = torch.stack((logits[:, -1], logits.gather(1, self.next).squeeze(1)))
        top = logits.amax(1)
        self.powers = logits.sub_(top[:, None]).exp_()
        self.total = self.powers.sum(1)
        self.held = blocks
        return exits - top - self.total.log()  # in this order: top may be large

    def _hidden(self, blocks: _Slice) -> Tensor:
        """relu(enc + pred) of each cell, [N, H]."""
        sizes = [b.cells for b in blocks]
        hidden = self.encoded.new_empty(sum(sizes), self.encoded.shape[2])
        for b, part in zip(blocks, hidden.split(sizes), strict=True):
            encoded, predicted = self.encoded[b.frames], self.predicted[b.nodes]
            torch.add(encoded[:, None], predicted, out=part.view(b.height, b.width, -1))
        return hidden.relu_()

    def descend(self, blocks: _Slice, by_scores: Tensor) -> None:
        """Adds to the gradients, given that of the loss by the scores, [2, N]."""
        if self.held is not blocks:
            self.scores(blocks)
        self.held = None  # the logits become their gradient:
        # softmax * (visits of the cell) - (visits that took this exit)
        by_blank, by_emit = by_scores
        grad = self.powers.mul_((-(by_blank + by_emit) / self.total)[:, None])
        grad[:, -1] += by_blank
        grad.scatter_add_(1, self.next, by_emit[:, None])
        encoded, predicted, weight, bias = self.grads
        weight.addmm_(grad.t(), self.hidden)
        bias.add_(grad.sum(0))
        by_hidden = (grad @ self.weight).mul_(self.hidden > 0)
        for b, part in zip(blocks, by_hidden.split([b.cells for b in blocks]), strict=True):
            cells = part.view(b.height, b.width, -1)
            encoded[b.frames] += cells.sum(1)
            predicted[b.nodes] += cells.sum(0)


def _solve(
    joint: _Joint, slices: list[_Slice], shapes: list[tuple[int, int]],
    frames: Tensor, tokens: Tensor, scale: Tensor,
) -> Tensor:  # fmt: skip
    """The losses of a group of utterances, [B]; adds their gradients times scale [B].

    shapes: (frames, tokens + 1) of each utterance, as numbers; the slices hold their cells in
    order.
    """
    flat = torch.cat([joint.scores(blocks) for blocks in slices], 1)  # [2, N]
    heights, widths = zip(*shapes, strict=True)
    box = flat.new_full((2, len(shapes), max(heights), max(widths)), NEVER)
    parts = flat.split([height * width for height, width in shapes], 1)
    for i, (shape, part) in enumerate(zip(shapes, parts, strict=True)):
        box[:, i, : shape[0], : shape[1]] = part.view(2, *shape)
    nll, by_blank, by_emit = lattice(box[0], box[1, ..., :-1], frames, tokens)
    by_box = torch.stack((by_blank, F.pad(by_emit, (0, 1)))) * scale[:, None, None]
    by_flat = torch.cat([by_box[:, i, :t, :u].flatten(1) for i, (t, u) in enumerate(shapes)], 1)
    by_slices = by_flat.split([sum(b.cells for b in blocks) for blocks in slices], 1)
    # Backwards, because the logits of the last slice are still there.
    for blocks, by_scores in reversed(list(zip(slices, by_slices, strict=True))):
        joint.descend(blocks, by_scores)
    return nll


class _JointLoss(torch.autograd.Function):
    """Computes all gradients in the forward pass, while the logits are there."""

    @staticmethod
    def forward(
        ctx: Any, encoded: Tensor, predicted: Tensor, weight: Tensor, bias: Tensor,
        targets: Tensor, frames: Tensor, tokens: Tensor, scale: Tensor, group: int,
    ) -> Tensor:  # fmt: skip
        shapes = [(t, u + 1) for t, u in zip(frames.tolist(), tokens.tolist(), strict=True)]
        # The last node says nothing, and padding may be no token: any will do, its share is zero.
        node = torch.arange(targets.shape[1] + 1, device=targets.device)
        said = F.pad(targets, (0, 1)).masked_fill(node >= tokens[:, None], 0)
        # Of a small vocabulary the hidden layer is larger than the logits.
        plan = list(_plan(shapes, max(1, group // max(weight.shape))))
        room = max(sum(b.cells for b in blocks) for slices in plan for blocks in slices)
        total = torch.zeros((), device=encoded.device)
        with torch.autocast(encoded.device.type, enabled=False):
            joint = _Joint([encoded, predicted, weight, bias], said, room)
            for slices in plan:
                members = list(dict.fromkeys(b.utterance for blocks in slices for b in blocks))
                at = torch.tensor(members, device=frames.device)
                weights = scale[at].to(joint.bias.dtype)
                nll = _solve(
                    joint, slices, [shapes[b] for b in members], frames[at], tokens[at], weights
                )
                total = total + nll @ weights
        ctx.save_for_backward(*joint.grads)
        ctx.dtypes = [x.dtype for x in (encoded, predicted, weight, bias)]
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        # Narrow last: the outer gradient may be what lifts these into the range of float16.
        grads = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return (*((g * outer[0]).to(dtype) for g, dtype in grads), None, None, None, None, None)


def joint_loss(
    encoded: Tensor, predicted: Tensor, weight: Tensor, bias: Tensor,
    targets: Tensor, frames: Tensor, tokens: Tensor, scale: Tensor, group: int = GROUP,
) -> Tensor:  # fmt: skip
    """Sum over utterances of scale[b] * RNN-T loss, with logits = relu(enc + pred) W' + bias.

    encoded [B, T, H] and predicted [B, U+1, H]: the joint's projections; weight [V+1, H], bias
    [V+1], blank last; targets [B, U]; frames, tokens, scale [B]; group: logits held at once.
    Computes in float32 (float64 if an input is), also under autocast; gradients have the inputs'
    types.
    """
    loss: Tensor = _JointLoss.apply(
        encoded, predicted, weight, bias, targets, frames, tokens, scale, group
    )
    return loss
