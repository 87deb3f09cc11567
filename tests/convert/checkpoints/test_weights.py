"""Tensors of safetensors files and of all containers: shapes, limits, damage."""

import json
import struct

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from source_weights import own_checkpoint, read_source, write_transformers

from wheatear.convert import convert
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.errors import CheckpointError


def safetensors_file(path, entries, data=bytes(64)):
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def entry(start, end, shape=(8,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "entries",
    [
        {"a": entry(0, 32), "b": entry(16, 48)},  # overlapping
        {"a": entry(0, 32), "b": entry(48, 80)},  # past the end
        {"a": entry(0, 64, (16,)), "b": entry(64, 1 << 60, (1 << 58,))},
        {"a": entry(0, 64, (1 << 40, 1 << 40))},
        {"a": entry(32, 0)},
        {"a": entry(0, 64, (16,), "F4")},
        {"a": entry(0, 64, (8,))},  # more bytes than the shape has
    ],
)
def test_safetensors_header_with_false_offsets_is_rejected(tmp_path, entries):
    about = {"__metadata__": {"wheatear": "{}"}}
    path = safetensors_file(tmp_path / "x.safetensors", about | entries)
    with pytest.raises(CheckpointError, match="not a readable safetensors"):
        convert(path, tmp_path / "out")


def test_truncated_safetensors_file_is_rejected(tmp_path):
    folder = write_transformers(tmp_path / "hf", read_source("tiny-en"))
    whole = (folder / "model.safetensors").read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 300, 9, 7):
        (folder / "model.safetensors").write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            convert(folder, tmp_path / "out")


@pytest.mark.parametrize("size", [0, 1, 1 << 24, 1 << 40, (1 << 64) - 1])
def test_safetensors_header_of_false_length_is_rejected(tmp_path, size):
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
def test_safetensors_tensor_with_false_shape_is_rejected(tmp_path, entry):
    head = json.dumps({"x": entry}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(4))
    with pytest.raises(CheckpointError), open_checkpoint(path):
        pass


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_tensor_with_values_not_finite_is_named(tmp_path, value, precision):
    own_checkpoint(tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = file.metadata()
    name = "encoder.layers.1.norm_out.weight"
    tensors[name][3] = value
    save_file(tensors, tmp_path / "y.safetensors", metadata=header)
    with pytest.raises(CheckpointError, match=rf"{name} has values that are not finite"):
        convert(tmp_path / "y.safetensors", tmp_path / "out", precision)
    assert not (tmp_path / "out").exists()
