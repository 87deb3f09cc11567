"""Optional C++ backend wheatear-native: its choice, and the weights that it receives.

Without the package, with `WHEATEAR_NATIVE=0`, and for bundles that it does not support, graphs run
in onnxruntime. `WHEATEAR_NATIVE=1` requires it, and the name of an instruction set (`avx2`) that
one.
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

# Errors of bundles that are not supported.
_UNSUPPORTED = (ValueError, LookupError, TypeError, ArithmeticError, OSError, MemoryError)

Tensors = Mapping[str, NDArray[Any]]
Backend = TypeVar("Backend")


def if_native(bundle: Bundle, make: Callable[[Any, str], Backend]) -> Backend | None:
    """Returns `make(native, isa)`, or None if the package is missing, disabled or unsupported.

    Args:
        bundle: Bundle that will run.
        make: Creates a backend from the package and an instruction set; "" for the fastest.

    Raises:
        MissingExtraError: The package is required and missing.
        BundleError: The package is required and does not support the bundle or the machine.
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
            f"{NATIVE_VARIABLE}={choice} requires wheatear-native, which is not installed "
            f"({error}); install it or unset {NATIVE_VARIABLE}"
        ) from error
    isa = "" if choice == "1" else choice
    if isa and isa not in native.instruction_sets():
        raise BundleError(
            f"{NATIVE_VARIABLE}={choice}: wheatear-native supports "
            f"{', '.join(native.instruction_sets())} on this machine; 0 disables it, "
            f"1 chooses the fastest"
        )
    try:
        return make(native, isa)
    except _UNSUPPORTED as error:
        if not choice:
            return None
        raise BundleError(
            f"wheatear-native cannot run {bundle.path}: {error}; unset {NATIVE_VARIABLE}"
        ) from error


def native_isa() -> str | None:
    """Returns the instruction set of wheatear-native; None without it."""
    choice = os.environ.get(NATIVE_VARIABLE, "")
    with suppress(ImportError):
        if choice != "0":
            fastest: str = import_module("wheatear_native").instruction_sets()[0]
            return fastest if choice in ("", "1") else choice
    return None


@contextmanager
def use_native(choice: str) -> Iterator[None]:
    """Sets the variable for models that are loaded in a block."""
    before = os.environ.get(NATIVE_VARIABLE)
    os.environ[NATIVE_VARIABLE] = choice
    try:
        yield
    finally:
        del os.environ[NATIVE_VARIABLE]
        if before is not None:
            os.environ[NATIVE_VARIABLE] = before


class NativeWeights:
    """Tensors of a graph for wheatear-native; records which were read."""

    def __init__(self, native: Any, tensors: Tensors) -> None:
        self._native, self._tensors = native, tensors
        self._read: set[str] = set()

    def check_all_read(self) -> None:
        """Raises ValueError if weights were not read: the graph then computes something else."""
        unread = {
            name
            for name, tensor in self._tensors.items()
            if name not in self._read and tensor.dtype != np.int64
        }
        if unread:
            raise ValueError(f"it has weights for {', '.join(sorted(unread)[:3])}")

    def tensor(self, name: str, *shape: int) -> NDArray[Any]:
        """Returns a tensor. Raises KeyError, or ValueError if it has another shape."""
        self._read.add(name)
        tensor = self._tensors[name]
        if shape and tensor.shape != shape:
            raise ValueError(f"{name} has the shape {list(tensor.shape)}, not {list(shape)}")
        return tensor

    def linear(self, name: str, inputs: int) -> list[Any]:
        """Returns weight and bias of a linear layer."""
        if f"{name}.codes" in self._tensors:
            codes, scales = (self.tensor(f"{name}.{part}") for part in ("codes", "scales"))
            if codes.dtype != np.uint8 or scales.dtype != np.float32:
                raise ValueError(f"{name} has codes or scales of another type")
            with np.errstate(over="ignore"):  # wheatear-native rejects infinity
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
        """Returns a vector [n] or matrix [inputs, outputs] of float32. Raises ValueError."""
        if array.dtype != np.float32:
            raise ValueError(f"a weight is of {array.dtype}, not of float32")
        return self._native.Weight(np.require(array, np.float32, ["C", "A"]))
