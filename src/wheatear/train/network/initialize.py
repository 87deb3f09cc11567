"""Initial weights of a new network.

With PyTorch's defaults the signal fades in the subsampling by eight: on digits, frame accuracy
after 200 steps was 15 % with the defaults and 86 % with these weights.
"""

from __future__ import annotations

import torch
from torch import nn

from wheatear.train.network.transducer import Layer, Network


@torch.no_grad()
def initialize(network: Network) -> None:
    """Sets the weights in place."""
    mixing: list[nn.Module] = [network.encoder.pre_encode.out, network.joint.enc]
    mixing.append(network.joint.pred)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Conv2d) and module.groups == 1:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=1 / 3)  # nine taps: keeps the variance
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.1)
            module.weight[module.num_embeddings - 1] = 0  # no token yet
        elif isinstance(module, Layer):
            attention = module.self_attn
            mixing += [module.feed_forward1.linear1, module.feed_forward2.linear1]
            mixing += [attention.linear_q, attention.linear_k, attention.linear_v]
            mixing.append(module.conv.pointwise_conv1)
    if network.config.prompts:
        mixing += [network.prompt_kernel[0], network.prompt_kernel[2]]
    for module in mixing:
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Conv1d):
            nn.init.xavier_uniform_(module.weight.squeeze(-1))
