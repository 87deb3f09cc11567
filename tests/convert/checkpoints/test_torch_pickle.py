"""torch.save files: tensors are read, code is not run, damaged files are rejected."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
from torch_files import (
    GOOD,
    RECORD,
    Call,
    Global,
    Raw,
    assert_rejected,
    tensor,
    torch_pickle,
    torch_zip,
)

from wheatear.convert.checkpoints.torch_pickle import read_state_dict
from wheatear.errors import CheckpointError


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("FloatStorage", "<f4"),
        ("DoubleStorage", "<f8"),
        ("HalfStorage", "<f2"),
        ("LongStorage", "<i8"),
    ],
)
def test_tensors_of_every_dtype_are_read(kind, dtype):
    values = np.arange(12).astype(dtype)
    state = {
        "plain": tensor(kind, "0", 12, (3, 4), (4, 1)),
        "transposed": tensor(kind, "0", 12, (4, 3), (1, 4)),
        "part": tensor(kind, "0", 12, (2,), (5,), 3),
        "scalar": tensor(kind, "0", 12, (), (), 7),
    }
    tensors = read_state_dict(torch_zip(torch_pickle(state), {"0": values.tobytes()}), "x")
    expected = values.reshape(3, 4).astype(np.float32)
    np.testing.assert_array_equal(tensors["plain"].read(), expected)
    np.testing.assert_array_equal(tensors["transposed"].read(), expected.T)
    np.testing.assert_array_equal(tensors["part"].read(), [3, 8])
    assert tensors["scalar"].read() == 7
    assert tensors["transposed"].shape == (4, 3)


def test_bfloat16_tensor_is_read_as_float32():
    record = np.array([0x3F80, 0xC000], "<u2").tobytes()  # 1.0, -2.0
    state = {"state_dict": {"x": tensor("BFloat16Storage", "0", 2, (2,), (1,))}, "epoch": 3}
    tensors = read_state_dict(torch_zip(torch_pickle(state), {"0": record}), "x")
    np.testing.assert_array_equal(tensors["x"].read(), [1, -2])


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Call("os", "system", "true"), "os.system"),
        (Call("builtins", "eval", "1"), "builtins.eval"),
        (Call("torch", "load", "x"), "torch.load"),
        (Call("torch._utils", "_rebuild_device_tensor_from_numpy", 1), "_rebuild_device_tensor"),
        (Global("torch.storage", "_load_from_bytes"), "torch.storage._load_from_bytes"),
        (Call("collections", "Counter"), "collections.Counter"),
    ],
)
def test_checkpoint_with_a_call_is_rejected(value, named):
    for content in (value, {"weight": value}, {"state_dict": {"weight": value}}):
        with pytest.raises(CheckpointError, match=named.replace(".", r"\.")):
            read_state_dict(torch_zip(torch_pickle(content)), "bad.ckpt")


@pytest.mark.parametrize(
    "bad",
    [
        tensor("FloatStorage", "0", 4, (5,), (1,)),  # longer than its record
        tensor("FloatStorage", "0", 4, (2,), (1,), 3),
        tensor("FloatStorage", "0", 4, (10**9, 10**9), (0, 0)),  # one value, spread over 4 EB
        tensor("FloatStorage", "1", 4, (2,), (1,)),  # no such record
        tensor("FloatStorage", "0", 4, (-2,), (1,)),
        tensor("FloatStorage", "0", 4, (2,), ()),
        Call("torch._utils", "_rebuild_tensor_v2", 1, 0, (1,), (1,)),
        Call("torch._utils", "_rebuild_parameter", 1, False, {}),
    ],
)
def test_malformed_tensors_are_rejected(bad):
    record = {"0": np.zeros(4, "<f4").tobytes()}
    with pytest.raises(CheckpointError):
        read_state_dict(torch_zip(torch_pickle({"x": bad}), record), "bad.ckpt")


@pytest.mark.parametrize(
    "target",
    [
        GOOD,
        Global("torch._utils", "_rebuild_tensor_v2"),
        Global("torch._utils", "_rebuild_parameter"),
        Global("torch", "FloatStorage"),
    ],
)
@pytest.mark.parametrize(
    "state",
    [
        [("storage", "FloatStorage", "0", 4), 10**9, (4,), (1,)],
        {"offset": 10**9, "__doc__": "altered", "shape": (9,)},
        (None, {"offset": 10**9, "__doc__": "altered"}),
    ],
)
def test_build_operation_cannot_alter_an_object(target, state):
    """Pickle's BUILD sets attributes behind the back of every check."""
    altered = Raw(target, state, pickle.BUILD)
    record = {"0": np.zeros(4, "<f4").tobytes()}
    with pytest.raises(CheckpointError):
        read_state_dict(torch_zip(torch_pickle({"x": altered, "y": GOOD}), record), "bad.ckpt")
    good = read_state_dict(torch_zip(torch_pickle({"y": GOOD}), record), "good.ckpt")
    assert good["y"].read().tolist() == [0, 0, 0, 0]


