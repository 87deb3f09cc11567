"""What every container comes down to: a configuration, a vocabulary, license texts, and tensors
that stay on disk until they are needed, since a checkpoint is larger than we want to hold.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (gives numpy the bfloat16 that safetensors asks it for)
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from wheatear.errors import CheckpointError
from wheatear.model.pieces import Pieces

_LARGEST_HEADER = 16 << 20  # bytes; that of a thousand tensors and a vocabulary has 1 MB


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of a checkpoint, read anew at every call of `read`."""

    shape: tuple[int, ...]
    _load: Callable[[], NDArray[np.float32]]

    def read(self) -> NDArray[np.float32]:
        """The values, float32, of `shape`."""
        return self._load()


class CheckpointWeights:
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

    def axis(self, name: str, axis: int) -> int:
        """Length of an axis of a tensor."""
        shape = self.shape(name)
        if not -len(shape) <= axis < len(shape):
            raise CheckpointError(f"the checkpoint's tensor {name} has the shape {list(shape)}")
        return shape[axis]

    def read(self, name: str, *shape: int) -> NDArray[np.float32]:
        """The tensor of that name; with `shape`, refused if it has another one, and always if it
        holds anything but numbers."""
        stored = self._stored(name)
        if shape and stored.shape != shape:
            raise CheckpointError(
                f"the checkpoint's tensor {name} has the shape {list(stored.shape)}, "
                f"its configuration asks for {list(shape)}"
            )
        self._used.add(name)
        values = stored.read()
        if not np.all(np.isfinite(values)):
            raise CheckpointError(
                f"the checkpoint's tensor {name} has values that are not finite: the file is "
                f"damaged, or the training that it came from went astray"
            )
        return values

    def optional(self, name: str, *shape: int) -> NDArray[np.float32] | None:
        return self.read(name, *shape) if name in self else None

    def product(self, name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows x [n, inputs] through a linear layer, or a convolution of a single tap."""
        weight = self.read(f"{name}.weight")
        y = x @ weight.reshape(weight.shape[0], weight.shape[1]).T
        bias = self.optional(f"{name}.bias")
        return y if bias is None else y + bias

    def unused(self) -> list[str]:
        return sorted(self._tensors.keys() - self._used)

    def count(self) -> int:
        """Number of parameters, the preprocessor's constants not counted."""
        return sum(
            prod(tensor.shape)
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


@dataclass(frozen=True)
class Checkpoint:
    name: str
    config: dict[str, Any]
    """In the terms of NeMo's model_config.yaml, whatever the container."""
    vocabulary: Pieces
    weights: CheckpointWeights
    texts: dict[str, str]
    """License and notice texts by file name."""
    tokenizer: bytes | None = None
    """The serialised SentencePiece model, if the file holds one."""


def read_safetensors(
    path: Path, stack: ExitStack
) -> tuple[dict[str, str], dict[str, StoredTensor]]:
    """Metadata and tensors of a safetensors file, which stays open until the stack is closed.

    The library holds the header against the file: no tensor reaches past its end or into another.
    Raises CheckpointError if it is damaged.
    """
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > _LARGEST_HEADER:
        raise CheckpointError(
            f"{path} is not a readable safetensors file: its header would have {header:,} bytes"
        )
    try:
        archive = stack.enter_context(safe_open(path, framework="numpy"))
    except (SafetensorError, OSError, RecursionError, ValueError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error

    def read(key: str) -> NDArray[np.float32]:
        try:
            return np.asarray(archive.get_tensor(key), np.float32)
        except Exception as error:  # the library's own, and those of types that numpy has not
            raise CheckpointError(f"{path}: the tensor {key} cannot be read: {error}") from error

    def stored(key: str) -> StoredTensor:
        shape = tuple(archive.get_slice(key).get_shape())
        return StoredTensor(shape, lambda: read(key))

    tensors = {key: stored(key) for key in archive.keys()}  # noqa: SIM118
    return archive.metadata() or {}, tensors
