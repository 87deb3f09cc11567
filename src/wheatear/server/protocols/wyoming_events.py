"""Events of the Wyoming protocol: a line of JSON, then more JSON and PCM."""

import io
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from wyoming.event import Eventable, write_event
from wyoming.info import AsrModel, AsrProgram, Attribution, Info

from wheatear import __version__
from wheatear.model.languages import AUTO
from wheatear.server.api_errors import ApiError
from wheatear.server.served_models import ServedModels, rules_for_eagerness
from wheatear.transcript.turns import TurnRules

EAGERNESS = {"relaxed": "low", "default": "medium", "aggressive": "high"}
"""Values of `vad_sensitivity` -> eagerness."""
_ATTRIBUTION = Attribution("Wheatear", "")
Length = Annotated[int, Meta(ge=0)]
Value = TypeVar("Value")
Fields = TypeVar("Fields", bound=msgspec.Struct)


class Head(msgspec.Struct):
    """The first line of an event."""

    type: str
    data: dict[str, Any] | None = None
    data_length: Length | None = None
    payload_length: Length | None = None


class Sizes(msgspec.Struct):
    """The sizes in the first line of an event."""

    data_length: Length | None = None
    payload_length: Length | None = None


class Transcribe(msgspec.Struct):
    """The options of the next command."""

    name: str | None = None
    language: str | None = None
    context: dict[str, Any] | None = None
    """Context of earlier commands; it has no effect."""
    vad_sensitivity: str | None = None
    transcript_names: list[str] | None = None
    transcript_terms: list[str] | None = None

    @property
    def turn_rules(self) -> TurnRules:
        """The rules that end a turn."""
        return rules_for_eagerness(EAGERNESS.get(self.vad_sensitivity or "default", "medium"))

    @property
    def terms(self) -> tuple[str, ...]:
        """The phrases to boost, names first."""
        return (*(self.transcript_names or ()), *(self.transcript_terms or ()))

    def prompt(self, max_letters: int) -> str:
        """Returns the first phrases, a line each, with fewer than `max_letters`."""
        prompt = ""
        for term in self.terms:
            if len(prompt) + len(term) >= max_letters:
                break
            prompt += term + "\n"
        return prompt


class AudioFormat(msgspec.Struct, frozen=True):
    """The format of PCM."""

    rate: int
    width: Annotated[int, Meta(ge=1, le=4)]
    """Bytes of a sample."""
    channels: int


def decode(data: bytes | memoryview, kind: type[Value], event: str) -> Value:
    """Returns the JSON of an event.  Raises ApiError."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ApiError(
            400, f"this is no Wyoming {event[:50]}: {error}", code="bad_message"
        ) from error


def convert(fields: dict[str, Any], kind: type[Fields], event: str) -> Fields:
    """Returns the typed fields of an event.  Raises ApiError."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"{event}: {error}", code="invalid_value") from error


def encode(event: Eventable) -> str:
    """Encodes an event for sending."""
    out = io.BytesIO()
    write_event(event.event(), out)
    return out.getvalue().decode()


def to_s16(data: memoryview, width: int) -> bytes | memoryview:
    """Returns the upper two bytes of signed little-endian samples of `width` bytes."""
    if width == 2:
        return data
    samples = np.frombuffer(data, np.uint8).reshape(-1, width)
    if width == 1:
        return np.stack([np.zeros_like(samples[:, 0]), samples[:, 0]], axis=1).tobytes()
    return samples[:, -2:].tobytes()


def describe_models(models: ServedModels) -> Info:
    """Returns the answer to `describe`."""
    common = {"attribution": _ATTRIBUTION, "installed": True}
    known = [
        AsrModel(
            name=model.name, description=f"{model.name}, {model.latency_ms} ms behind speech",
            version=None, languages=sorted({*model.recognizer.languages} - {AUTO}), **common,
        )
        for model in models
    ]  # fmt: skip
    program = AsrProgram(
        name="wheatear", description="Streaming speech recognition", version=__version__,
        models=known, supports_transcript_streaming=True, requires_external_vad=True, **common,
    )  # fmt: skip
    return Info(asr=[program])
