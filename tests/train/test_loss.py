"""The loss against enumeration of every path, in float64, and against finite differences."""

from __future__ import annotations

import itertools

import pytest
import torch

from wheatear.train.loss import joint_loss, lattice

FRAMES, TOKENS = torch.tensor([6, 5, 3, 1]), torch.tensor([4, 2, 0, 3])
PIECES, HIDDEN = 7, 5
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def by_enumeration(blank: torch.Tensor, emit: torch.Tensor, frames: int, tokens: int):
    """-log of the summed probability of every path; blank [T, U+1], emit [T, U]."""
    paths = []
    # A path says its tokens in frames of its choice, in order; each frame ends with a blank.
    for said in itertools.combinations_with_replacement(range(frames), tokens):
        emitted = sum((emit[t, u] for u, t in enumerate(said)), torch.zeros(()).double())
        left = sum(blank[t, sum(s <= t for s in said)] for t in range(frames))
        paths.append(emitted + left)
    return -torch.logsumexp(torch.stack(paths), 0)


def example(device: str = "cpu") -> list[torch.Tensor]:
    torch.manual_seed(3)
    shapes = [(4, 6, HIDDEN), (4, 5, HIDDEN), (PIECES + 1, HIDDEN), (PIECES + 1,)]
    return [torch.randn(s, dtype=torch.float64, device=device).requires_grad_() for s in shapes]


TARGETS = torch.randint(0, PIECES, (4, 4), generator=torch.Generator().manual_seed(1))
SCALE = torch.tensor([0.5, 1.0, 2.0, 0.3], dtype=torch.float64)


def reference(encoded, predicted, weight, bias):
    total = 0
    for b, (t, u) in enumerate(zip(FRAMES.tolist(), TOKENS.tolist(), strict=True)):
        hidden = torch.relu(encoded[b, :t, None] + predicted[b, None, : u + 1])
        log = torch.log_softmax(hidden @ weight.t() + bias, -1)
        emit = torch.stack([log[:, i, int(TARGETS[b, i])] for i in range(u)], 1) if u else None
        nll = by_enumeration(log[..., PIECES], emit, t, u)
        total = total + SCALE[b] * nll
    return total


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("group", [1 << 24, 60])  # all utterances at once, and a few at a time
def test_loss_and_gradient_equal_enumeration(device: str, group: int) -> None:
    ours, theirs = example(device), example()
    rest = [x.to(device) for x in (TARGETS, FRAMES, TOKENS, SCALE)]
    loss = joint_loss(*ours, *rest, group=group)
    expected = reference(*theirs)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-10)
    loss.backward()
    expected.backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad.cpu(), b.grad, atol=1e-10, rtol=0)


def test_gradient_equals_finite_differences() -> None:
    inputs = example()
    assert torch.autograd.gradcheck(
        lambda *x: joint_loss(*x, TARGETS, FRAMES, TOKENS, SCALE), inputs, eps=1e-6, atol=1e-6
    )


def test_float32_is_close() -> None:
    single = [x.detach().float().requires_grad_() for x in example()]
    loss = joint_loss(*single, TARGETS, FRAMES, TOKENS, SCALE.float())
    assert loss.item() == pytest.approx(reference(*example()).item(), rel=1e-5)


def test_every_path_leaves_each_frame_once_and_says_each_token_once() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 6, 5, 2).log_softmax(-1)
    _, by_blank, by_emit = lattice(logits[..., 0], logits[:, :, :4, 1], FRAMES, TOKENS)
    for b in range(4):
        torch.testing.assert_close(-by_blank[b].sum(), FRAMES[b].float())
        torch.testing.assert_close(-by_emit[b].sum(), TOKENS[b].float())
