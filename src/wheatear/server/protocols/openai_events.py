"""The events that clients send to /v1/realtime, in OpenAI's shape and the flat one of its beta.

    {"audio": {"input": {"format": {"type": "audio/pcmu"}, "turn_detection": null}}}
    {"input_audio_format": "g711_ulaw", "turn_detection": null}

An unknown field, or one of another type, is an error that names it, and nothing of its event is
applied.
"""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from wheatear.audio.pcm import PcmDecoder
from wheatear.server.api_errors import ApiError
from wheatear.server.parameters import nearest
from wheatear.server.served_models import DELAYS, rules_for_eagerness
from wheatear.transcript.turns import TurnRules

INPUT = "session.audio.input"
FLAT = {
    "input_audio_format": "format", "input_audio_transcription": "transcription",
    "turn_detection": "turn_detection", "input_audio_noise_reduction": "noise_reduction",
}  # fmt: skip
"""Fields of the beta's sessions -> those of `audio.input`."""
_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}

EventId = Annotated[str, Meta(max_length=512)]
Name = Annotated[str, Meta(max_length=200)]
Names = Annotated[list[Name], Meta(max_length=200)]
Milliseconds = Annotated[int, Meta(ge=0, le=3_600_000)]
Silence = Annotated[int, Meta(ge=0, le=60_000)]


class Format(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None

    @property
    def pcm(self) -> PcmDecoder:
        """A decoder of the format.  Raises AudioError for a rate that does not work."""
        match self.type:
            case "audio/pcmu":
                return PcmDecoder(self.rate or 8000, "mulaw")
            case "audio/pcma":
                return PcmDecoder(self.rate or 8000, "alaw")
        return PcmDecoder(self.rate or 24_000, "s16")

    @property
    def flat(self) -> str:
        """Name of the format in the beta API."""
        return next(name for name, kind in _FORMATS.items() if kind == self.type)


class Transcription(msgspec.Struct, forbid_unknown_fields=True):
    model: Name | UnsetType | None = UNSET
    language: Name | UnsetType | None = UNSET
    languages: Names | UnsetType | None = UNSET
    prompt: str | UnsetType | None = UNSET
    keywords: list[str] | UnsetType | None = UNSET
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | UnsetType | None = UNSET


class ServerVad(msgspec.Struct, tag="server_vad", forbid_unknown_fields=True):
    threshold: Annotated[float, Meta(ge=0, le=1)] | None = 0.5
    prefix_padding_ms: Milliseconds | None = 300
    silence_duration_ms: Silence | None = 500
    idle_timeout_ms: Milliseconds | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None

    @property
    def rules(self) -> TurnRules:
        silence = 500 if self.silence_duration_ms is None else self.silence_duration_ms
        silence = max(80, silence)
        return TurnRules(min(400, silence), silence, silence)

    @property
    def padding(self) -> int:
        return max(0, self.prefix_padding_ms or 0)


class SemanticVad(msgspec.Struct, tag="semantic_vad", forbid_unknown_fields=True):
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool | None = None
    interrupt_response: bool | None = None

    @property
    def rules(self) -> TurnRules:
        return rules_for_eagerness(self.eagerness)

    padding = 0
    idle_timeout_ms = None


class NoiseReduction(msgspec.Struct, forbid_unknown_fields=True):
    """Accepted without effect; the description of the session has null."""

    type: Literal["near_field", "far_field"]


class AudioInput(msgspec.Struct, forbid_unknown_fields=True):
    format: Format | UnsetType = UNSET
    transcription: Transcription | UnsetType | None = UNSET
    turn_detection: ServerVad | SemanticVad | UnsetType | None = UNSET
    noise_reduction: NoiseReduction | UnsetType | None = UNSET


class Audio(msgspec.Struct, forbid_unknown_fields=True):
    input: AudioInput | UnsetType = UNSET


class SessionUpdate(msgspec.Struct, forbid_unknown_fields=True):
    type: Name | UnsetType = UNSET
    audio: Audio | UnsetType = UNSET
    include: Names | UnsetType | None = UNSET
    input_audio_format: Literal["pcm16", "g711_ulaw", "g711_alaw"] | UnsetType = UNSET
    input_audio_transcription: Transcription | UnsetType | None = UNSET
    turn_detection: ServerVad | SemanticVad | UnsetType | None = UNSET
    input_audio_noise_reduction: NoiseReduction | UnsetType | None = UNSET
    modalities: list[Literal["text", "audio"]] | UnsetType | None = UNSET
    """Modalities of responses, which this server does not generate."""

    @property
    def flat(self) -> bool:
        """True if it has fields of the beta."""
        return any(getattr(self, name) is not UNSET for name in (*FLAT, "modalities"))

    @property
    def input(self) -> AudioInput | UnsetType:
        """Audio settings from both shapes.  Raises ApiError for a setting that is in both."""
        nested = UNSET if self.audio is UNSET else self.audio.input
        given = {field: getattr(self, name) for name, field in FLAT.items()}
        flat: dict[str, Any] = {f: value for f, value in given.items() if value is not UNSET}
        if not flat:
            return nested
        if nested is not UNSET and (both := [f for f in flat if getattr(nested, f) is not UNSET]):
            raise ApiError(
                400, f"{INPUT}.{both[0]} is given twice, in two shapes", code="invalid_value",
                param=f"{INPUT}.{both[0]}",
            )  # fmt: skip
        if self.input_audio_format is not UNSET:
            flat["format"] = msgspec.convert({"type": _FORMATS[self.input_audio_format]}, Format)
        whole: dict[str, Any] = {}
        if nested is not UNSET:
            whole = {field: getattr(nested, field) for field in nested.__struct_fields__}
        return AudioInput(**whole | flat)

    def flat_name(self, param: str | None) -> str | None:
        """Returns the name of a parameter in the shape that the client used."""
        for name, field in FLAT.items():
            rest = (param or "").removeprefix(f"{INPUT}.{field}")
            if rest != param and getattr(self, name) is not UNSET:
                return f"session.{name}{rest}"
        return param


class Update(msgspec.Struct, tag="session.update", forbid_unknown_fields=True):
    session: SessionUpdate
    event_id: EventId | None = None


class TranscriptionUpdate(
    msgspec.Struct, tag="transcription_session.update", forbid_unknown_fields=True
):
    """The same event by its name in the beta."""

    session: SessionUpdate
    event_id: EventId | None = None


class Append(msgspec.Struct, tag="input_audio_buffer.append", forbid_unknown_fields=True):
    audio: str
    event_id: EventId | None = None


class Commit(msgspec.Struct, tag="input_audio_buffer.commit", forbid_unknown_fields=True):
    event_id: EventId | None = None


class Clear(msgspec.Struct, tag="input_audio_buffer.clear", forbid_unknown_fields=True):
    event_id: EventId | None = None


class ExpiresAfter(msgspec.Struct, forbid_unknown_fields=True):
    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=10, le=7200)] = 600


class SecretRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of /v1/realtime/client_secrets."""

    expires_after: ExpiresAfter | None = None
    session: SessionUpdate | None = None


def secret_request(body: Any) -> SecretRequest:
    """Reads the body of a request for a secret.  Raises ApiError that names the wrong field."""
    try:
        return msgspec.convert(body, SecretRequest)
    except msgspec.ValidationError as error:
        raise _field_error(error) from error


Event = Update | TranscriptionUpdate | Append | Commit | Clear
decode_event = msgspec.json.Decoder(Event).decode
"""Returns the event in a message.  Raises what msgspec raises."""
_STRUCTS = (
    Update, TranscriptionUpdate, Append, Commit, Clear, SessionUpdate, Audio, AudioInput, Format,
    Transcription, ServerVad, SemanticVad, NoiseReduction, SecretRequest, ExpiresAfter,
)  # fmt: skip
EVENTS = tuple(str(struct.__struct_config__.tag) for struct in _STRUCTS[:5])
"""The types of events that clients send."""
_FIELDS = sorted({field for struct in _STRUCTS for field in struct.__struct_fields__})
_VALUES = {
    "delay": DELAYS, "eagerness": ("low", "medium", "high", "auto"),
    "input_audio_format": tuple(_FORMATS), "format.type": tuple(_FORMATS.values()),
    "turn_detection.type": ("server_vad", "semantic_vad"),
    "noise_reduction.type": ("near_field", "far_field"), "modalities[0]": ("text", "audio"),
}  # fmt: skip
"""The values of fields with few values, by the end of their path."""


def _field_error(error: Exception) -> ApiError:
    """Returns the error for a field that is missing, unknown or of another type.

    error: of msgspec.
    """
    text, _, path = str(error).partition(" - at `$")
    path = path.strip("`.")
    if named := re.search("unknown field `(.*?)`", text):
        name = named[1][:80]
        meant = nearest(name, _FIELDS)
        hint = f"did you mean {meant!r}?" if meant else "this server only transcribes"
        text = f"{name!r} is not known here; {hint}"
    else:
        named = re.search("missing required field `(.*?)`", text)
        values = next((known for end, known in _VALUES.items() if path.endswith(end)), ())
        text += f"; {', '.join(values)} work" if values and text.startswith("Invalid") else ""
    param = ".".join(filter(None, (path, named and named[1][:80]))) or None
    unknown = "not known here" in text
    code = "unknown_parameter" if unknown else "invalid_value"
    return ApiError(400, f"{param}: {text}" if param else text, code=code, param=param)


class _Outline(msgspec.Struct):
    """The fields that are read of an invalid event; all others are skipped."""

    type: msgspec.Raw = msgspec.Raw(b"")
    event_id: msgspec.Raw = msgspec.Raw(b"")


def _string(raw: msgspec.Raw) -> str | None:
    return msgspec.json.decode(raw) if bytes(raw).lstrip()[:1] == b'"' else None


def invalid_event(message: str, error: Exception) -> tuple[str | None, ApiError]:
    """Returns the event_id of an invalid message, and the error for the answer.

    error: of msgspec.
    """
    try:
        given = msgspec.json.decode(message, type=_Outline)
        event_id, kind = _string(given.event_id), _string(given.type)
    except msgspec.ValidationError:
        return None, ApiError(400, "an event is a JSON object with a type", code="invalid_json")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None, ApiError(400, f"this is not JSON: {error}", code="invalid_json")
    event_id = event_id if event_id is not None and len(event_id) <= 512 else None
    if kind is None:
        return event_id, ApiError(400, "the event has no type", code="missing", param="type")
    name = kind[:80]
    if name not in EVENTS:
        why = "this server transcribes; it accepts " + ", ".join(EVENTS)
        return event_id, ApiError(400, f"{name!r}: {why}", code="invalid_value", param="type")
    return event_id, _field_error(error)
