"""Reads the tensors of a file written by torch.save, without torch and without running its code.

Such a file is a zip: a pickle of the state dict, and one raw record per storage. A pickle is a
program; ours runs on a machine that knows a handful of names, each of which can only describe a
tensor. Whatever else the program asks for is refused by name. A program may also alter what it
has made (pickle's BUILD), so everything it can get hold of is immutable.
"""

import pickle
import reprlib
import zipfile
import zlib
from math import prod
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wheatear.convert.tensors import StoredTensor
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
    UnicodeDecodeError,
)


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


def read_state_dict(file: IO[bytes], name: str) -> dict[str, StoredTensor]:
    """The tensors of a torch.save file, by name. `file` must stay open while they are read.

    Raises CheckpointError if it is not such a file, asks to run code, or is damaged.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CheckpointError(
            f"{name} is not a checkpoint of torch 1.6 or newer (no zip archive): {error}"
        ) from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise CheckpointError(f"{name} is compressed, which torch never does")
    pickles = [entry for entry in archive.namelist() if entry.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(f"{name} is not a torch checkpoint: it holds {len(pickles)} pickles")
    root = pickles[0].removesuffix("data.pkl")
    try:
        order = (
            archive.read(f"{root}byteorder") if f"{root}byteorder" in archive.namelist() else b""
        )
        if order not in (b"", b"little"):
            raise CheckpointError(f"{name} was written on a big-endian machine: not supported")
        with archive.open(pickles[0]) as stream:
            content = _unpickle(stream, name)
    except _ZIP_ERRORS as error:
        raise CheckpointError(f"{name} is damaged: {error}") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict):
        raise CheckpointError(f"{name} holds a {type(state).__name__}, not a state dict")
    views = {key: view for key, view in state.items() if isinstance(view, _View)}
    if not views:
        raise CheckpointError(f"{name} holds no tensors")
    return {str(key): _stored(archive, root, str(key), view) for key, view in views.items()}


def _unpickle(stream: IO[bytes], name: str) -> Any:
    try:
        return _TensorUnpickler(stream).load()
    except CheckpointError as error:
        raise CheckpointError(f"{name} is refused: {error}") from None
    except Exception as error:  # a hostile pickle can raise anything at all
        raise CheckpointError(
            f"{name} is damaged: its pickle cannot be read ({type(error).__name__}: {error})"
        ) from error


class _StateDict(dict[Any, Any]):
    """Stands in for OrderedDict; the attributes that torch hangs on a state dict are dropped."""

    __slots__ = ()

    def __setstate__(self, _attributes: Any) -> None:
        pass


class _RebuildTensor:
    """Stands in for torch._utils._rebuild_tensor_v2."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any) -> _View:
        # The rest: whether it wants gradients, hooks, metadata.
        if not isinstance(storage, _Storage) or len(size) != len(stride):
            raise CheckpointError("it holds a malformed tensor")
        if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
            raise CheckpointError("it holds a malformed tensor")
        return _View(storage, offset, tuple(size), tuple(stride))


class _RebuildParameter:
    """Stands in for torch._utils._rebuild_parameter."""

    __slots__ = ()

    def __call__(self, view: Any, *_rest: Any) -> _View:
        if not isinstance(view, _View):
            raise CheckpointError("it holds a malformed parameter")
        return view


_KNOWN = {
    ("collections", "OrderedDict"): _StateDict,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
}


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        if (module, name) not in _KNOWN:
            raise CheckpointError(
                f"it asks for {f'{module}.{name}'[:120]}, "
                f"and a checkpoint may hold nothing but tensors"
            )
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageType(dtype), str(key), _, int()):
                return _Storage(dtype, key)
        raise CheckpointError(f"it refers to {reprlib.repr(pid)}, which is not a tensor storage")


def _stored(archive: zipfile.ZipFile, root: str, key: str, view: _View) -> StoredTensor:
    record = f"{root}data/{view.storage.record}"
    itemsize = 2 if view.storage.dtype == "bfloat16" else np.dtype(view.storage.dtype).itemsize
    reach = view.offset + sum((n - 1) * s for n, s in zip(view.shape, view.stride, strict=True)) + 1
    try:
        available = archive.getinfo(record).file_size
    except KeyError:
        raise CheckpointError(
            f"the checkpoint is damaged: the values of {key} are missing"
        ) from None
    if prod(view.shape) and max(reach, prod(view.shape)) * itemsize > available:
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
