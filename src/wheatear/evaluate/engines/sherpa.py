"""sherpa-onnx: streaming and offline transducers, and Whisper, detected from the folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import sherpa_onnx

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples
from wheatear.errors import WheatearError
from wheatear.evaluate.engines.engine import (
    Engine,
    EngineInfo,
    Hypothesis,
    PartialHypothesis,
    StreamingSession,
    matching_prompt,
)
from wheatear.model.locales import language_of

_TAIL = np.zeros(SAMPLE_RATE // 2, np.float32)  # completes the last window of a streaming model
_AUTO = ""


def open_sherpa(folder: str, threads: int) -> Engine:
    """Opens the model of a folder.  Raises WheatearError if it has no known kind."""
    files = _Files(Path(folder))
    encoder = files.find("encoder")
    about = onnxruntime.InferenceSession(encoder, providers=["CPUExecutionProvider"])
    metadata = about.get_modelmeta().custom_metadata_map
    inputs = {node.name for node in about.get_inputs()}
    del about
    if "whisper" in metadata.get("model_type", ""):
        return Offline(files, threads, whisper=True)
    if any("cache" in name for name in inputs):
        return Online(files, threads, metadata)
    return Offline(files, threads, whisper=False)


class _Files:
    """The files of a model; int8 graphs are preferred."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, part: str) -> str:
        suffix = ".txt" if part == "tokens" else ".onnx"
        found = sorted(self.folder.glob(f"*{part}*{suffix}"), key=lambda f: "int8" not in f.name)
        if not found:
            raise WheatearError(
                f"{self.folder} is no model of sherpa-onnx: it has no {part}{suffix}"
            )
        return str(found[0])

    def about(self, latency_ms: int | None = None) -> EngineInfo:
        precision = "int8" if "int8" in self.find("encoder") else "fp32"
        parts = ("encoder", "decoder", "joiner")
        graphs = [f for f in self.folder.iterdir() if any(part in f.name for part in parts)]
        if precision == "int8":
            graphs = [file for file in graphs if "int8" in file.name]
        size = sum(file.stat().st_size for file in graphs)
        fingerprint = f"{sherpa_onnx.__version__} {size}"
        return EngineInfo("sherpa-onnx", precision, latency_ms, size, fingerprint=fingerprint)


class Online(Engine):
    """A streaming transducer; the multilingual Nemotron takes a language per stream."""

    def __init__(self, files: _Files, threads: int, metadata: Mapping[str, str]) -> None:
        """metadata: Metadata of the encoder graph."""
        self._prompts: dict[str, int] = json.loads(metadata.get("prompt_dictionary", "{}"))
        self.detects = bool(self._prompts)
        self.name = f"sherpa-onnx {files.folder.name}"
        self.info = files.about(int(metadata.get("chunk_size_ms", 0)) or None)
        self._recognizer: Any = sherpa_onnx.OnlineRecognizer.from_transducer(
            files.find("tokens"), files.find("encoder"), files.find("decoder"),
            files.find("joiner"), num_threads=threads,
        )  # fmt: skip

    def language_for(self, locale: str) -> str | None:
        return matching_prompt(self._prompts, locale) if self._prompts else locale

    def transcribe(self, samples: Samples, locale: str | None) -> Hypothesis:
        session = self.start_stream(locale, 0)
        session.push(samples)
        return session.finish()

    def start_stream(self, locale: str | None, window_s: float) -> StreamingSession:
        return _Session(self._recognizer, locale)


class _Session(StreamingSession):
    def __init__(self, recognizer: Any, locale: str | None) -> None:
        self._recognizer, self._stream = recognizer, recognizer.create_stream()
        self._stream.set_option("language", locale or _AUTO)
        self._text = ""

    def push(self, samples: Samples) -> Sequence[PartialHypothesis]:
        self._stream.accept_waveform(SAMPLE_RATE, samples)
        before = self._text
        self._decode()
        return [PartialHypothesis(self._text)] if self._text != before else []

    def finish(self) -> Hypothesis:
        self._stream.accept_waveform(SAMPLE_RATE, _TAIL)
        self._stream.input_finished()
        self._decode()
        return Hypothesis(self._text.strip())

    def _decode(self) -> None:
        while self._recognizer.is_ready(self._stream):
            self._recognizer.decode_stream(self._stream)
        self._text = self._recognizer.get_result(self._stream)


class Offline(Engine):
    """A transducer for whole files, or Whisper."""

    def __init__(self, files: _Files, threads: int, whisper: bool) -> None:
        self.name, self.info = f"sherpa-onnx {files.folder.name}", files.about()
        self._whisper = self.detects = whisper
        self._files, self._threads = files, threads
        self._recognizers: dict[str | None, Any] = {}

    def language_for(self, locale: str) -> str | None:
        return language_of(locale) if self._whisper else locale

    def _recognizer(self, language: str | None) -> Any:
        """The recognizer; Whisper needs one per language, "" to detect it."""
        if language not in self._recognizers:
            find, make = self._files.find, sherpa_onnx.OfflineRecognizer
            graphs = {part: find(part) for part in ("encoder", "decoder", "tokens")}
            if self._whisper:
                made = make.from_whisper(
                    **graphs, language=language or _AUTO, num_threads=self._threads
                )
            else:
                made = make.from_transducer(
                    **graphs, joiner=find("joiner"), num_threads=self._threads,
                    model_type="nemo_transducer",
                )  # fmt: skip
            self._recognizers = {language: made}
        return self._recognizers[language]

    def transcribe(self, samples: Samples, locale: str | None) -> Hypothesis:
        recognizer = self._recognizer(locale if self._whisper else None)
        stream = recognizer.create_stream()
        stream.accept_waveform(SAMPLE_RATE, samples)
        recognizer.decode_stream(stream)
        return Hypothesis(stream.result.text.strip(), getattr(stream.result, "lang", "") or None)
