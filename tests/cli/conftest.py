"""A bundle of tiny random weights, corpora, and a made-up clock."""

from evaluation_runs import clock, corpus, speech
from random_bundles import models, random_models, tiny

__all__ = ["clock", "corpus", "models", "random_models", "speech", "tiny"]
