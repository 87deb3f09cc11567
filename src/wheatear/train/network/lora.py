"""Fine-tuning a part of a network: frozen encoder layers, low-rank adapters.

Source: Hu et al. 2021 (LoRA, arXiv 2106.09685).
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from wheatear.errors import PlanError
from wheatear.train.network.transducer import Network


class _LowRank(nn.Module):
    """Maps weight [n, m] to weight + up [n, r] @ down [r, m]; up is zero at first."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.down = nn.Parameter(torch.empty(rank, columns))
        self.up = nn.Parameter(torch.zeros(rows, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def freeze_layers(network: Network, layers: int) -> None:
    """Excludes the subsampling and the first `layers` encoder layers from training."""
    if not 0 <= layers <= network.config.layers:
        raise PlanError(f"freeze is {layers}, but the encoder has {network.config.layers} layers")
    if layers:
        for module in (network.encoder.pre_encode, *network.encoder.layers[:layers]):
            module.requires_grad_(False)


def add_adapters(network: Network, rank: int) -> None:
    """Adds an adapter to each matrix of the encoder layers that are not frozen.

    The encoder's own weights are frozen.  Predictor, joint and prompt kernel are trained whole,
    since a new locale has new rows in them.
    """
    if not 1 <= rank <= network.config.d_model:
        raise PlanError(f"lora is {rank}; give a rank from 1 to {network.config.d_model}")
    chosen = [
        module
        for module in network.encoder.layers.modules()
        if isinstance(module, nn.Linear) and module.weight.requires_grad
    ]
    network.encoder.requires_grad_(False)
    for module in chosen:
        parametrize.register_parametrization(module, "weight", _LowRank(module.weight, rank))


def merged_state_dict(network: Network) -> dict[str, Tensor]:
    """Returns the state dict with the adapters added to their weights."""
    found = {}
    for name, value in network.state_dict().items():
        if ".parametrizations." not in name:
            found[name] = value
        elif name.endswith(".original"):
            owner = name.partition(".parametrizations.")[0]
            found[f"{owner}.weight"] = cast(nn.Linear, network.get_submodule(owner)).weight.detach()
    return found
