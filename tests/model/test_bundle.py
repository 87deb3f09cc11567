"""A bundle that is damaged or incomplete is named as such when it is loaded."""

import hashlib
import io
import json
import shutil

import numpy as np
import onnx
import pytest

import wheatear
from wheatear.errors import BundleError, ModelNotFoundError
from wheatear.model.bundle import MODELS_VARIABLE, open_bundle


@pytest.fixture
def bundle(bundle_of, tmp_path):
    """A copy of a good bundle, to be spoilt."""
    return shutil.copytree(bundle_of("tiny-multi", "int8"), tmp_path / "bundle")


def rewrite(bundle, **changes):
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


FILES = ["encoder.onnx", "encoder.weights", "joint.weights", "pieces.json", "languages.npy"]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"incomplete: {name} is missing"):
        wheatear.load(bundle)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit(bundle, name):
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 4
    (bundle / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} has been altered"):
        wheatear.load(bundle)


def test_a_file_cut_short(bundle):
    data = (bundle / "encoder.weights").read_bytes()
    (bundle / "encoder.weights").write_bytes(data[:-7])
    with pytest.raises(BundleError, match=r"encoder\.weights has \d+ bytes instead of \d+"):
        wheatear.load(bundle)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 1}', '{"format": 1, "files": 3}']
)
def test_a_damaged_manifest(bundle, text):
    (bundle / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        wheatear.load(bundle)


def test_a_manifest_that_points_elsewhere(bundle):
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    rewrite(bundle, files=files | {"../secret": {"bytes": 1, "sha256": "0"}})
    with pytest.raises(BundleError, match=r"\.\./secret"):
        wheatear.load(bundle)
    rewrite(bundle, files={k: v for k, v in files.items() if k != "joint.onnx"})
    with pytest.raises(BundleError, match=r"does not list joint\.onnx"):
        wheatear.load(bundle)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("encoder", "layers", 0),
        ("encoder", "layers", 3),
        ("encoder", "layers", "2"),
        ("encoder", "heads", 3),
        ("encoder", "heads", 8),
        ("encoder", "left", 60),
        ("encoder", "kernel", 5),
        ("features", "bands", 80),
        ("features", "hop", -5),
        ("features", "fft", 1),
        ("features", "window", 0),
        ("decoder", "hidden", 7),
        ("decoder", "blank", 95),
        ("decoder", "max_symbols", 0),
        ("default_mode", "lookahead", 2),
        ("modes", 0, {"left": 56, "lookahead": -1}),
        ("modes", 0, {"left": "56", "lookahead": 0}),
        ("modes", 0, {"left": 112, "lookahead": 0}),
        ("modes", 0, {"left": 56, "lookahead": 27}),
        ("prompts", "en-US", 500),
        ("prompts", "en-US", "3"),
        ("tags", "9999", "en-US"),
    ],
)
def test_a_manifest_that_does_not_fit(bundle, section, key, value):
    content = json.loads((bundle / "manifest.json").read_text())[section]
    content[key] = value
    rewrite(bundle, **{section: content})
    with pytest.raises(BundleError):
        wheatear.load(bundle)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("encoder", "longest_chunk", 67108878),
        ("encoder", "left", 1 << 26),
        ("encoder", "layers", 2**32 + 2),
        ("encoder", "kernel", 2**31),
        ("features", "bands", 1 << 23),
        ("features", "fft", 1 << 30),
        ("features", "hop", 80),
        ("features", "preemphasis", float("nan")),
        ("decoder", "hidden", 2**63),
        ("decoder", "max_symbols", 2**63),
        ("confidence", 0, 10**400),
        ("prompts", "en-US", 2**40),
        ("tags", "1", 3),
    ],
)
def test_sizes_beyond_every_model(bundle, section, key, value):
    content = json.loads((bundle / "manifest.json").read_text())[section]
    content[key] = value
    rewrite(bundle, **{section: content})
    with pytest.raises(BundleError, match=r"manifest\.json is damaged") as error:
        open_bundle(bundle)
    assert "\n" not in str(error.value)


def replaced(bundle, name, data):
    """Another content of a file, and its hash."""
    (bundle / name).write_bytes(data)
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(manifest))


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
def test_a_table_of_languages_that_lies(bundle, old, new):
    data = (bundle / "languages.npy").read_bytes()
    assert old in data
    replaced(bundle, "languages.npy", data.replace(old, new.ljust(len(old)), 1))
    with pytest.raises(BundleError, match=r"languages\.npy"):
        wheatear.load(bundle)


def test_a_table_of_languages_that_claims_a_terabyte(bundle):
    header = io.BytesIO()
    described = {"descr": "<f4", "fortran_order": False, "shape": (1 << 30, 256)}
    np.lib.format.write_array_header_1_0(header, described)
    replaced(bundle, "languages.npy", header.getvalue() + bytes(1 << 10))
    with pytest.raises(BundleError, match="does not hold what its header says"):
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
def test_a_vocabulary_that_lies(bundle, change):
    pieces = json.loads((bundle / "pieces.json").read_text())
    replaced(bundle, "pieces.json", json.dumps(pieces | change).encode())
    with pytest.raises(BundleError, match=r"pieces\.json is damaged"):
        wheatear.load(bundle)


def test_a_piece_that_is_half_a_character(bundle):
    pieces = json.loads((bundle / "pieces.json").read_text())
    pieces["pieces"][-1] = "\ud800"
    replaced(bundle, "pieces.json", json.dumps(pieces).encode())
    with pytest.raises(BundleError, match=r"pieces\.json is damaged"):
        wheatear.load(bundle)


@pytest.mark.parametrize("place", ["../secret", "/etc/passwd", "..", "sub/weights", "a\\b", ""])
def test_weights_from_elsewhere(bundle, place, engine):
    model = onnx.load(bundle / "encoder.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = place
    replaced(bundle, "encoder.onnx", model.SerializeToString())
    with pytest.raises(BundleError, match="no file beside"):
        wheatear.load(bundle)


@pytest.mark.parametrize("changes", [{"modes": []}, {"prompts": {}}, {"prompts": [1]}])
def test_a_manifest_with_parts_missing(bundle, changes):
    rewrite(bundle, **changes)
    with pytest.raises(BundleError):
        wheatear.load(bundle)


def test_weights_that_the_manifest_does_not_list(bundle):
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    del files["encoder.weights"]
    rewrite(bundle, files=files)
    with pytest.raises(BundleError, match=r"does not list encoder\.weights"):
        wheatear.load(bundle)


def test_a_bundle_from_the_future(bundle):
    rewrite(bundle, format=2)
    with pytest.raises(BundleError, match=r"format 2.*upgrade"):
        wheatear.load(bundle)


def test_what_is_no_bundle(tmp_path, bundle):
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        wheatear.load(tmp_path)
    with pytest.raises(ModelNotFoundError, match=r"file, not a bundle folder.*wheatear convert"):
        wheatear.load(bundle / "encoder.onnx")
    with pytest.raises(ModelNotFoundError, match="no model 'nemotron'"):
        wheatear.load("nemotron")


def test_models_by_name(bundle, monkeypatch):
    monkeypatch.setenv(MODELS_VARIABLE, str(bundle.parent))
    assert wheatear.load("bundle").bundle.path == bundle
    with pytest.raises(ModelNotFoundError, match="one of bundle"):
        wheatear.load("bindle")


def test_threads_must_be_positive(bundle):
    with pytest.raises(ValueError, match=r"threads is .*; give"):
        wheatear.load(bundle, threads=0)