def test_attributes_of_a_state_dict_are_dropped():
    """torch hangs `_metadata` on its state dicts; another program might hang `items` on one."""
    attributes = {"_metadata": {}, "items": 5, "get": 5}
    made = Call("collections", "OrderedDict")
    state = Raw(made, pickle.MARK, "y", GOOD, pickle.SETITEMS, attributes, pickle.BUILD)
    record = {"0": np.ones(4, "<f4").tobytes()}
    tensors = read_state_dict(torch_zip(torch_pickle(state), record), "x")
    assert tensors["y"].read().tolist() == [1, 1, 1, 1]


def test_compressed_records_are_rejected():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", torch_pickle({"y": GOOD}))
        archive.writestr("archive/data/0", bytes(10**7))
    file.seek(0)
    with pytest.raises(CheckpointError, match="compressed"):
        read_state_dict(file, "bomb.ckpt")


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80", b"not a pickle", pickle.dumps([1]), pickle.dumps({}), b"\x80\x02c" * 9],
)
def test_pickle_without_a_state_dict_is_rejected(content):
    with pytest.raises(CheckpointError):
        read_state_dict(torch_zip(content), "bad.ckpt")


def test_long_program_is_rejected():
    assert_rejected(b"\x80\x02" + b"}0" * (5 << 20) + b".", "its pickle has")


def test_tensor_with_thousands_of_axes_is_rejected():
    arguments = (("storage", "FloatStorage", "0", 4), 0, (1,) * 5000, (1,) * 5000, False, {})
    assert_rejected(torch_pickle({"x": call(*arguments)}), "malformed tensor")


def call(*arguments):
    return Raw(Global("torch._utils", "_rebuild_tensor_v2"), arguments, pickle.REDUCE)


def test_many_tensors_of_one_record_are_rejected():
    """Tensors that share a record would fill the disk with what a megabyte describes."""
    storage = ("storage", "FloatStorage", "0", 1 << 16)
    state = {f"{n}": call(storage, 0, (1 << 16,), (1,), False, {}) for n in range(400)}
    assert_rejected(torch_pickle(state), "out of a file of", {"0": bytes(1 << 18)})


def central(data, offset, form, value):
    """The zip with another number in the entry of its last record in the central directory."""
    at = data.rindex(b"PK\x01\x02")
    size = struct.calcsize(form)
    return data[: at + offset] + struct.pack(form, value) + data[at + offset + size :]


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [
        (20, "<I", 1 << 30),  # compressed size
        (24, "<I", 1 << 30),  # size
        (24, "<I", 1),
        (42, "<I", 1 << 30),  # where it begins
        (10, "<H", 8),  # deflated
        (8, "<H", 1),  # encrypted
    ],
)
def test_zip_with_false_sizes_is_rejected(offset, form, value):
    data = torch_zip(torch_pickle({"x": GOOD}), RECORD).getvalue()
    assert read_state_dict(io.BytesIO(data), "good")["x"].read().tolist() == [0, 0, 0, 0]
    with pytest.raises(CheckpointError):
        read_state_dict(io.BytesIO(central(data, offset, form, value)), "bad")["x"].read()


def test_endless_list_of_records_is_rejected(tmp_path):
    """A hole of gigabytes that the end of the file calls the list of records."""
    size = 3 << 30
    path = tmp_path / "x.ckpt"
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, size, 0, 0))
    with path.open("rb") as file, pytest.raises(CheckpointError, match="list of records"):
        read_state_dict(file, "bad")


def test_duplicate_record_is_rejected():
    file = torch_zip(torch_pickle({"x": GOOD}), RECORD)
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data/0", bytes(16))
    with pytest.raises(CheckpointError, match="do not fit"):
        read_state_dict(file, "bad")
