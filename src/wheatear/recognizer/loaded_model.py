"""A model that is ready to run, wherever it comes from."""

from dataclasses import dataclass

from wheatear.decoder.networks import Networks
from wheatear.encoder.encoder import ChunkedEncoder
from wheatear.model.bundle import ModelFolder
from wheatear.model.vocabulary import Vocabulary


@dataclass(frozen=True)
class LoadedModel(ModelFolder):
    """A model folder with its networks opened; `loading.open_model` makes one."""

    vocabulary: Vocabulary
    encoder: ChunkedEncoder
    networks: Networks
