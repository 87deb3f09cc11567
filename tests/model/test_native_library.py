"""wheatear-native is used if it is installed, wanted, and fits the bundle."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from wheatear.errors import BundleError, MissingExtraError
from wheatear.model.bundle import open_bundle
from wheatear.model.native_library import (
    NATIVE_VARIABLE,
    NativeWeights,
    if_native,
    native_isa,
    use_native,
)


@pytest.fixture
def library(monkeypatch, bundle):  # after the bundle, whose conversion uses the real library
    assert bundle.is_dir()
    library = SimpleNamespace(instruction_sets=lambda: ["avx2", "scalar"])
    monkeypatch.setitem(sys.modules, "wheatear_native", library)
    return library


@pytest.fixture
def opened(bundle):
    return open_bundle(bundle)


@pytest.mark.parametrize(
    ("choice", "isa", "used"),
    [("", "", "avx2"), ("1", "", "avx2"), ("scalar", "scalar", "scalar"), ("0", None, None)],
)
def test_environment_chooses_the_instruction_set(library, opened, choice, isa, used):
    expected = None if isa is None else (library, isa)
    with use_native(choice):
        assert if_native(opened, lambda found, isa: (found, isa)) == expected
        assert native_isa() == used


def test_missing_library_is_an_error_only_if_it_is_required(opened, monkeypatch):
    monkeypatch.setitem(sys.modules, "wheatear_native", None)
    with use_native(""):
        assert if_native(opened, lambda *_: 1) is None
        assert native_isa() is None
    with use_native("1"), pytest.raises(MissingExtraError, match=f"unset {NATIVE_VARIABLE}"):
        if_native(opened, lambda *_: 1)


@pytest.mark.usefixtures("library")
def test_bundle_that_does_not_fit_is_an_error_only_if_the_library_is_required(opened):
    def make(_native, _isa):
        raise ValueError("other weights")

    with use_native(""):
        assert if_native(opened, make) is None
    with use_native("1"), pytest.raises(BundleError, match="other weights"):
        if_native(opened, make)
    with use_native("sse9"), pytest.raises(BundleError, match="avx2, scalar"):
        if_native(opened, make)


def test_weights_are_checked_and_none_may_be_left():
    native = SimpleNamespace(Weight=lambda *arguments: arguments)
    tensors = {"a.weight": np.ones((2, 3), np.float32), "n": np.ones(1, np.int64)}
    weights = NativeWeights(native, tensors)
    with pytest.raises(ValueError, match=r"it has weights for a\.weight"):
        weights.check_all_read()
    with pytest.raises(ValueError, match=r"shape \[2, 3\], not \[3\]"):
        weights.tensor("a.weight", 3)
    (weight,), (bias,) = weights.linear("a", 2)
    assert weight.shape == (2, 3)
    assert bias is None
    weights.check_all_read()
    with pytest.raises(ValueError, match="not of float32"):
        weights.weight(np.ones(2))
