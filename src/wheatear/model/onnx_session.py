"""onnxruntime sessions with explicit threads, checked weights, and errors of one line."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from wheatear.errors import BundleError
from wheatear.model.onnx_weights import check_external_data

_MAX_THREADS = 8
_MAX_LINE = 400  # characters of an error
_DTYPES = {"float": "float32", "double": "float64"}  # onnxruntime's names -> numpy's


def default_threads() -> int:
    """Returns the number of available processors, at most eight: chunks are short."""
    if hasattr(os, "sched_getaffinity"):
        return min(_MAX_THREADS, len(os.sched_getaffinity(0)))
    return min(_MAX_THREADS, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output of a graph."""

    name: str
    shape: tuple[int | None, ...]
    """Sizes; None for any."""
    dtype: np.dtype[Any]

    @property
    def integer(self) -> bool:
        """True for ids, lengths and counts."""
        return np.issubdtype(self.dtype, np.integer)


class Session:
    """One graph, ready to run; safe to use from several threads."""

    def __init__(self, path: Path, threads: int) -> None:
        """Raises BundleError if onnxruntime cannot load the graph."""
        self.path = path
        try:
            check_external_data(path)
        except (ValueError, OSError) as error:
            raise BundleError(f"cannot load {path}: {_line(error)}") from error
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A spinning pool uses a core between the chunks of a live stream.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no base of their own
            raise BundleError(
                f"onnxruntime {ort.__version__} cannot load {path}: {_line(error)}; "
                f"upgrade onnxruntime or convert the checkpoint again"
            ) from error

    def expect(self, shapes: Mapping[str, Sequence[int | None]]) -> None:
        """Raises BundleError unless the graph has inputs and outputs of these shapes.

        None is any size.
        """
        values = [*self._session.get_inputs(), *self._session.get_outputs()]
        found = {value.name: value.shape for value in values}
        for name, shape in shapes.items():
            actual = found.get(name)
            if (
                actual is None
                or len(actual) != len(shape)
                or any(want not in (None, size) for want, size in zip(shape, actual, strict=True))
            ):
                raise BundleError(
                    f"{self.path} does not fit its manifest: {name} is {actual}, not {list(shape)}"
                )

    @property
    def inputs(self) -> list[TensorInfo]:
        return [_tensor_info(value) for value in self._session.get_inputs()]

    @property
    def outputs(self) -> list[TensorInfo]:
        return [_tensor_info(value) for value in self._session.get_outputs()]

    @property
    def metadata(self) -> dict[str, str]:
        """Custom metadata of the graph."""
        return self._session.get_modelmeta().custom_metadata_map

    def run(self, outputs: Sequence[str], inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Returns the named outputs. Raises BundleError if the graph does not run."""
        try:
            return self._session.run(outputs, dict(inputs))  # type: ignore[return-value]
        except Exception as error:  # onnxruntime's have no base of their own
            raise BundleError(f"{self.path} does not run: {_line(error)}") from error


def check_outputs(
    session: Session, outputs: Sequence[NDArray[Any]], shapes: Sequence[tuple[int, ...]]
) -> None:
    """Raises BundleError unless outputs are float32 of these shapes."""
    for output, shape in zip(outputs, shapes, strict=True):
        if output.shape != shape or output.dtype != np.float32:
            raise BundleError(
                f"{session.path} computes {output.dtype} of {list(output.shape)}, not float32 of "
                f"{list(shape)}"
            )


def _line(error: Exception) -> str:
    """Returns the message of an error, which may have pages, as a line."""
    line = " ".join(str(error).split())
    return line if len(line) <= _MAX_LINE else f"{line[:_MAX_LINE]} ..."


def _tensor_info(value: Any) -> TensorInfo:
    name = value.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorInfo(value.name, shape, np.dtype(_DTYPES.get(name, name)))
