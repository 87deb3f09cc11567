"""Tensors that stay on disk until they are needed: a checkpoint is larger than we want to hold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wheatear.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of a checkpoint, read anew at every call of `read`."""

    shape: tuple[int, ...]
    _load: Callable[[], NDArray[np.float32]]

    def read(self) -> NDArray[np.float32]:
        """The values, float32, of `shape`."""
        return self._load()


class Weights:
    """The state dict of a checkpoint by NeMo's names; remembers what has been asked for."""

    def __init__(self, tensors: Mapping[str, StoredTensor]) -> None:
        self._tensors = tensors
        self._used: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def names(self) -> list[str]:
        return sorted(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._stored(name).shape

    def read(self, name: str, *shape: int) -> NDArray[np.float32]:
        """The tensor of that name; with `shape`, refused if it has another one."""
        stored = self._stored(name)
        if shape and stored.shape != shape:
            raise CheckpointError(
                f"the checkpoint's tensor {name} has the shape {list(stored.shape)}, "
                f"its configuration asks for {list(shape)}"
            )
        self._used.add(name)
        return stored.read()

    def optional(self, name: str, *shape: int) -> NDArray[np.float32] | None:
        return self.read(name, *shape) if name in self else None

    def unused(self) -> list[str]:
        return sorted(self._tensors.keys() - self._used)

    def count(self) -> int:
        """Number of parameters, the preprocessor's constants not counted."""
        return sum(
            int(np.prod(tensor.shape))
            for name, tensor in self._tensors.items()
            if not name.startswith("preprocessor.")
        )

    def _stored(self, name: str) -> StoredTensor:
        try:
            return self._tensors[name]
        except KeyError:
            raise CheckpointError(
                f"the checkpoint has no tensor {name}: it is incomplete, or of another architecture"
            ) from None
