"""This engine: a bundle at one latency."""

from __future__ import annotations

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
    prompt_of,
)
from wheatear.model.bundle import Bundle
from wheatear.model.languages import AUTO
from wheatear.model.manifest import MANIFEST
from wheatear.recognizer.external.package import Package
from wheatear.recognizer.recognizer import Recognizer
from wheatear.recognizer.stream import Stream
from wheatear.transcript.results import Event, Final, Partial


class Wheatear(Engine):
    """A recogniser at a latency; several share one recogniser."""

    def __init__(
        self, recognizer: Recognizer, latency_ms: int, beam: BeamRules | None = None
    ) -> None:
        bundle = recognizer.bundle
        self._recognizer, self._latency, self._beam = recognizer, latency_ms, beam
        self.name = bundle.path.resolve().name + (f", beam {beam.width}" if beam else "")
        self.detects = len(bundle.manifest.tags) > 1
        weights = (n for name, n in bundle.sizes.items() if not name.endswith(".safetensors"))
        self.info = EngineInfo(
            "wheatear", bundle.manifest.precision, latency_ms, sum(weights),
            bundle.manifest.parameters or None,
            _fingerprint(bundle),
        )  # fmt: skip

    def language_for(self, locale: str) -> str | None:
        """The locale, or the one that the model has of the same language."""
        prompts = self._recognizer.bundle.manifest.prompts
        return prompt_of(prompts, locale) if prompts else AUTO

    def transcribe(self, samples: Samples, locale: str | None) -> Hypothesis:
        found = self._recognizer.transcribe(
            samples, language=locale or AUTO, latency_ms=self._latency, beam=self._beam
        )
        return Hypothesis(found.text, None if locale else found.language)

    def start_stream(self, locale: str | None, pieces: float) -> StreamingSession:
        stream = self._recognizer.stream(
            language=locale or AUTO, latency_ms=self._latency, beam=self._beam
        )
        return _Stream(stream, told=locale is not None)


def _fingerprint(bundle: Bundle) -> str:
    """Of all that a transcript depends on: the manifest without the documents of the bundle, or
    what a package of graphs is made of."""
    computing = (".onnx", ".weights", ".npy", ".json")
    if isinstance(bundle, Package):
        told: Any = bundle.hashes()
    else:
        told = json.loads((bundle.path / MANIFEST).read_text(encoding="utf-8"))
        told["files"] = {k: v for k, v in told["files"].items() if k.endswith(computing)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


class _Stream(StreamingSession):
    def __init__(self, stream: Stream, told: bool) -> None:
        """told: whether the language was given."""
        self._stream, self._told = stream, told

    def push(self, samples: Samples) -> Sequence[PartialHypothesis]:
        return [told for event in self._stream.push(samples) for told in _told(event)]

    def finish(self) -> Hypothesis:
        found = self._stream.finish()
        return Hypothesis(found.text, None if self._told else found.language)


def _told(event: Event) -> list[PartialHypothesis]:
    match event:
        case Partial():
            return [PartialHypothesis(event.text)]
        case Final():
            return [PartialHypothesis(event.text, final=True)]
    return []
