"""Engines: this one for real, a server on the loopback, packages of others by what they are called
with (they are not installed here; `docs/evaluate.md` tells of real runs)."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import onnx
import pytest
import soundfile
from fake_engines import tone
from onnx import TensorProto, helper

import wheatear
from wheatear.audio.reader import sample_speech
from wheatear.errors import MissingExtraError, WheatearError
from wheatear.evaluate.engines.engine import Engine, Hypothesis, open_engine
from wheatear.evaluate.engines.wheatear import Wheatear
from wheatear.evaluate.timing import time_stream, time_turn_end
from wheatear.model.bundle import open_bundle
from wheatear.model.manifest import write_manifest
from wheatear.model.store import find_bundle


@pytest.fixture(scope="module")
def recognizer() -> wheatear.Recognizer:
    return wheatear.load(threads=1)


# -- this engine


def test_wheatear(recognizer):
    engine = Wheatear(recognizer, 320)
    assert engine.name == "wheatear-small"
    assert engine.detects
    about = engine.info
    assert (about.precision, about.latency_ms, about.parameters) == ("int8", 320, 4_830_147)
    assert 7e6 < about.size < 9e6  # without the checkpoint to train from
    asked = {"en-US": "en-US", "fr-FR": "fr-CA", "es-419": "es-US", "ja-JP": None}
    asked |= {"pt-PT": "pt-BR", "en-AU": "en-US", "de_at": "de-DE", "gsw-CH": None}
    assert {locale: engine.language_for(locale) for locale in asked} == asked
    samples = sample_speech()
    expected = recognizer.transcribe(samples, language="en-US", latency_ms=320)
    assert engine.transcribe(samples, "en-US") == Hypothesis(expected.text)
    assert engine.transcribe(samples, None).language == "en-US"
    live = time_stream(engine, samples, "en-US", 2.0)
    assert live.heard == Hypothesis(expected.text)
    assert 0 < live.first < len(samples) / 16_000
    assert 0.4 < time_turn_end(engine, samples, "en-US", 2.0) < 3


def test_weights_are_told_apart_and_documents_are_not(tmp_path):
    def fingerprint(folder: Path) -> str:
        return Wheatear(wheatear.load(folder, threads=1), 80).info.fingerprint

    folder = Path(shutil.copytree(find_bundle(None), tmp_path / "copy"))
    first = fingerprint(folder)
    (folder / "MODEL_CARD.md").write_text("Something else")
    manifest = open_bundle(find_bundle(None)).manifest
    write_manifest(folder, manifest)
    assert fingerprint(folder) == first
    write_manifest(folder, dataclasses.replace(manifest, confidence=(1.0, 0.5)))
    assert fingerprint(folder) != first


def test_wheatear_with_a_beam_and_without_a_language(recognizer, recognizer_of):
    engine = Wheatear(recognizer, 80, wheatear.BeamRules(4))
    assert engine.name == "wheatear-small, beam 4"
    assert engine.transcribe(sample_speech(), "en-US").text
    english = Wheatear(recognizer_of("tiny-en"), 80)
    assert (english.language_for("fr-FR"), english.detects) == ("auto", False)
    assert english.start_stream("auto", 1).finish() == Hypothesis("")


# -- opening


@pytest.mark.parametrize("spec", ["nonsense", "whisper:x", "openai:", "wheatear"])
def test_what_is_no_engine(spec):
    with pytest.raises(WheatearError, match="is no engine"):
        open_engine(spec, 1)


def test_packages_that_are_missing_are_named(monkeypatch):
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


def test_an_engine_of_ones_own(monkeypatch):
    monkeypatch.setitem(sys.modules, "my_engines", SimpleNamespace(make=Mine))
    engine = open_engine("python:my_engines:make", 1)
    assert (engine.name, engine.language_for("de-DE"), engine.detects) == ("mine", "de-DE", False)
    with pytest.raises(WheatearError, match="python:my_engines:other cannot be opened"):
        open_engine("python:my_engines:other", 1)


# -- OpenAI's API


class _Server(BaseHTTPRequestHandler):
    seen: ClassVar[list[dict]] = []
    answer: tuple[int, bytes] = (200, b"{}")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        form = BytesParser().parsebytes(head + body)
        fields = {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in form.get_payload()
        }
        self.seen.append({"path": self.path, "key": self.headers["Authorization"], **fields})
        code, answer = self.answer
        self.send_response(code)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def server() -> Iterator[str]:
    _Server.seen = []
    made = HTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}/v1"
    made.shutdown()
    made.server_close()
    thread.join()


def test_a_server_of_openais_kind(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    engine = open_engine(f"openai:{server}/#small", 1)
    _Server.answer = 200, json.dumps({"text": " Bonjour. "}).encode()
    assert engine.transcribe(tone(5), engine.language_for("fr-CA")) == Hypothesis("Bonjour.")
    _Server.answer = 200, json.dumps({"text": "Hi", "language": "english"}).encode()
    assert engine.transcribe(tone(5), None) == Hypothesis("Hi", "english")
    given, auto = _Server.seen
    assert (given["path"], given["key"]) == ("/v1/audio/transcriptions", "Bearer sesame")
    assert (given["model"], given["language"]) == (b"small", b"fr")
    assert "language" not in auto
    assert auto["response_format"] == b"verbose_json"
    samples, rate = soundfile.read(io.BytesIO(given["file"]), dtype="float32")
    assert rate == 16_000
    assert np.abs(samples - tone(5)).max() < 1e-4


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, b"no memory"), "answered 500: no memory"),
        ((200, b"<html>"), "cannot be used"),
        ((200, b"[]"), "not an object"),
    ],
)
def test_a_server_that_fails(server, answer, said):
    _Server.answer = answer
    with pytest.raises(WheatearError, match=said):
        open_engine(f"openai:{server}", 1).transcribe(tone(5), "en")


def test_a_server_that_is_not_there(server):
    with pytest.raises(WheatearError, match="is no URL"):
        open_engine("openai:localhost:1", 1)
    gone = HTTPServer(("127.0.0.1", 0), _Server)
    gone.server_close()
    with pytest.raises(WheatearError, match="cannot be used"):
        open_engine(f"openai:http://127.0.0.1:{gone.server_port}", 1).transcribe(tone(5), "en")


# -- packages of others


def _stub(monkeypatch: pytest.MonkeyPatch, name: str, module: str, **contents) -> None:
    """Puts a package in place of one that is not here, and lets the adapter be imported anew."""
    made = ModuleType(name)
    vars(made).update(contents)
    monkeypatch.setitem(sys.modules, name, made)
    monkeypatch.delitem(sys.modules, f"wheatear.evaluate.engines.{module}", False)


def test_whisper_from_the_parts_of_a_package(tmp_path, monkeypatch):
    asked: list[tuple] = []

    class WhisperModel:
        supported_languages = ("en", "de", "no")
        model = SimpleNamespace(is_multilingual=True)

        def __init__(self, where, **options):
            self.files = {f.name: f.read_bytes() for f in Path(where).iterdir()}
            asked.append((self.files, options))

        def transcribe(self, samples, language):
            asked.append((len(samples), language))
            segments = [SimpleNamespace(text=" One."), SimpleNamespace(text=" Two.")]
            return iter(segments), SimpleNamespace(language=language or "de")

    _stub(monkeypatch, "faster_whisper", "whisper", WhisperModel=WhisperModel)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1")
    monkeypatch.syspath_prepend(tmp_path)
    for number, content in ((1, b"first "), (2, b"second")):
        part = tmp_path / f"a_whisper_part{number}" / "data"
        part.mkdir(parents=True)
        (part.parent / "__init__.py").touch()
        (part / f"model.bin.part{number}").write_bytes(content)
    (tmp_path / "a_whisper_part1" / "data" / "config.json").write_text("{}")
    engine = open_engine("faster-whisper:a-whisper", 3)
    files, options = asked[0]
    assert files == {"model.bin": b"first second", "config.json": b"{}"}
    assert (options["cpu_threads"], options["device"]) == (3, "cpu")
    assert (engine.name, engine.info.size) == ("faster-whisper a-whisper", 12)
    assert [engine.language_for(x) for x in ("en-GB", "nb-NO", "ja-JP")] == ["en", "no", None]
    assert engine.transcribe(tone(5), "en") == Hypothesis("One. Two.")
    assert engine.transcribe(tone(5), None) == Hypothesis("One. Two.", "de")
    assert asked[1:] == [(8000, "en"), (8000, None)]
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "model.bin").write_bytes(b"123")
    assert open_engine(f"faster-whisper:{whole}", 1).info.size == 3


def _graph(path: Path, inputs: list[str], **metadata: str) -> None:
    """An encoder that only says what it is."""
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
        self.result = SimpleNamespace(text=" heard ", lang="de")

    def set_option(self, key, value):
        self.options[key] = value

    def accept_waveform(self, rate, samples):
        assert rate == 16_000
        assert not self.ended
        self.samples += len(samples)

    def input_finished(self):
        self.ended = True


class _Sherpa:
    """Writes a letter for each half second that it has decoded."""

    made: ClassVar[list[tuple]] = []

    def __init__(self, kind, arguments, options):
        self.made.append((kind, [Path(a).name for a in arguments], options))
        self.decoded, self.streams = 0, []

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
    _stub(
        monkeypatch, "sherpa_onnx", "sherpa",
        OnlineRecognizer=online, OfflineRecognizer=offline, __version__="2",
    )  # fmt: skip
    _Sherpa.made = []
    for name in ("decoder.int8.onnx", "joiner.int8.onnx", "decoder.onnx", "tokens.txt"):
        (tmp_path / name).write_bytes(b"12345")
    return tmp_path


def test_streaming_sherpa(sherpa):
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
    assert timed.heard.text == "aaa"
    assert timed.first > 0.35
    languages = [stream.options["language"] for stream in engine._recognizer.streams]
    assert languages == ["es-US", ""]


def test_sherpas_whole_file_models(sherpa):
    _graph(sherpa / "encoder.int8.onnx", ["audio_signal"])
    engine = open_engine(f"sherpa-onnx:{sherpa}", 1)
    assert (engine.detects, engine.language_for("de-DE")) == (False, "de-DE")
    assert engine.transcribe(tone(5), "de-DE").text == "heard"
    assert _Sherpa.made[0][2]["model_type"] == "nemo_transducer"
    _graph(sherpa / "encoder.int8.onnx", ["mel"], model_type="whisper-tiny")
    engine = open_engine(f"sherpa-onnx:{sherpa}", 1)
    assert (engine.detects, engine.language_for("de-DE")) == (True, "de")
    assert engine.transcribe(tone(5), "de") == Hypothesis("heard", "de")
    assert engine.transcribe(tone(5), None) == Hypothesis("heard", "de")
    assert [made[2]["language"] for made in _Sherpa.made if made[0] == "whisper"] == ["de", ""]
    with pytest.raises(WheatearError, match="is no model of sherpa-onnx"):
        open_engine(f"sherpa-onnx:{sherpa / 'none'}", 1)


def test_transformers(monkeypatch):
    pytest.importorskip("torch")
    asked = []

    class Run:
        def __init__(self, codes, kind):
            config = SimpleNamespace(lang_to_id=codes) if codes else SimpleNamespace()
            weight = SimpleNamespace(numel=lambda: 10, element_size=lambda: 4)
            self.model = SimpleNamespace(
                config=SimpleNamespace(model_type=kind), generation_config=config,
                parameters=lambda: iter([weight, weight]),
            )  # fmt: skip

        def __call__(self, audio, **options):
            asked.append((len(audio["raw"]), audio["sampling_rate"], options))
            return {"text": " Ja. "}

    made = {"multi": Run({"<|de|>": 1}, "whisper"), "ctc": Run({}, "wav2vec2")}
    _stub(
        monkeypatch, "transformers", "pipeline", __version__="5",
        pipeline=lambda task, model, device: made[model],
    )  # fmt: skip
    engine = open_engine("transformers:multi", 1)
    assert (engine.info.parameters, engine.info.size) == (20, 80)
    assert [engine.language_for(x) for x in ("de-AT", "fr-FR")] == ["de", None]
    assert engine.transcribe(tone(5), "de") == Hypothesis("Ja.")
    assert engine.transcribe(tone(5), None) == Hypothesis("Ja.")
    plain = open_engine("transformers:ctc", 1)
    assert (plain.detects, plain.language_for("fr-FR")) == (False, "fr")
    plain.transcribe(tone(5), "fr")
    assert asked == [
        (8000, 16000, {"generate_kwargs": {"language": "de"}}), (8000, 16000, {}),
        (8000, 16000, {}),
    ]  # fmt: skip
