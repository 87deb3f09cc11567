"""Engines by name."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from wheatear.errors import MissingExtraError, WheatearError
from wheatear.evaluate.engines.engine import Engine, Hypothesis
from wheatear.evaluate.engines.registry import open_engine


@pytest.mark.parametrize("spec", ["nonsense", "whisper:x", "openai:", "wheatear"])
def test_unknown_engine_is_an_error(spec):
    with pytest.raises(WheatearError, match="is no engine"):
        open_engine(spec, 1)


def test_missing_package_is_named(monkeypatch):
    for package in ("faster_whisper", "sherpa_onnx", "transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    for kind in ("faster-whisper", "sherpa-onnx", "transformers"):
        module = {"faster-whisper": "whisper", "sherpa-onnx": "sherpa", "transformers": "pipeline"}
        monkeypatch.delitem(sys.modules, f"wheatear.evaluate.engines.{module[kind]}", False)
        with pytest.raises(MissingExtraError, match=f"pip install {kind}"):
            open_engine(f"{kind}:model", 1)


class Mine(Engine):
    name = "mine"

    def transcribe(self, samples, locale):
        return Hypothesis("mine")


def test_python_function_returns_an_engine(monkeypatch):
    monkeypatch.setitem(sys.modules, "my_engines", SimpleNamespace(make=Mine))
    engine = open_engine("python:my_engines:make", 1)
    assert (engine.name, engine.language_for("de-DE"), engine.detects) == ("mine", "de-DE", False)
    with pytest.raises(WheatearError, match="python:my_engines:other cannot be opened"):
        open_engine("python:my_engines:other", 1)
