"""The settings of an OpenAI realtime session, changed by `session.update`."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from wheatear.decoder.boosting import Phrase
from wheatear.recognizer.options import StreamOptions
from wheatear.server.api_errors import ApiError, to_api_error
from wheatear.server.protocols.openai_events import (
    FLAT,
    INPUT,
    Format,
    SemanticVad,
    ServerVad,
    SessionUpdate,
    Transcription,
)
from wheatear.server.served_models import ServedModel, ServedModels
from wheatear.server.session.live_stream import is_uncommon_rate
from wheatear.transcript.turns import TurnRules

_LOGPROBS = "item.input_audio_transcription.logprobs"
_WITHOUT_TURNS = ("gpt-realtime-whisper", "gpt-live-transcribe")
"""Models of OpenAI whose clients commit, since they detect no turns."""


@dataclass(frozen=True)
class RealtimeSession:
    """Settings of a session."""

    model: ServedModel
    model_name: str
    """The model as the client named it."""
    format: Format = field(default_factory=Format)
    language: str | None = None
    languages: tuple[str, ...] = ()
    prompt: str | None = None
    keywords: tuple[str, ...] = ()
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None
    turn_detection: ServerVad | SemanticVad | None = field(default_factory=ServerVad)
    include: tuple[str, ...] = ()
    flat: bool = False
    """True if the client uses the fields of the beta."""

    @property
    def options(self) -> StreamOptions:
        """The options of the stream.  Raises what the recognizer rejects them with."""
        language = self.language or (self.languages[0] if len(self.languages) == 1 else "auto")
        latency = self.model.latency_ms
        if self.delay:
            latency = self.model.latency_for_delay(self.delay)
        for each in (*self.languages, language):
            self.model.recognizer.resolve(each, latency)
        return StreamOptions(language, latency, self.turn_rules, self.phrases)

    @cached_property
    def phrases(self) -> tuple[Phrase, ...]:
        """Phrases to boost.  Raises ApiError or PhraseError."""
        return self.model.phrases(self.prompt, self.keywords)

    @property
    def turn_rules(self) -> TurnRules:
        """The rules that end a turn."""
        return TurnRules() if self.turn_detection is None else self.turn_detection.rules

    def describe(self, id: str, expires_at: int) -> dict[str, Any]:  # noqa: A002
        """Returns the session in the form of events and answers."""
        flat = {name: self._flat_field(name) for name in FLAT} if self.flat else {}
        rate = {} if self.format.type != "audio/pcm" else {"rate": self.format.rate or 24_000}
        return {
            "id": id,
            "object": "realtime.transcription_session",
            "type": "transcription",
            "expires_at": expires_at,
            "include": list(self.include) or None,
            "audio": {
                "input": {
                    "format": {"type": self.format.type, **rate},
                    "noise_reduction": None,
                    "transcription": self._transcription_fields,
                    "turn_detection": self._detection_fields,
                }
            },
            **flat,
        }  # fmt: skip

    @property
    def _transcription_fields(self) -> dict[str, Any]:
        return {
            "model": self.model_name, "language": self.language, "prompt": self.prompt,
            **({"languages": list(self.languages)} if self.languages else {}),
            **({"keywords": list(self.keywords)} if self.keywords else {}),
            **({"delay": self.delay} if self.delay else {}),
        }  # fmt: skip

    @property
    def _detection_fields(self) -> dict[str, Any] | None:
        detection = self.turn_detection
        fields = {} if detection is None else msgspec.to_builtins(detection)
        for name in ("create_response", "interrupt_response"):  # there are no responses
            fields.pop(name, None)
        return {name: value for name, value in fields.items() if value is not None} or None

    def _flat_field(self, name: str) -> Any:
        match name:
            case "input_audio_format":
                return self.format.flat
            case "input_audio_transcription":
                return self._transcription_fields
            case "turn_detection":
                return self._detection_fields
        return None

    def updated(self, update: SessionUpdate, models: ServedModels) -> "RealtimeSession":
        """Returns the session after an update.  Raises ApiError that names the wrong field."""
        try:
            return self._updated(update, models)
        except ApiError as error:
            if update.flat:
                error.param = update.flat_name(error.param)
            raise

    def _updated(self, update: SessionUpdate, models: ServedModels) -> "RealtimeSession":
        if update.type not in (UNSET, "transcription"):
            raise ApiError(
                400, f"sessions of type {str(update.type)[:50]!r} are not served: this server "
                f"transcribes", code="invalid_value", param="session.type",
            )  # fmt: skip
        change: dict[str, Any] = {"flat": self.flat or update.flat}
        if update.include is not UNSET:
            change["include"] = tuple(update.include or ())
            if unknown := [name for name in change["include"] if name != _LOGPROBS]:
                raise ApiError(
                    400, f"{unknown[0][:80]!r} can't be included; {_LOGPROBS} can",
                    code="invalid_value", param="session.include",
                )  # fmt: skip
        given = update.input
        if given is not UNSET:
            if given.format is not UNSET:
                same = given.format.type == self.format.type
                if not (same and update.input_audio_format is not UNSET):
                    change["format"] = given.format  # else the address may have named a rate
                _check(lambda: given.format.pcm, f"{INPUT}.format.rate")
            if given.transcription is not UNSET:
                change |= self._transcription_change(given.transcription, models)
            if given.turn_detection is not UNSET:
                change["turn_detection"] = given.turn_detection
        new = replace(self, **change)
        _check(lambda: new.phrases, f"{INPUT}.transcription.keywords")
        _check(lambda: new.turn_rules, f"{INPUT}.turn_detection")
        _check(lambda: new.options, f"{INPUT}.transcription.language")
        return new

    def _transcription_change(
        self, given: Transcription | None, models: ServedModels
    ) -> dict[str, Any]:
        if given is None:
            raise ApiError(
                400, "transcription can't be turned off: there is nothing else that this server "
                "does", code="invalid_value", param=f"{INPUT}.transcription",
            )  # fmt: skip
        change: dict[str, Any] = {}
        for name in ("language", "prompt", "delay"):
            if (value := getattr(given, name)) is not UNSET:
                change[name] = value or None
        for name in ("languages", "keywords"):
            if (value := getattr(given, name)) is not UNSET:
                change[name] = tuple(value or ())
        if given.model is not UNSET:
            if default_detection(given.model) is None:
                change["turn_detection"] = None
            change["model"] = models.named(given.model, f"{INPUT}.transcription.model")
            change["model_name"] = given.model or change["model"].name
        return change


def default_detection(model_name: str | None) -> ServerVad | None:
    """Returns the turn detection that clients of a model expect without a setting."""
    return None if (model_name or "").startswith(_WITHOUT_TURNS) else ServerVad()


def is_slow_update(update: SessionUpdate) -> bool:
    """True if the update has phrases or an uncommon rate, which take long to prepare."""
    given = update.input
    if given is UNSET:
        return False
    rate = 0 if given.format is UNSET else given.format.rate or 0
    transcription = given.transcription
    has_phrases = bool(transcription) and bool(transcription.prompt or transcription.keywords)
    return is_uncommon_rate(rate) or has_phrases


def secret_session(
    models: ServedModels, expires_at: int, given: SessionUpdate | None
) -> dict[str, Any]:
    """Returns the description of the session that a secret is for.  Raises ApiError."""
    session = RealtimeSession(models.default, models.default.name)
    if given is not None:
        session = session.updated(given, models)
    return session.describe(new_session_id(), expires_at)


def new_session_id() -> str:
    """Returns the id of a new session."""
    return f"sess_{uuid.uuid4().hex[:20]}"


def _check(compute: Callable[[], Any], param: str) -> None:
    """Raises ApiError with the name of a field whose value cannot be computed."""
    try:
        compute()
    except Exception as error:
        api_error = to_api_error(error, param)
        if api_error.status == 500 and isinstance(error, ValueError):
            api_error = ApiError(400, str(error), code="invalid_value", param=param)
        api_error.param = param
        raise api_error from error
