"""Wheatear: streaming speech recognition with NVIDIA's Nemotron models, on any CPU.

import wheatear

recognizer = wheatear.load()
print(recognizer.transcribe("meeting.wav").text)

stream = recognizer.stream(language="en-US", latency_ms=320)
for block in microphone:
    for event in stream.push(block):  # Partial, Turn, Final: see wheatear.transcript.builder
        if isinstance(event, wheatear.Final):
            print(event.text)
print(stream.finish().text)
"""

from wheatear.common import telemetry as privacy  # noqa: F401  (before whatever it switches off)

TYPE_CHECKING = False  # as type checkers know it; importing typing takes longer than all the rest
if TYPE_CHECKING:
    from typing import Any

    from wheatear.decoder.beam import BeamRules
    from wheatear.decoder.boosting import Phrase
    from wheatear.errors import (
        AudioError,
        BundleError,
        CheckpointError,
        LanguageError,
        LatencyError,
        MissingExtraError,
        ModelError,
        ModelNotFoundError,
        OptionError,
        PhraseError,
        StreamClosedError,
        WheatearError,
    )
    from wheatear.recognizer.options import StreamOptions
    from wheatear.recognizer.recognizer import Recognizer, load
    from wheatear.recognizer.stream import Stream
    from wheatear.transcript.formatting import TextFormat
    from wheatear.transcript.results import (
        Event,
        Final,
        Partial,
        Segment,
        Token,
        Transcript,
        Turn,
        Word,
    )
    from wheatear.transcript.turns import TurnRules

__version__ = "0.1.0"

__all__ = [
    "AudioError",
    "BeamRules",
    "BundleError",
    "CheckpointError",
    "Event",
    "Final",
    "LanguageError",
    "LatencyError",
    "MissingExtraError",
    "ModelError",
    "ModelNotFoundError",
    "OptionError",
    "Partial",
    "Phrase",
    "PhraseError",
    "Recognizer",
    "Segment",
    "Stream",
    "StreamClosedError",
    "StreamOptions",
    "TextFormat",
    "Token",
    "Transcript",
    "Turn",
    "TurnRules",
    "WheatearError",
    "Word",
    "load",
]

_HOME_OF = {
    "BeamRules": "decoder.beam",
    "AudioError": "errors",
    "BundleError": "errors",
    "CheckpointError": "errors",
    "LanguageError": "errors",
    "LatencyError": "errors",
    "MissingExtraError": "errors",
    "ModelError": "errors",
    "ModelNotFoundError": "errors",
    "OptionError": "errors",
    "PhraseError": "errors",
    "StreamClosedError": "errors",
    "WheatearError": "errors",
    "TextFormat": "transcript.formatting",
    "Phrase": "decoder.boosting",
    "Recognizer": "recognizer.recognizer",
    "Stream": "recognizer.stream",
    "StreamOptions": "recognizer.options",
    "load": "recognizer.recognizer",
    "Event": "transcript.results",
    "Final": "transcript.results",
    "Partial": "transcript.results",
    "Segment": "transcript.results",
    "Token": "transcript.results",
    "Transcript": "transcript.results",
    "Turn": "transcript.results",
    "Word": "transcript.results",
    "TurnRules": "transcript.turns",
}


def __getattr__(name: str) -> "Any":
    """Imports a public name on first use, so that `import wheatear` stays fast."""
    from importlib import import_module  # noqa: PLC0415  (the same)
    from importlib.util import find_spec  # noqa: PLC0415

    if name in _HOME_OF:
        value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
