"""Damaged and incomplete bundles are refused when they are loaded."""

import io
import json

import numpy as np
import onnx
import pytest
from bundle_files import replace_file

import wheatear
from wheatear.errors import BundleError

FILES = ["encoder.onnx", "encoder.weights", "joint.weights", "pieces.json", "languages.npy"]


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"incomplete: {name} is missing"):
        wheatear.load(bundle)


@pytest.mark.parametrize("name", FILES)
def test_flipped_bit_is_detected(bundle, name):
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 4
    (bundle / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} has been altered"):
        wheatear.load(bundle)


def test_file_cut_short_is_detected(bundle):
    data = (bundle / "encoder.weights").read_bytes()
    (bundle / "encoder.weights").write_bytes(data[:-7])
    with pytest.raises(BundleError, match=r"encoder\.weights has \d+ bytes instead of \d+"):
        wheatear.load(bundle)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"(128, 128)", b"(1<<40, 1)"),
        (b"(128, 128)", b"(9**11, 9)"),
        (b"(128, 128)", b"(128, 127)"),
        (b"(128, 128)", b"(-128, 12)"),
        (b"<f4", b"|O8"),
        (b"<f4", b"<i4"),
        (b"False", b"True "),
        (b"NUMPY\x01", b"NUMPY\x02"),
    ],
)
def test_damaged_language_table_is_refused(bundle, old, new):
    data = (bundle / "languages.npy").read_bytes()
    assert old in data
    replace_file(bundle, "languages.npy", data.replace(old, new.ljust(len(old)), 1))
    with pytest.raises(BundleError, match=r"languages\.npy"):
        wheatear.load(bundle)


def test_language_table_shorter_than_its_header_is_refused(bundle):
    header = io.BytesIO()
    described = {"descr": "<f4", "fortran_order": False, "shape": (1 << 30, 256)}
    np.lib.format.write_array_header_1_0(header, described)
    replace_file(bundle, "languages.npy", header.getvalue() + bytes(1 << 10))
    with pytest.raises(BundleError, match="not the one in its header"):
        wheatear.load(bundle)


@pytest.mark.parametrize(
    "change",
    [
        {"pieces": 3},
        {"pieces": []},
        {"scores": [0.0]},
        {"bytes": [10**9]},
        {"bytes": [20]},
        {"unknown": ["0"]},
        {"control": {}},
        {"more": 1},
    ],
)
def test_damaged_vocabulary_is_refused(bundle, change):
    pieces = json.loads((bundle / "pieces.json").read_text())
    replace_file(bundle, "pieces.json", json.dumps(pieces | change).encode())
    with pytest.raises(BundleError, match=r"pieces\.json is damaged"):
        wheatear.load(bundle)


def test_piece_of_a_lone_surrogate_is_refused(bundle):
    pieces = json.loads((bundle / "pieces.json").read_text())
    pieces["pieces"][-1] = "\ud800"
    replace_file(bundle, "pieces.json", json.dumps(pieces).encode())
    with pytest.raises(BundleError, match=r"pieces\.json is damaged"):
        wheatear.load(bundle)


@pytest.mark.parametrize("place", ["../secret", "/etc/passwd", "..", "sub/weights", "a\\b", ""])
def test_weights_outside_the_bundle_are_refused(bundle, place, engine):
    model = onnx.load(bundle / "encoder.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = place
    replace_file(bundle, "encoder.onnx", model.SerializeToString())
    with pytest.raises(BundleError, match="no file beside"):
        wheatear.load(bundle)


def test_threads_must_be_positive(bundle):
    with pytest.raises(ValueError, match=r"threads is .*; give"):
        wheatear.load(bundle, threads=0)
