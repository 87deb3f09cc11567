"""The network in torch: data, training, fine-tuning and export."""

from wheatear.common.telemetry import torch_cache_here

torch_cache_here()  # before torch, which makes the folder as it is imported
