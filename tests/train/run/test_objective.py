"""Training objective: which parts a loss has."""

from __future__ import annotations

import pytest
import torch
from training_runs import SIZES

from wheatear.train.data.batches import IGNORE, Batch
from wheatear.train.network.transducer import Network, NetworkConfig
from wheatear.train.run.objective import Heads, LossWeights, loss_of_batch

CONFIG = NetworkConfig(vocab_size=10, **SIZES | {"dropout": 0.0})


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(0)
    labels = torch.full((2, 12), IGNORE)
    labels[0, :4] = torch.tensor([10, 1, 2, 10])
    return Batch(
        torch.randn(2, 80, 128) - 8, torch.tensor([80, 60]), torch.tensor([[1, 2], [3, 0]]),
        torch.tensor([2, 1]), labels, torch.tensor([0, 101]), 1.4,
    )  # fmt: skip


def loss(batch: Batch, weights: LossWeights) -> tuple[float, dict[str, float]]:
    torch.manual_seed(1)
    network, heads = Network(CONFIG), Heads(CONFIG)
    total, parts = loss_of_batch(network, heads, batch, 1, weights)
    total.backward()
    return total.item(), parts


def test_weights_choose_the_parts_of_the_loss(batch: Batch) -> None:
    total, parts = loss(batch, LossWeights(ctc=0.0))
    assert parts.keys() == {"rnnt"}
    assert total == pytest.approx(parts["rnnt"])
    total, parts = loss(batch, LossWeights(ctc=0.25))
    assert total == pytest.approx(0.75 * parts["rnnt"] + 0.25 * parts["ctc"], rel=1e-5)
    _, parts = loss(batch, LossWeights(frame=1.0))
    assert 0 <= parts["frame accuracy"] <= 1


def test_token_dropout_changes_only_the_transducer(batch: Batch) -> None:
    _, plain = loss(batch, LossWeights())
    _, dropped = loss(batch, LossWeights(token_dropout=0.99))
    assert dropped["rnnt"] != plain["rnnt"]
    assert dropped["ctc"] == pytest.approx(plain["ctc"])
