"""sherpa-onnx, by a package in its place."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import onnx
import pytest
from fake_engines import tone
from onnx import TensorProto, helper
from package_stubs import stub_package

from wheatear.errors import WheatearError
from wheatear.evaluate.engines.engine import Hypothesis
from wheatear.evaluate.engines.registry import open_engine
from wheatear.evaluate.timing import time_stream


def _graph(path: Path, inputs: list[str], **metadata: str) -> None:
    """An encoder with metadata and no weights."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in inputs]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", [inputs[0]], ["out"])
    model = helper.make_model(
        helper.make_graph([node], "encoder", values, [out]),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
    )  # fmt: skip
    helper.set_model_props(model, metadata)
    onnx.save(model, path)


class _SherpaStream:
    def __init__(self):
        self.samples, self.options, self.ended = 0, {}, False
        self.result = SimpleNamespace(text=" text ", lang="de")

    def set_option(self, key, value):
        self.options[key] = value

    def accept_waveform(self, rate, samples):
        assert rate == 16_000
        assert not self.ended
        self.samples += len(samples)

    def input_finished(self):
        self.ended = True


class _Sherpa:
    """Emits a letter for each half second that it has decoded."""

    made: ClassVar[list[tuple]] = []
    streams: ClassVar[list[_SherpaStream]] = []

    def __init__(self, kind, arguments, options):
        self.made.append((kind, [Path(a).name for a in arguments], options))
        self.decoded = 0

    def create_stream(self):
        self.streams.append(_SherpaStream())
        self.decoded = 0
        return self.streams[-1]

    def is_ready(self, stream):
        return stream.samples - self.decoded >= 8_000

    def decode_stream(self, stream):
        self.decoded += 8_000

    def get_result(self, stream):
        return "a" * (self.decoded // 8_000)


def _maker(kind):
    return staticmethod(lambda *arguments, **options: _Sherpa(kind, arguments, options))


@pytest.fixture
def sherpa(monkeypatch, tmp_path):
    online = SimpleNamespace(from_transducer=_maker("online"))
    offline = SimpleNamespace(from_transducer=_maker("offline"), from_whisper=_maker("whisper"))
    stub_package(
        monkeypatch, "sherpa_onnx", "sherpa",
        OnlineRecognizer=online, OfflineRecognizer=offline, __version__="2",
    )  # fmt: skip
    _Sherpa.made, _Sherpa.streams = [], []
    for name in ("decoder.int8.onnx", "joiner.int8.onnx", "decoder.onnx", "tokens.txt"):
        (tmp_path / name).write_bytes(b"12345")
    return tmp_path


def test_streaming_model_takes_a_language_per_stream(sherpa):
    prompts = json.dumps({"en-US": 0, "es-US": 3, "auto": 101})
    inputs = ["audio_signal", "cache_last_channel"]
    _graph(sherpa / "encoder.int8.onnx", inputs, chunk_size_ms="560", prompt_dictionary=prompts)
    engine = open_engine(f"sherpa-onnx:{sherpa}", 2)
    kind, files, options = _Sherpa.made[0]
    assert (kind, options["num_threads"]) == ("online", 2)
    assert files == ["tokens.txt", "encoder.int8.onnx", "decoder.int8.onnx", "joiner.int8.onnx"]
    assert (engine.info.latency_ms, engine.info.precision) == (560, "int8")
    size = (sherpa / "encoder.int8.onnx").stat().st_size
    assert engine.info.size == size + 10
    assert (engine.detects, engine.language_for("es-419"), engine.language_for("ja-JP")) == (
        True,
        "es-US",
        None,
    )
    assert engine.transcribe(tone(12), "es-US") == Hypothesis("aaa")  # the tail brings the last one
    timed = time_stream(engine, tone(12), None, 2.0)
    assert timed.hypothesis.text == "aaa"
    assert timed.first_s > 0.35
    languages = [stream.options["language"] for stream in _Sherpa.streams]
    assert languages == ["es-US", ""]


def test_whole_file_models_are_detected(sherpa):
    _graph(sherpa / "encoder.int8.onnx", ["audio_signal"])
    engine = open_engine(f"sherpa-onnx:{sherpa}", 1)
    assert (engine.detects, engine.language_for("de-DE")) == (False, "de-DE")
    assert engine.transcribe(tone(5), "de-DE").text == "text"
    assert _Sherpa.made[0][2]["model_type"] == "nemo_transducer"
    _graph(sherpa / "encoder.int8.onnx", ["mel"], model_type="whisper-tiny")
    engine = open_engine(f"sherpa-onnx:{sherpa}", 1)
    assert (engine.detects, engine.language_for("de-DE")) == (True, "de")
    assert engine.transcribe(tone(5), "de") == Hypothesis("text", "de")
    assert engine.transcribe(tone(5), None) == Hypothesis("text", "de")
    assert [made[2]["language"] for made in _Sherpa.made if made[0] == "whisper"] == ["de", ""]
    with pytest.raises(WheatearError, match="is no model of sherpa-onnx"):
        open_engine(f"sherpa-onnx:{sherpa / 'none'}", 1)
