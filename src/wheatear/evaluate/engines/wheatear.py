"""Wheatear as an engine: a bundle at one latency."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from wheatear.audio.samples import Samples
from wheatear.decoder.beam import BeamRules
from wheatear.evaluate.engines.engine import (
    Engine,
    EngineInfo,
    Hypothesis,
    PartialHypothesis,
    StreamingSession,
    matching_prompt,
)
from wheatear.model.languages import AUTO
from wheatear.model.manifest import MANIFEST, sha256
from wheatear.recognizer.loaded_model import LoadedModel
from wheatear.recognizer.recognizer import Recognizer
from wheatear.recognizer.stream import Stream
from wheatear.transcript.results import Final, Partial


class Wheatear(Engine):
    """A recognizer at a latency; several engines share one recognizer."""

    def __init__(
        self, recognizer: Recognizer, latency_ms: int, beam: BeamRules | None = None
    ) -> None:
        model = recognizer.model
        self._recognizer, self._latency, self._beam = recognizer, latency_ms, beam
        self.name = model.path.resolve().name + (f", beam {beam.width}" if beam else "")
        self.detects = len(model.manifest.tags) > 1
        weights = (n for name, n in model.sizes.items() if not name.endswith(".safetensors"))
        self.info = EngineInfo(
            "wheatear", model.manifest.precision, latency_ms, sum(weights),
            model.manifest.parameters or None,
            _fingerprint(model),
        )  # fmt: skip

    def language_for(self, locale: str) -> str | None:
        """The locale, or one of the same language that the model has."""
        prompts = self._recognizer.model.manifest.prompts
        return matching_prompt(prompts, locale) if prompts else AUTO

    def transcribe(self, samples: Samples, locale: str | None) -> Hypothesis:
        found = self._recognizer.transcribe(
            samples, language=locale or AUTO, latency_ms=self._latency, beam=self._beam
        )
        return Hypothesis(found.text, None if locale else found.language)

    def start_stream(self, locale: str | None, window_s: float) -> StreamingSession:
        stream = self._recognizer.stream(
            language=locale or AUTO, latency_ms=self._latency, beam=self._beam
        )
        return _Session(stream, detects=locale is None)


def _fingerprint(model: LoadedModel) -> str:
    """Hash of everything that a transcript depends on: weights and manifest, but no documents."""
    path = model.path / MANIFEST
    if path.is_file():
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        computing = (".onnx", ".weights", ".npy", ".json")
        content["files"] = {k: v for k, v in content["files"].items() if k.endswith(computing)}
    else:
        content = {name: sha256(model.path / name) for name in model.sizes}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


class _Session(StreamingSession):
    def __init__(self, stream: Stream, detects: bool) -> None:
        self._stream, self._detects = stream, detects

    def push(self, samples: Samples) -> Sequence[PartialHypothesis]:
        return [
            PartialHypothesis(event.text, final=isinstance(event, Final))
            for event in self._stream.push(samples)
            if isinstance(event, Partial | Final)
        ]

    def finish(self) -> Hypothesis:
        found = self._stream.finish()
        return Hypothesis(found.text, found.language if self._detects else None)
