"""The package wheatear-native: whether it is there and wanted, and the weights it is given.

Optional: without it, or with `WHEATEAR_NATIVE=0`, a bundle's graphs run in onnxruntime, and so do
those of a bundle that it has no shape for. `WHEATEAR_NATIVE=1` insists on it, and the name of an
instruction set (`avx2`) on that one.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wheatear.errors import BundleError, MissingExtraError
from wheatear.model.bundle import Bundle

NATIVE_VARIABLE = "WHEATEAR_NATIVE"

# What graphs that do not fit end in.
_MISFITS = (ValueError, LookupError, TypeError, ArithmeticError, OSError, MemoryError)

Tensors = Mapping[str, NDArray[Any]]
Made = TypeVar("Made")


def if_native(bundle: Bundle, make: Callable[[Any, str], Made]) -> Made | None:
    """What `make` makes of the package and the instruction set asked for, "" if none was; None
    where there is no package, it is not wanted, or the bundle's graphs have other weights than it
    knows.

    Raises MissingExtraError or BundleError if it was insisted on.
    """
    choice = os.environ.get(NATIVE_VARIABLE, "")
    if choice == "0":
        return None
    try:
        native = import_module("wheatear_native")
    except ImportError as error:
        if not choice:
            return None
        raise MissingExtraError(
            f"{NATIVE_VARIABLE}={choice} asks for wheatear-native, which is not there ({error}); "
            f"install it or unset {NATIVE_VARIABLE}"
        ) from error
    path = "" if choice == "1" else choice
    if path and path not in native.paths():
        raise BundleError(
            f"{NATIVE_VARIABLE}={choice}: wheatear-native computes by "
            f"{', '.join(native.paths())} on this machine; 0 is without it, 1 by the fastest"
        )
    try:
        return make(native, path)
    except _MISFITS as error:
        if not choice:
            return None
        raise BundleError(
            f"wheatear-native cannot run {bundle.path}: {error}; unset {NATIVE_VARIABLE}"
        ) from error


def native_isa() -> str | None:
    """The instruction set that models are run with, as far as wheatear-native runs them."""
    choice = os.environ.get(NATIVE_VARIABLE, "")
    with suppress(ImportError):
        if choice != "0":
            fastest: str = import_module("wheatear_native").paths()[0]
            return fastest if choice in ("", "1") else choice
    return None


@contextmanager
def use_native(choice: str) -> Iterator[None]:
    """Sets the variable for the models that are loaded in the block."""
    before = os.environ.get(NATIVE_VARIABLE)
    os.environ[NATIVE_VARIABLE] = choice
    try:
        yield
    finally:
        del os.environ[NATIVE_VARIABLE]
        if before is not None:
            os.environ[NATIVE_VARIABLE] = before


class NativeWeights:
    """The tensors of a graph as wheatear-native takes them; remembers which were asked for."""

    def __init__(self, native: Any, tensors: Tensors) -> None:
        self._native, self._tensors = native, tensors
        self._read: set[str] = set()

    def check_all_read(self) -> None:
        """Raises ValueError if the graph has weights that nobody asked for: it then computes
        something else.
        """
        unread = {
            name
            for name, tensor in self._tensors.items()
            if name not in self._read and tensor.dtype != np.int64
        }
        if unread:
            raise ValueError(f"it has weights for {', '.join(sorted(unread)[:3])}")

    def tensor(self, name: str, *shape: int) -> NDArray[Any]:
        """The tensor of that name. Raises KeyError, or ValueError if it is of another shape."""
        self._read.add(name)
        tensor = self._tensors[name]
        if shape and tensor.shape != shape:
            raise ValueError(f"{name} has the shape {list(tensor.shape)}, not {list(shape)}")
        return tensor

    def linear(self, name: str, inputs: int) -> list[Any]:
        """Weight and bias of a linear layer."""
        if f"{name}.codes" in self._tensors:
            codes, scales = (self.tensor(f"{name}.{part}") for part in ("codes", "scales"))
            if codes.dtype != np.uint8 or scales.dtype != np.float32:
                raise ValueError(f"{name} has codes or scales of another type")
            with np.errstate(over="ignore"):  # which wheatear-native refuses
                halves = scales.astype(np.float16)
            weight = self._native.Weight(codes, halves, inputs)
        else:
            weight = self.weight(self.tensor(f"{name}.weight"))
        return [weight, self.vector(f"{name}.bias", optional=True)]

    def vector(self, name: str, optional: bool = False) -> Any:
        if optional and name not in self._tensors:
            return self._native.Weight(None)
        return self.weight(self.tensor(name).reshape(-1))

    def weight(self, array: NDArray[Any]) -> Any:
        """A vector [n] or a matrix [inputs, outputs] in float32. Raises ValueError."""
        if array.dtype != np.float32:
            raise ValueError(f"a weight is of {array.dtype}, not of float32")
        return self._native.Weight(np.require(array, np.float32, ["C", "A"]))
