"""Fixtures of external packages."""

import shutil
from functools import cache

import numpy as np
import pytest
from package_kinds import KINDS
from source_weights import read_source

import wheatear
from wheatear.encoder import native_backend, onnx_backend
from wheatear.encoder.state import subsampled_length


@pytest.fixture(scope="session")
def package_of(tmp_path_factory):
    """Writes a package, once."""
    folder = tmp_path_factory.mktemp("packages")

    @cache
    def make(kind):
        write, model, chunk, options = KINDS[kind]
        return write(folder / kind, read_source(model), chunk, **options)

    return make


@pytest.fixture(scope="session")
def foreign(package_of):
    """Loads a package, once."""

    @cache
    def load(kind):
        return wheatear.load(package_of(kind), threads=1)

    return load


@pytest.fixture
def same_start(monkeypatch):
    """Has our own encoder take what is before the signal for rows of it."""

    def valid_rows(state, frames, convolutions):
        per_frame = 8 >> convolutions
        first = per_frame * (state.frames - 1) + 2 - per_frame
        position = np.arange(first, first + per_frame * (frames + 1) - 1)
        end = (
            np.inf if state.mel_total is None else subsampled_length(state.mel_total, convolutions)
        )
        return (position < end).astype(np.float32)

    for backend in (onnx_backend, native_backend):
        monkeypatch.setattr(backend, "valid_rows", valid_rows)


@pytest.fixture
def copy_of(package_of, tmp_path):
    return lambda kind: shutil.copytree(package_of(kind), tmp_path / kind)
