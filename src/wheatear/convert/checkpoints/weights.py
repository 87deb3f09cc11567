"""Configuration, vocabulary, license texts and tensors of a checkpoint, common to all containers.

Tensors stay on disk until they are read, because a checkpoint may be larger than the memory.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (registers bfloat16 with numpy, which safetensors needs)
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from wheatear.errors import CheckpointError
from wheatear.model.pieces import Pieces

_LARGEST_HEADER = 16 << 20  # bytes; a thousand tensors and a vocabulary take 1 MB


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor on disk; every call of `read` loads it again."""

    shape: tuple[int, ...]
    read: Callable[[], NDArray[np.float32]]
    """Returns the values in float32, of `shape`."""


class CheckpointWeights:
    """The state dict of a checkpoint by NeMo's names; records which tensors were read."""

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
        """Reads a tensor. Raises CheckpointError for another shape and for values not finite."""
        stored = self._stored(name)
        if shape and stored.shape != shape:
            raise CheckpointError(
                f"the checkpoint's tensor {name} has the shape {list(stored.shape)}, "
                f"but its configuration requires {list(shape)}"
            )
        self._used.add(name)
        values = stored.read()
        if not np.all(np.isfinite(values)):
            raise CheckpointError(
                f"the checkpoint's tensor {name} has values that are not finite: the file is "
                f"damaged, or its training diverged"
            )
        return values

    def optional(self, name: str, *shape: int) -> NDArray[np.float32] | None:
        return self.read(name, *shape) if name in self else None

    def linear(self, name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Applies a linear layer, or a convolution with one tap, to rows x [n, inputs]."""
        weight = self.read(f"{name}.weight")
        y = x @ weight.reshape(weight.shape[0], weight.shape[1]).T
        bias = self.optional(f"{name}.bias")
        return y if bias is None else y + bias

    def unused(self) -> list[str]:
        return sorted(self._tensors.keys() - self._used)

    def count(self) -> int:
        """Number of parameters, without the preprocessor's constants."""
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
    """An open checkpoint."""

    name: str
    config: dict[str, Any]
    """The configuration with the keys of NeMo's model_config.yaml, for every container."""
    vocabulary: Pieces
    weights: CheckpointWeights
    texts: dict[str, str]
    """License and notice texts by file name."""
    tokenizer: bytes | None = None
    """The serialized SentencePiece model, if the file holds one."""


def read_safetensors(
    path: Path, stack: ExitStack
) -> tuple[dict[str, str], dict[str, StoredTensor]]:
    """Opens a safetensors file until the stack closes; returns its metadata and its tensors.

    The library checks that no tensor reaches past the end of the file or into another one.
    Raises CheckpointError for a damaged file.
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
        except Exception as error:  # the library's errors, and those of types unknown to numpy
            raise CheckpointError(f"{path}: the tensor {key} cannot be read: {error}") from error

    def stored(key: str) -> StoredTensor:
        return StoredTensor(tuple(archive.get_slice(key).get_shape()), lambda: read(key))

    tensors = {key: stored(key) for key in archive.keys()}  # noqa: SIM118
    return archive.metadata() or {}, tensors
