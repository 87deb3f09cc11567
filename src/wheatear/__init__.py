"""Wheatear: streaming speech recognition with NVIDIA's Nemotron models, on any CPU.

import wheatear

recognizer = wheatear.load()
print(recognizer.transcribe("meeting.wav").text)

stream = recognizer.stream(language="en-US", latency_ms=320)
for block in microphone:
    for event in stream.push(block):  # Partial, Turn, Final: see wheatear.transcript
        if isinstance(event, wheatear.Final):
            print(event.text)
print(stream.finish().text)
"""

from wheatear import privacy  # noqa: F401  (before whatever it switches off)
from wheatear.beam import BeamRules
from wheatear.errors import (
    AudioError,
    BundleError,
    CheckpointError,
    LanguageError,
    LatencyError,
    MissingExtraError,
    ModelError,
    ModelNotFoundError,
    PhraseError,
    StreamClosedError,
    WheatearError,
)
from wheatear.forms import TextForm
from wheatear.phrases import Phrase
from wheatear.recognizer import Recognizer, Stream, load
from wheatear.results import Event, Final, Partial, Segment, Token, Transcript, Turn, Word
from wheatear.turns import TurnRules

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
    "Partial",
    "Phrase",
    "PhraseError",
    "Recognizer",
    "Segment",
    "Stream",
    "StreamClosedError",
    "TextForm",
    "Token",
    "Transcript",
    "Turn",
    "TurnRules",
    "WheatearError",
    "Word",
    "load",
]
