"""Checkpoints that want the process, the memory, the disk or the time: one line each."""

import gzip
import io
import json
import pickle
import shutil
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from checkpoints import ORACLE
from tar_files import header
from torch_files import GOOD, Global, Raw, changed, packed, torch_pickle, torch_zip, unpacked

from wheatear.convert import convert
from wheatear.convert.checkpoints.gguf import open_gguf
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.convert.checkpoints.torch_pickle import read_state_dict
from wheatear.errors import CheckpointError

_TOKENIZER = next(name for name in unpacked() if name.endswith("tokenizer.model"))
RECORD = {"0": np.zeros(4, "<f4").tobytes()}
NESTED = b")" + b"\x85" * 200_000  # an empty tuple in a tuple in a tuple ...


def refused(program, match="refused|damaged|no tensors|not a state dict", records=None):
    with pytest.raises(CheckpointError, match=match) as error:
        read_state_dict(torch_zip(program, records or RECORD), "bad.ckpt")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


# -- pickles -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02}" + NESTED + b"K\x01s.",  # as a key: hashing it recurses
        b"\x80\x02}(" + NESTED + b"K\x01u.",
        b"\x80\x02ccollections\nOrderedDict\n]" + NESTED + b"K\x01\x86a\x85R.",
        b"\x80\x02(" + NESTED + b"\x90.",  # in a set
        b"\x80\x02" + NESTED + b"Q.",  # as a persistent id
    ],
)
def test_tuples_in_tuples(program):
    refused(program)


@pytest.mark.parametrize("operation", [b"r\xff\xff\xff\x0f", b"r\xff\xff\xff\xff", b"p268435455\n"])
def test_memo_indices(operation):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(b"\x80\x02}" + operation + b".")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02",
        b"\x80\x02.",
        b"\x80\x02(.",
        b"\x80\x02a.",
        b"\x80\x02s.",
        b"\x80\x02u.",
        b"\x80\x02}K\x01.",
        b"\x80\x02h\x05.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02R.",
        b"\x80\x02K\x01K\x02R.",
        b"\x80\x02N}b.",
        b"\x80\x02X\xff\xff\xff\xffabc.",
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        b"\x80\x02\x8b\xff\xff\xff\x7fabc.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.",
        b"\x80\x02I" + b"9" * 100_000 + b"\n.",
        b"\x80\x02}2.",
        b"(i__main__\nx\n.",
        b"\x80\x02\x82\x01.",
        b"\x80\x05\x97.",
    ],
)
def test_programs_that_torch_never_writes(program):
    refused(program)


def test_a_dict_is_made_of_names_and_numbers():
    """Whatever else a key may be is hashed, and that may be anything."""
    refused(torch_pickle({("a", "b"): GOOD}), "which is no name")
    refused(torch_pickle({1.5: GOOD}), "which is no name")


def test_an_ordered_dict_is_filled_by_the_machine_alone():
    made = Raw(Global("collections", "OrderedDict"), [("x", GOOD)], b"\x85", pickle.REDUCE)
    refused(torch_pickle(made), "damaged")


def test_long_programs():
    refused(b"\x80\x02" + b"}0" * (5 << 20) + b".", "its pickle has")


def test_tensors_of_more_axes_than_there_are():
    arguments = (("storage", "FloatStorage", "0", 4), 0, (1,) * 5000, (1,) * 5000, False, {})
    refused(torch_pickle({"x": _call(*arguments)}), "malformed tensor")


def test_many_tensors_out_of_few_values():
    """Tensors that share a record would fill the disk with what a megabyte describes."""
    storage = ("storage", "FloatStorage", "0", 1 << 16)
    state = {f"{n}": _call(storage, 0, (1 << 16,), (1,), False, {}) for n in range(400)}
    refused(torch_pickle(state), "out of a file of", {"0": bytes(1 << 18)})


def _call(*arguments):
    return Raw(Global("torch._utils", "_rebuild_tensor_v2"), arguments, pickle.REDUCE)


# -- the zip around it ---------------------------------------------------------------------------


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
def test_zips_that_lie(offset, form, value):
    data = torch_zip(torch_pickle({"x": GOOD}), RECORD).getvalue()
    assert read_state_dict(io.BytesIO(data), "good")["x"].read().tolist() == [0, 0, 0, 0]
    with pytest.raises(CheckpointError):
        read_state_dict(io.BytesIO(central(data, offset, form, value)), "bad")["x"].read()


def test_a_list_of_records_without_end(tmp_path):
    """A hole of gigabytes that the end of the file calls the list of records."""
    size = 3 << 30
    path = tmp_path / "x.ckpt"
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, size, 0, 0))
    with path.open("rb") as file, pytest.raises(CheckpointError, match="list of records"):
        read_state_dict(file, "bad")


def test_two_records_of_one_name():
    file = torch_zip(torch_pickle({"x": GOOD}), RECORD)
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data/0", bytes(16))
    with pytest.raises(CheckpointError, match="do not fit"):
        read_state_dict(file, "bad")


# -- the tar around that -------------------------------------------------------------------------


def test_sparse_members_and_negative_sizes(tmp_path):
    path = tmp_path / "x.nemo"
    for data in (
        header("model_config.yaml", 0, b"S") + bytes(1024),
        header("a", -512) + bytes(1024),
        header("b", 0) + header("a", -1024) + bytes(1024),
        header("model_config.yaml", 1 << 50) + bytes(1024),
    ):
        for content in (data, gzip.compress(data)):
            path.write_bytes(content)
            with pytest.raises(CheckpointError, match="not a readable"):
                convert(path, tmp_path / "out")


