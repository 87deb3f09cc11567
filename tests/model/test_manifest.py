"""Damaged, incomplete and newer manifests are refused with the reason."""

import json

import pytest
from bundle_files import rewrite_manifest

import wheatear
from wheatear.errors import BundleError
from wheatear.model.bundle import open_bundle


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 1}', '{"format": 1, "files": 3}']
)
def test_damaged_manifest_is_refused(bundle, text):
    (bundle / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        wheatear.load(bundle)


def test_manifest_listing_other_files_is_refused(bundle):
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    rewrite_manifest(bundle, files=files | {"../secret": {"bytes": 1, "sha256": "0"}})
    with pytest.raises(BundleError, match=r"\.\./secret"):
        wheatear.load(bundle)
    rewrite_manifest(bundle, files={k: v for k, v in files.items() if k != "joint.onnx"})
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
def test_manifest_that_does_not_fit_is_refused(bundle, section, key, value):
    content = json.loads((bundle / "manifest.json").read_text())[section]
    content[key] = value
    rewrite_manifest(bundle, **{section: content})
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
def test_sizes_beyond_every_model_are_refused_in_one_line(bundle, section, key, value):
    content = json.loads((bundle / "manifest.json").read_text())[section]
    content[key] = value
    rewrite_manifest(bundle, **{section: content})
    with pytest.raises(BundleError, match=r"manifest\.json is damaged") as error:
        open_bundle(bundle)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("changes", [{"modes": []}, {"prompts": {}}, {"prompts": [1]}])
def test_manifest_with_missing_parts_is_refused(bundle, changes):
    rewrite_manifest(bundle, **changes)
    with pytest.raises(BundleError):
        wheatear.load(bundle)


def test_unlisted_weights_are_refused(bundle):
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    del files["encoder.weights"]
    rewrite_manifest(bundle, files=files)
    with pytest.raises(BundleError, match=r"does not list encoder\.weights"):
        wheatear.load(bundle)


def test_newer_format_is_refused_with_advice(bundle):
    rewrite_manifest(bundle, format=2)
    with pytest.raises(BundleError, match=r"format 2.*upgrade"):
        wheatear.load(bundle)
