"""Writes files as torch.save and NeMo write them, and damaged ones."""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from checkpoints import ORACLE

from wheatear.convert.checkpoints.torch_pickle import read_state_dict
from wheatear.errors import CheckpointError


def unpacked(model="tiny-multi"):
    """The members of a .nemo file by their last name."""
    with tarfile.open(ORACLE / f"{model}.nemo") as archive:
        return {
            Path(m.name).name: archive.extractfile(m).read()
            for m in archive.getmembers()
            if m.isfile()
        }


def packed(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def changed(path, old, new, model="tiny-multi"):
    """A copy of a checkpoint with its configuration edited."""
    members = unpacked(model)
    config = members["model_config.yaml"].decode()
    assert old in config
    members["model_config.yaml"] = config.replace(old, new, 1).encode()
    return packed(path, members)


def torch_zip(pickled, records=None):
    """A file in the layout of torch.save."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        for name, data in (records or {}).items():
            archive.writestr(f"archive/data/{name}", data)
    file.seek(0)
    return file


class Global:
    """Pickles as a reference to any module's name."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class TorchPickler(pickle._Pickler):
    """Writes what torch.save writes, given (storage, dtype, offset, shape, stride) tuples."""

    def persistent_id(self, value):
        if isinstance(value, tuple) and value and value[0] == "storage":
            return ("storage", Global("torch", value[1]), value[2], "cpu", value[3])
        return None

    def save_global_reference(self, value):
        self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())


TorchPickler.dispatch = {
    **pickle._Pickler.dispatch,
    Global: TorchPickler.save_global_reference,
}


class Call:
    """Pickles as a call of a global."""

    def __init__(self, module, name, *arguments):
        self.target, self.arguments = Global(module, name), arguments


def save_call(pickler, call):
    pickler.save(call.target)
    pickler.save(call.arguments)
    pickler.write(pickle.REDUCE)


TorchPickler.dispatch[Call] = save_call


def torch_pickle(value):
    out = io.BytesIO()
    TorchPickler(out, protocol=2).dump(value)
    return out.getvalue()


def tensor(kind, record, numel, shape, stride, offset=0):
    storage = ("storage", kind, record, numel)
    return Call("torch._utils", "_rebuild_tensor_v2", storage, offset, shape, stride, False, {})


class Raw:
    """Pickles as opcodes written by hand."""

    def __init__(self, *parts):
        self.parts = parts


def save_raw(pickler, raw):
    for part in raw.parts:
        if isinstance(part, bytes):
            pickler.write(part)
        else:
            pickler.save(part)


TorchPickler.dispatch[Raw] = save_raw


GOOD = tensor("FloatStorage", "0", 4, (4,), (1,))


RECORD = {"0": np.zeros(4, "<f4").tobytes()}


def assert_rejected(program, match="refused|damaged|no tensors|not a state dict", records=None):
    """Checks that a pickle is rejected with a short message of one line."""
    with pytest.raises(CheckpointError, match=match) as error:
        read_state_dict(torch_zip(program, records or RECORD), "bad.ckpt")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