def test_a_gzip_bomb(tmp_path):
    info = tarfile.TarInfo("model_config.yaml")
    info.size = 1 << 30
    path = tmp_path / "x.nemo"
    with gzip.open(path, "wb", 1) as file:
        file.write(info.tobuf())
        for _ in range(80):
            file.write(bytes(1 << 20))
    with pytest.raises(CheckpointError, match="50 times its size"):
        convert(path, tmp_path / "out")


@pytest.mark.parametrize("name", ["model_config.yaml", _TOKENIZER, "LICENSE"])
def test_members_larger_than_they_ever_are(tmp_path, name):
    members = unpacked() | {name: b" " * ((16 << 20) + 1)}
    with pytest.raises(CheckpointError, match=f"its {name} has 16,777,217 bytes"):
        convert(packed(tmp_path / "x.nemo", members), tmp_path / "out")


# -- configurations ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (b"a: " + b"[" * 5000, "nested too deep|nesting depth"),
        (b"a: " + b"{a: " * 5000, "nested too deep|nesting depth"),
        (b"a: " + b"- " * 100 + b"x\n", "cannot be read|nested too deep"),
        (b"? " * 5000, "nested too deep|nesting depth"),
        (b"a: 1" + b":59" * 50_000, "number of 150,001 digits"),
        (b"a: !!int '1" + b":59" * 50_000 + b"'", "number of 150,001 digits"),
        (b"a: " + b"9" * 4200 + b"\n", "number of 4,200 digits"),
        (b"a: 0x" + b"f" * 5000 + b"\n", None),
        (b"a: 190:20:30." + b"1" * 100, None),
        (b"a: &x [1]\nb: *x\n", "aliases"),
        (b"a: 2001-99-99\n", "cannot be read"),
        (b"? [a, b]\n: c\n", "cannot be read"),
        (b"a: !!python/object/apply:os.system [x]\n", "cannot be read"),
        (b"[1, " * 60 + b"]" * 60, "cannot be read"),
        (b"a: [" + b"x," * (1 << 20) + b"]", "more than 1,048,576 words"),
    ],
)
def test_configurations_that_take_all(tmp_path, more, message):
    members = unpacked()
    members["model_config.yaml"] += more
    path = packed(tmp_path / "x.nemo", members)
    if message is None:
        with open_checkpoint(path):
            return
    with pytest.raises(CheckpointError, match=message), open_checkpoint(path):
        pass


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "max_symbols: 10",
            "max_symbols: 9223372036854775808",
            "max_symbols is 9223372036854775808",
        ),
        ("max_symbols: 10", "max_symbols: 101", "at most 100"),
        ("features: 128", "features: 2147483648", "at most 512"),
        ("n_layers: 2", "n_layers: 1000000000", "at most 128"),
        ("conv_kernel_size: 9", "conv_kernel_size: 100000001", "at most 256"),
        ("pred_rnn_layers: 2", "pred_rnn_layers: 4294967297", "at most 16"),
        ("window_size: 0.025", "window_size: 1.0e+308", "out of range"),
        ("window_stride: 0.01", "window_stride: 1.0e+306", "out of range"),
        ("window_size: 0.025", "window_size: .nan", "out of range"),
        ("window: hann", f"window: hann\n  preemph: {10**400}", "out of range"),
    ],
)
def test_numbers_beyond_every_model(tmp_path, old, new, message):
    with pytest.raises(CheckpointError, match=message):
        convert(changed(tmp_path / "x.nemo", old, new), tmp_path / "out")


def test_a_disk_without_room(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    with pytest.raises(CheckpointError, match="make room"):
        convert(ORACLE / "tiny-multi.nemo", tmp_path / "out")
    assert not list(tmp_path.iterdir())


# -- other containers ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1 << 24, 1 << 40, (1 << 64) - 1])
def test_safetensors_headers_of_any_length(tmp_path, size):
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", size) + b'{"x":1}')
    with pytest.raises(CheckpointError, match="not a readable safetensors"), open_checkpoint(path):
        pass


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1 << 32, 1 << 32], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 1 << 40]},
        {"dtype": "X99", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 4]},
    ],
)
def test_safetensors_tensors_that_lie(tmp_path, entry):
    head = json.dumps({"x": entry}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(4))
    with pytest.raises(CheckpointError), open_checkpoint(path):
        pass


def gguf(keys=b"", count=0, tensors=0):
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, count) + keys


def text(value):
    return struct.pack("<Q", len(value)) + value


@pytest.mark.parametrize(
    "data",
    [
        gguf(count=1 << 60),
        gguf(tensors=1 << 60),
        gguf(struct.pack("<Q", 1 << 62), 1),
        gguf(text(b"a") + struct.pack("<I", 9) + struct.pack("<IQ", 0, 1 << 60), 1),
        gguf(text(b"a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1), 1),
        gguf(text(b"a") + struct.pack("<IQ", 8, 1 << 40), 1),
        gguf(text(b"t") + struct.pack("<IQQIQ", 2, 1 << 40, 1 << 40, 0, 0), 0, 1),
        gguf(text(b"t") + struct.pack("<IQIQ", 1, 4, 0, (1 << 64) - 32), 0, 1),
        gguf(text(b"general.alignment") + struct.pack("<IQ", 10, 1 << 63), 1),
    ],
)
def test_gguf_files_that_lie(tmp_path, data):
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        open_gguf(path)


def test_gguf_arrays_without_end(tmp_path):
    """Each array is bounded, and so are all of them."""
    array = struct.pack("<IIQ", 9, 0, 1 << 20) + bytes(1 << 20)
    keys = b"".join(text(b"%d" % n) + array for n in range(4))
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf(keys, 4))
    with pytest.raises(CheckpointError, match="items in its arrays"):
        open_gguf(path)
