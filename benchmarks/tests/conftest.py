"""A bundle of tiny random weights."""

from random_bundles import models, random_models, tiny

__all__ = ["models", "random_models", "tiny"]
