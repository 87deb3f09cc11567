"""The network in torch: data, training, fine-tuning and export."""

from wheatear.privacy import torch_cache_here

torch_cache_here()  # before torch, which makes the folder as it is imported
