"""Reads the tensors of a file written by torch.save, without torch and without running its code.

The file is a zip with a pickle of the state dict, and one raw record for each storage. A pickle is
a program. `pickle_machine.py` runs it with a few known names, which can only describe tensors. A
program that refers to any other name is refused, and the message states the name.
"""

import io
import reprlib
import struct
import zipfile
import zlib
from collections.abc import Mapping
from math import prod
from typing import IO, Any, NamedTuple, cast

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from wheatear.convert.checkpoints.pickle_machine import LARGEST_PROGRAM, PickleMachine, StateDict
from wheatear.convert.checkpoints.weights import StoredTensor
from wheatear.errors import CheckpointError

_DTYPES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2",
    "BFloat16Storage": ml_dtypes.bfloat16, "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip
# Raised by zipfile for a damaged or encrypted archive.
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError,
    OverflowError, struct.error,
)  # fmt: skip
_LONGEST_DIRECTORY = 4 << 20  # bytes of a zip's list of records; a thousand tensors take 80 kB
_MOST_AXES = 8


class _StorageType(NamedTuple):
    dtype: np.dtype[Any]


class _Storage(NamedTuple):
    dtype: np.dtype[Any]
    record: str


class _View(NamedTuple):
    """A strided window on a storage: the arguments of torch's `_rebuild_tensor_v2`."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.storage.dtype.itemsize


def read_state_dict(file: IO[bytes], name: str) -> dict[str, StoredTensor]:
    """Returns the tensors of a torch.save file by name; the file must stay open to read them.

    Raises CheckpointError for another kind of file, a damaged one, and one that would run code.
    """
    archive, records = _open_zip(file, name)
    pickles = [entry for entry in records if entry.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(f"{name} is not a torch checkpoint: it holds {len(pickles)} pickles")
    root = pickles[0].removesuffix("data.pkl")
    if (size := records[pickles[0]].file_size) > LARGEST_PROGRAM:
        raise CheckpointError(f"{name} is refused: its pickle has {size:,} bytes")
    order = records.get(f"{root}byteorder")
    try:
        written = b"little" if order is None else archive.read(order)
        program = archive.read(pickles[0])
    except _ZIP_ERRORS as error:
        raise CheckpointError(f"{name} is damaged: {error}") from error
    if written != b"little":
        raise CheckpointError(f"{name} was written on a big-endian machine: not supported")
    content = _unpickle(program, name)
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict):
        raise CheckpointError(f"{name} holds a {type(state).__name__}, not a state dict")
    views = {str(key): view for key, view in state.items() if isinstance(view, _View)}
    if not views:
        raise CheckpointError(f"{name} holds no tensors")
    size, values = file.seek(0, io.SEEK_END), sum(view.nbytes for view in views.values())
    if values > 4 * size + (1 << 24):  # some tensors may share their values
        raise CheckpointError(
            f"{name} is refused: its tensors would take {values:,} bytes out of a file of {size:,}"
        )
    return {key: _stored(archive, records, root, key, view) for key, view in views.items()}


def _open_zip(file: IO[bytes], name: str) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """Opens a zip and checks its list of records, which is returned by name."""
    bounded = _BoundedReader(file)
    try:
        archive = zipfile.ZipFile(cast("IO[bytes]", bounded))
    except _ZIP_ERRORS as error:
        raise CheckpointError(
            f"{name} is not a checkpoint of torch 1.6 or newer (no zip archive): {error}"
        ) from error
    bounded.most = None
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError(f"{name} is compressed, which torch never does")
    size = file.seek(0, io.SEEK_END)
    if (
        any(entry.file_size != entry.compress_size or entry.header_offset < 0 for entry in entries)
        or sum(entry.file_size for entry in entries) > size
        or len({entry.filename for entry in entries}) < len(entries)
    ):
        raise CheckpointError(f"{name} is damaged: its records do not fit into the file")
    return archive, {entry.filename: entry for entry in entries}


class _BoundedReader:
    """A file for zipfile, which reads the whole list of records at once at any claimed length."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.most: int | None = _LONGEST_DIRECTORY
        """Most bytes of one read; None for no limit."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        if self.most is not None and size > self.most:
            raise zipfile.BadZipFile(f"its list of records has {size:,} bytes")
        return self._file.read(size)


def _unpickle(program: bytes, name: str) -> Any:
    try:
        return PickleMachine(_find, _load_storage).run(program)
    except CheckpointError as error:
        raise CheckpointError(f"{name} is refused: {error}") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise CheckpointError(
            f"{name} is damaged: its pickle cannot be read ({type(error).__name__}: {error})"
        ) from error


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any) -> _View:
    """Replaces torch's `_rebuild_tensor_v2`; the rest is gradients, hooks, metadata."""
    if (
        not isinstance(storage, _Storage)
        or not all(isinstance(n, tuple) and len(n) <= _MOST_AXES for n in (size, stride))
        or len(size) != len(stride)
        or not all(type(n) is int and 0 <= n < 1 << 48 for n in (offset, *size, *stride))
    ):
        raise CheckpointError("it holds a malformed tensor")
    return _View(storage, offset, size, stride)


def _rebuild_parameter(view: Any, *_rest: Any) -> _View:
    if not isinstance(view, _View):
        raise CheckpointError("it holds a malformed parameter")
    return view


def _make_state_dict() -> StateDict:
    """Replaces OrderedDict, which a pickle creates empty and then fills."""
    return StateDict()


_FUNCTIONS = {
    ("collections", "OrderedDict"): _make_state_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


def _find(module: str, name: str) -> Any:
    if module == "torch" and name in _DTYPES:
        return _StorageType(np.dtype(_DTYPES[name]))
    if (module, name) not in _FUNCTIONS:
        raise CheckpointError(
            f"it refers to {f'{module}.{name}'[:120]}, but a checkpoint may hold only tensors"
        )
    return _FUNCTIONS[module, name]


def _load_storage(pid: Any) -> _Storage:
    match pid:
        case ("storage", _StorageType(dtype), str(key), _, int()):
            return _Storage(dtype, key)
    raise CheckpointError(f"it refers to {reprlib.repr(pid)}, which is not a tensor storage")


def _stored(
    archive: zipfile.ZipFile,
    records: Mapping[str, zipfile.ZipInfo],
    root: str,
    key: str,
    view: _View,
) -> StoredTensor:
    record = f"{root}data/{view.storage.record}"
    if record not in records:
        raise CheckpointError(f"the checkpoint is damaged: the values of {key} are missing")
    last = view.offset + sum((n - 1) * s for n, s in zip(view.shape, view.stride, strict=True))
    reach = (last + 1) * view.storage.dtype.itemsize
    if prod(view.shape) and max(reach, view.nbytes) > records[record].file_size:
        raise CheckpointError(f"the checkpoint is damaged: {key} is longer than its record")
    return StoredTensor(view.shape, lambda: _read(archive, record, key, view))


def _read(archive: zipfile.ZipFile, record: str, key: str, view: _View) -> NDArray[np.float32]:
    try:
        flat = np.frombuffer(archive.read(record), view.storage.dtype)
    except _ZIP_ERRORS as error:
        raise CheckpointError(f"the checkpoint is damaged at {key}: {error}") from error
    strides = tuple(s * flat.itemsize for s in view.stride)
    window = np.lib.stride_tricks.as_strided(
        flat[view.offset :], view.shape, strides, writeable=False
    )
    return np.ascontiguousarray(window, np.float32)
