"""The interface of recognizers to measure.

An engine has a name and transcribes samples; everything else has a default.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples
from wheatear.errors import LanguageError
from wheatear.model.languages import resolve_language
from wheatear.model.locales import language_of


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The recognized text of a recording."""

    text: str
    language: str | None = None
    """Detected language, in the notation of the engine."""


@dataclass(frozen=True, slots=True)
class PartialHypothesis:
    """Text that a stream emits before its end."""

    text: str
    final: bool = False
    """True if it ends a turn and will not change."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Description of an engine in a report."""

    kind: str
    precision: str = ""
    latency_ms: int | None = None
    """Latency of its streams, if it is fixed."""
    size: int | None = None
    """Bytes of its weights."""
    parameters: int | None = None
    fingerprint: str = ""
    """Changes with the weights."""


class StreamingSession(ABC):
    """One stream of an engine."""

    @abstractmethod
    def push(self, samples: Samples) -> Sequence[PartialHypothesis]:
        """Takes the next samples and returns new hypotheses."""

    @abstractmethod
    def finish(self) -> Hypothesis:
        """Ends the stream and returns its text."""


class Engine(ABC):
    """A configured recognizer."""

    name: str
    info: EngineInfo
    detects: bool = False
    """True if it can detect the language."""

    @abstractmethod
    def transcribe(self, samples: Samples, locale: str | None) -> Hypothesis:
        """Transcribes a whole recording.

        Args:
            samples: float32 [n] at 16 kHz.
            locale: As returned by `language_for`; None if the engine has to detect the language.
        """

    def language_for(self, locale: str) -> str | None:
        """The engine's name of a locale's language; None if it does not know the language."""
        return locale

    def start_stream(self, locale: str | None, window_s: float) -> StreamingSession:
        """Starts a stream. An engine without streams transcribes windows of `window_s` seconds."""
        return FixedWindows(self, locale, window_s)


class FixedWindows(StreamingSession):
    """Whole-file recognition of consecutive windows, without context between them."""

    def __init__(self, engine: Engine, locale: str | None, window_s: float) -> None:
        self._engine, self._locale = engine, locale
        self._size = round(window_s * SAMPLE_RATE)
        self._blocks: list[Samples] = []
        self._windows: list[Hypothesis] = []

    def push(self, samples: Samples) -> list[PartialHypothesis]:
        self._blocks.append(samples)
        if sum(map(len, self._blocks)) < self._size:
            return []
        self._transcribe()
        return [PartialHypothesis(self._text)]

    def finish(self) -> Hypothesis:
        if self._blocks:
            self._transcribe()
        languages = [window.language for window in self._windows if window.language]
        return Hypothesis(self._text, max(languages, key=languages.count) if languages else None)

    @property
    def _text(self) -> str:
        return " ".join(filter(None, (window.text.strip() for window in self._windows)))

    def _transcribe(self) -> None:
        samples = np.concatenate(self._blocks)
        self._blocks = []
        self._windows.append(self._engine.transcribe(samples, self._locale))


def whisper_language(locale: str) -> str:
    """Whisper's code of a locale's language."""
    language = language_of(locale)
    return {"nb": "no", "cmn": "zh"}.get(language, language)


def matching_prompt(prompts: Mapping[str, int], locale: str) -> str | None:
    """The prompt of a model for a locale; None if the model does not have the language."""
    try:
        return resolve_language(prompts, locale)
    except LanguageError:
        return None
