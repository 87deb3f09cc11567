"""Reads the tensors of a file written by torch.save, without torch and without running its code.

Such a file is a zip: a pickle of the state dict, and one raw record per storage. A pickle is a
program; ours runs on a machine (`machine.py`) that knows a handful of names, each of which can only
describe a tensor. Whatever else the program asks for is refused by name.
"""

import io
import reprlib
import struct
import zipfile
import zlib
from collections.abc import Mapping
from math import prod
from typing import IO, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from wheatear.convert.checkpoints.pickle_machine import LARGEST, Machine, StateDict
from wheatear.convert.checkpoints.weights import StoredTensor
from wheatear.errors import CheckpointError

_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


# What zipfile raises for a damaged or encrypted archive.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OverflowError,
    struct.error,
)
_LONGEST_LIST = 4 << 20  # bytes of a zip's list of records; a thousand tensors take 80 kB
_MOST_AXES = 8


class _StorageType(NamedTuple):
    dtype: str


class _Storage(NamedTuple):
    dtype: str
    record: str


class _View(NamedTuple):
    """A strided window on a storage, as torch's _rebuild_tensor_v2 describes it."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def itemsize(self) -> int:
        dtype = self.storage.dtype
        return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def read_state_dict(file: IO[bytes], name: str) -> dict[str, StoredTensor]:
    """The tensors of a torch.save file, by name. `file` must stay open while they are read.

    Raises CheckpointError if it is not such a file, asks to run code, or is damaged.
    """
    archive, records = _open_zip(file, name)
    pickles = [entry for entry in records if entry.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(f"{name} is not a torch checkpoint: it holds {len(pickles)} pickles")
    root = pickles[0].removesuffix("data.pkl")
    if records[pickles[0]].file_size > LARGEST:
        raise CheckpointError(
            f"{name} is refused: its pickle has {records[pickles[0]].file_size:,} bytes"
        )
    order = records.get(f"{root}byteorder")
    try:
        written = b"little" if order is None else archive.read(order)
        program = archive.read(pickles[0])
    except _ZIP_ERRORS as error:
        raise CheckpointError(f"{name} is damaged: {error}") from error
    if written != b"little":
        raise CheckpointError(f"{name} was written on a big-endian machine: not supported")
    content = _unpickled(program, name)
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict):
        raise CheckpointError(f"{name} holds a {type(state).__name__}, not a state dict")
    views = {str(key): view for key, view in state.items() if isinstance(view, _View)}
    if not views:
        raise CheckpointError(f"{name} holds no tensors")
    size = file.seek(0, io.SEEK_END)
    if (values := sum(prod(view.shape) * view.itemsize for view in views.values())) > _growth(size):
        raise CheckpointError(
            f"{name} is refused: its tensors would take {values:,} bytes out of a file of {size:,}"
        )
    return {key: _stored(archive, records, root, key, view) for key, view in views.items()}


def _growth(size: int) -> int:
    """Bytes of tensors that a file of that size may describe: some may share their values."""
    return 4 * size + (1 << 24)


def _open_zip(file: IO[bytes], name: str) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """A zip archive whose list of records is bounded and holds together, and that list."""
    bounded = _Bounded(file)
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


class _Bounded:
    """A file for zipfile, which reads the list of records at once, however long it says it is."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.most: int | None = _LONGEST_LIST
        """Bytes that may be read at a time; None: any number."""
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if self.most is not None and size > self.most:
            raise zipfile.BadZipFile(f"its list of records has {size:,} bytes")
        return self._file.read(size)


def _unpickled(program: bytes, name: str) -> Any:
    try:
        return Machine(_find, _load_storage).run(program)
    except CheckpointError as error:
        raise CheckpointError(f"{name} is refused: {error}") from None
    except Exception as error:  # a damaged pickle can raise anything at all
        raise CheckpointError(
            f"{name} is damaged: its pickle cannot be read ({type(error).__name__}: {error})"
        ) from error


class _MakeDict:
    """Stands in for collections.OrderedDict, which pickle makes empty and then fills."""

    __slots__ = ()

    def __call__(self) -> StateDict:
        return StateDict()


class _RebuildTensor:
    """Stands in for torch._utils._rebuild_tensor_v2."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any) -> _View:
        # The rest: whether it wants gradients, hooks, metadata.
        if not isinstance(storage, _Storage) or not all(
            isinstance(numbers, tuple) and len(numbers) <= _MOST_AXES for numbers in (size, stride)
        ):
            raise CheckpointError("it holds a malformed tensor")
        if len(size) != len(stride):
            raise CheckpointError("it holds a malformed tensor")
        if not all(type(n) is int and 0 <= n < 1 << 48 for n in (offset, *size, *stride)):
            raise CheckpointError("it holds a malformed tensor")
        return _View(storage, offset, size, stride)


class _RebuildParameter:
    """Stands in for torch._utils._rebuild_parameter."""

    __slots__ = ()

    def __call__(self, view: Any, *_rest: Any) -> _View:
        if not isinstance(view, _View):
            raise CheckpointError("it holds a malformed parameter")
        return view


_KNOWN = {
    ("collections", "OrderedDict"): _MakeDict(),
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
}


def _find(module: str, name: str) -> Any:
    if module == "torch" and name in _DTYPES:
        return _StorageType(_DTYPES[name])
    if (module, name) not in _KNOWN:
        raise CheckpointError(
            f"it asks for {f'{module}.{name}'[:120]}, and a checkpoint may hold nothing but tensors"
        )
    return _KNOWN[module, name]


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
    reach = view.offset + sum((n - 1) * s for n, s in zip(view.shape, view.stride, strict=True)) + 1
    try:
        available = records[record].file_size
    except KeyError:
        raise CheckpointError(
            f"the checkpoint is damaged: the values of {key} are missing"
        ) from None
    if prod(view.shape) and max(reach, prod(view.shape)) * view.itemsize > available:
        raise CheckpointError(f"the checkpoint is damaged: {key} is longer than its record")
    return StoredTensor(view.shape, lambda: _read(archive, record, key, view))


def _read(archive: zipfile.ZipFile, record: str, key: str, view: _View) -> NDArray[np.float32]:
    try:
        raw = archive.read(record)
    except _ZIP_ERRORS as error:
        raise CheckpointError(f"the checkpoint is damaged at {key}: {error}") from error
    if view.storage.dtype == "bfloat16":
        flat = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
    else:
        flat = np.frombuffer(raw, view.storage.dtype)
    strides = tuple(s * flat.itemsize for s in view.stride)
    window = np.lib.stride_tricks.as_strided(
        flat[view.offset :], view.shape, strides, writeable=False
    )
    return np.ascontiguousarray(window, np.float32)
