"""/v1/realtime: OpenAI's realtime transcription, as generally available since 2025.

Events and their order follow openai-python 3.57 and OpenAI's realtime guide.  An item is what was
said in one turn (turn detection on) or up to a commit (off).  Its deltas come as speech comes and
are never taken back; joined they are the transcript of its `completed`.

    session.created                                            when the socket opens
    session.updated | error                                    to session.update
    input_audio_buffer.speech_started                          a turn begins
      ...transcription.delta ...                               as it is said
    input_audio_buffer.speech_stopped .committed               it ends
    conversation.item.added .done
      ...transcription.delta ...                               what came late
      ...transcription.completed                               all of it

What differs from OpenAI's: deltas come before the commit, too; any sample rate from 8000 to
48000 works; `delay` chooses one of our latencies for any model; noise reduction is not done and
therefore always null; `threshold` has no part in when a turn ends, words and loudness have.
"""

import logging
import time
import uuid
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from wheatear.decoder.boosting import Phrase
from wheatear.errors import PhraseError
from wheatear.model.languages import replacement_note
from wheatear.recognizer.options import StreamOptions
from wheatear.server.api_errors import ApiError, to_api_error
from wheatear.server.background import run_in_background
from wheatear.server.parameters import Parameters
from wheatear.server.protocols.openai_events import (
    EVENTS,
    FLAT,
    INPUT,
    Append,
    Clear,
    Commit,
    Event,
    Format,
    SemanticVad,
    ServerVad,
    SessionUpdate,
    Transcription,
    TranscriptionUpdate,
    Update,
    wrong_value,
)
from wheatear.server.protocols.openai_files import logprobs
from wheatear.server.scheduler.events import FeedEvent, Flushed, StreamEnded
from wheatear.server.served_models import ServedModel, ServedModels
from wheatear.server.session.connection import NORMAL, Connection, ProtocolHandler
from wheatear.server.session.json_messages import Audio as Spoken
from wheatear.server.session.json_messages import restore_audio, split_audio
from wheatear.server.session.live_stream import is_uncommon_rate
from wheatear.server.session.utterance import Utterance
from wheatear.transcript.results import Final, Partial, Turn
from wheatear.transcript.turns import TurnRules

_LOGPROBS = "item.input_audio_transcription.logprobs"
_QUERY = ("api-version", "intent", "model", "sample_rate")
_COMMITTED = ("gpt-realtime-whisper", "gpt-live-transcribe")
"""ServedModels of OpenAI's that end no turns: who names one of them commits."""
_ITEM = "conversation.item.input_audio_transcription"


_decoder = msgspec.json.Decoder(Event)
_log = logging.getLogger(__name__)


# -- what a session is


@dataclass(frozen=True)
class Session:
    """How a session is set; changed by `session.update`."""

    served: ServedModel
    model: str
    """As the client named it."""
    format: Format = field(default_factory=Format)
    language: str | None = None
    languages: tuple[str, ...] = ()
    prompt: str | None = None
    keywords: tuple[str, ...] = ()
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None
    turn_detection: ServerVad | SemanticVad | None = field(default_factory=ServerVad)
    include: tuple[str, ...] = ()
    flat: bool = False
    """Whether the client speaks in the fields of the beta."""

    @property
    def options(self) -> StreamOptions:
        """Options of the stream.  Raises what they are refused with."""
        language = self.language or (self.languages[0] if len(self.languages) == 1 else "auto")
        latency = (
            self.served.latency_for_delay(self.delay) if self.delay else self.served.latency_ms
        )
        for each in (*self.languages, language):
            self.served.recognizer.resolve(each, latency)
        return StreamOptions(language, latency, self.rules, self.phrases)

    @cached_property
    def phrases(self) -> tuple[Phrase, ...]:
        return self.served.phrases(self.prompt, self.keywords)

    @property
    def rules(self) -> TurnRules:
        return TurnRules() if self.turn_detection is None else self.turn_detection.rules

    def described(self, id: str, expires_at: int) -> dict[str, Any]:  # noqa: A002
        """As the server tells it."""
        flat = {name: self._flat(name) for name in FLAT} if self.flat else {}
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
                    "transcription": self._transcribes,
                    "turn_detection": self._detects,
                }
            },
            **flat,
        }  # fmt: skip

    @property
    def _transcribes(self) -> dict[str, Any]:
        return {
            "model": self.model, "language": self.language, "prompt": self.prompt,
            **({"languages": list(self.languages)} if self.languages else {}),
            **({"keywords": list(self.keywords)} if self.keywords else {}),
            **({"delay": self.delay} if self.delay else {}),
        }  # fmt: skip

    @property
    def _detects(self) -> dict[str, Any] | None:
        """Turn detection, as far as there is any."""
        detection = self.turn_detection
        fields = {} if detection is None else msgspec.to_builtins(detection)
        for name in ("create_response", "interrupt_response"):  # there are no responses
            fields.pop(name, None)
        return {name: value for name, value in fields.items() if value is not None} or None

    def _flat(self, name: str) -> Any:
        """A field of the beta."""
        match name:
            case "input_audio_format":
                return self.format.flat
            case "input_audio_transcription":
                return self._transcribes
            case "turn_detection":
                return self._detects
        return None

    def updated(self, update: SessionUpdate, models: ServedModels) -> "Session":
        """What it is after an update.  Raises ApiError naming what can't be."""
        try:
            return self._updated(update, models)
        except ApiError as refusal:
            if update.flat:
                refusal.param = update.flat_name(refusal.param)
            raise

    def _updated(self, update: SessionUpdate, models: ServedModels) -> "Session":
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
                _trying(lambda: given.format.pcm, f"{INPUT}.format.rate")
            if given.transcription is not UNSET:
                change |= self._transcription(given.transcription, models)
            if given.turn_detection is not UNSET:
                change["turn_detection"] = given.turn_detection
        new = replace(self, **change)
        _trying(lambda: new.phrases, f"{INPUT}.transcription.keywords")
        _trying(lambda: new.rules, f"{INPUT}.turn_detection")
        _trying(lambda: new.options, f"{INPUT}.transcription.language")
        return new

    def _transcription(self, given: Transcription | None, models: ServedModels) -> dict[str, Any]:
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
            if _detection_of(given.model) is None:
                change["turn_detection"] = None
            change["served"] = models.named(given.model, f"{INPUT}.transcription.model")
            change["model"] = given.model or change["served"].name
        return change


def _detection_of(model: str | None) -> ServerVad | None:
    """The turn detection that clients expect of a model if nothing is said of it."""
    return None if (model or "").startswith(_COMMITTED) else ServerVad()


def _takes_a_moment(update: SessionUpdate) -> bool:
    """Whether it has phrases or an odd sample rate, so that others had better not wait for it."""
    given = update.input
    if given is UNSET:
        return False
    rate = 0 if given.format is UNSET else given.format.rate or 0
    said = given.transcription
    return is_uncommon_rate(rate) or (bool(said) and (bool(said.prompt) or bool(said.keywords)))


def _trying(what: Any, param: str) -> None:
    """Raises ApiError, naming the parameter, if it can't be done."""
    try:
        what()
    except Exception as error:
        refusal = to_api_error(error, param)
        if refusal.status == 500 and isinstance(error, ValueError):
            refusal = ApiError(400, str(error), code="invalid_value", param=param)
        refusal.param = param
        raise refusal from error


@dataclass
class Item(Utterance):
    """What is said in one turn, or up to a commit."""

    id: str = field(default_factory=lambda: f"item_{uuid.uuid4().hex[:20]}")
    start: float = 0.0
    """Seconds of the session."""
    seconds: float = 0.0
    speaking: bool = False
    """Whether speech_started has been told and speech_stopped has not."""
    committed: bool = False


class Realtime(ProtocolHandler[Item]):
    wire = "realtime"
    protocols = ("realtime",)

    def __init__(self, connection: Connection, models: ServedModels) -> None:
        super().__init__(connection)
        self._models = models
        self._id = f"sess_{uuid.uuid4().hex[:20]}"
        self._expires_at = int(time.time() + connection.settings.limits.session_seconds)
        self._session = Session(models.default, models.default.name)
        self._item: Item | None = None
        """What is being said."""
        self._previous: str | None = None
        """Id of the item before."""
        self._from = 0.0
        """Seconds of audio that have been committed or cleared."""
        self._quiet_since = 0.0
        """Seconds at which the last turn, or wait for one, ended."""

    # -- the client speaks

    async def on_open(self) -> None:
        query = Parameters(self.connection.websocket.query_params.multi_items())
        query.check_names(_QUERY, "in the address; settings go into session.update")
        if (intent := query.text("intent") or "transcription") != "transcription":
            raise ApiError(
                400, f"intent {intent[:50]!r} is not served; 'transcription' is",
                code="invalid_value", param="intent",
            )  # fmt: skip
        rate = query.text("sample_rate") or "24000"
        is_number = rate.isascii() and rate.isdigit() and len(rate) < 9
        form = Format(rate=int(rate) if is_number else -1)
        served = self._models.named(query.text("model"))
        model = query.text("model") or served.name
        form.pcm  # noqa: B018  (raises for a rate that does not work)
        await self._open(Session(served, model, form, turn_detection=_detection_of(model)))
        self._say("session.created", session=self._described)

    async def _open(self, s: Session) -> None:
        """Goes on with a stream as the session wants it."""
        await self.open_stream(s.served, s.format.pcm, s.options)
        self._session = s

    async def on_bytes(self, data: bytes) -> None:
        self._error(ApiError(400, "audio is sent as input_audio_buffer.append, in base64"), None)

    async def on_text(self, message: str) -> None:
        try:
            message, audio = split_audio(message)
            event = _decoder.decode(message)
            given = event.audio if isinstance(event, Append) else None
            audio = restore_audio(given, audio)
        except ApiError as refusal:
            self._error(refusal, None)
            return
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            await self.connection.charge_json(len(message))
            event_id, refusal = _misread(message, error)
            self._error(refusal, event_id)
            return
        if not isinstance(event, Append):
            await self.connection.charge_json(len(message))
        try:
            await self._do(event, audio)
        except Exception as error:
            param = f"{INPUT}.transcription.keywords" if isinstance(error, PhraseError) else None
            refusal = to_api_error(error, param)
            if refusal.status >= 500:
                raise
            self._error(refusal, event.event_id)

    async def _do(self, event: Event, audio: Spoken) -> None:
        """audio: of an Append.  Raises ApiError, and what a stream raises."""
        match event:
            case Append() if self.stopped:
                pass
            case _ if self.stopped:
                raise ApiError(400, "this session takes no more", code="session_ending")
            case Update():
                await self._update(event.session)
                self._say("session.updated", session=self._described)
            case TranscriptionUpdate():
                await self._update(event.session)
                self._say("transcription_session.updated", session=self._described)
            case Append():
                await self._append(audio)
            case Commit():
                self._commit()
            case Clear():
                self._clear()

    async def _update(self, update: SessionUpdate) -> None:
        old = self._session
        self.stream.count_control()
        if _takes_a_moment(update):
            new = await run_in_background(old.updated, update, self._models)
        else:
            new = old.updated(update, self._models)
        if new.served is not old.served:
            if self.stream.seconds:
                raise ApiError(
                    400, "the model can't be changed once audio has come; open another session",
                    code="invalid_value", param=f"{INPUT}.transcription.model",
                )  # fmt: skip
            await self._open(new)
        else:
            options = new.options
            if new.phrases:
                await run_in_background(new.served.recognizer.compile_phrases, new.phrases)
            self.stream.switch(
                language=options.language,
                latency_ms=options.latency_ms,
                turns=options.turns,
                phrases=options.phrases,
            )
            if new.format != old.format:
                self.stream.set_format(new.format.pcm)
            self._session = new
        if new.turn_detection is None:
            self._stop_speaking(self.stream.seconds)
        if new.language and (
            note := replacement_note(new.language, self.stream.scheduled.language)
        ):
            _log.info("%s: %s", self.connection.request_id, note)

    async def _append(self, audio: Spoken) -> None:
        await self.stream.push(await audio.decoded())
        self._check_idle()

    def _commit(self) -> None:
        self.stream.flush()
        if self.stream.seconds <= self._from:
            raise ApiError(
                400, "there is no audio in the buffer to commit",
                code="input_audio_buffer_commit_empty",
            )  # fmt: skip
        item = self._item
        if item is None or item.committed:  # what that one still gets is not of this buffer
            item = Item(start=self._from)
        self.end_utterance(item)
        self._stop_speaking(self.stream.seconds)
        if item is self._item:
            self._item = None
        item.seconds = self.stream.seconds - item.start
        self._commit_item(item)
        self._from = self._quiet_since = self.stream.seconds

    def _clear(self) -> None:
        unsettled = not self.pending
        self.discard_audio()
        self._stop_speaking(self.stream.seconds)
        if self._item is not None and unsettled:
            if self._item.committed:
                self._complete(self._item)
            self._item = None
        self._from = self._quiet_since = self.stream.seconds
        self._say("input_audio_buffer.cleared")

    def _check_idle(self) -> None:
        """A wait for speech that is longer than was asked for is told, as an empty item."""
        detection, live = self._session.turn_detection, self.stream
        if detection is None or not detection.idle_timeout_ms:
            return
        heard = live.seconds - live.scheduled.backlog_s
        if (
            self._item
            or self.pending
            or heard - self._quiet_since < detection.idle_timeout_ms / 1000
        ):
            return
        item = Item(start=self._quiet_since, seconds=heard - self._quiet_since)
        self._say(
            "input_audio_buffer.timeout_triggered", item_id=item.id,
            audio_start_ms=_ms(item.start), audio_end_ms=_ms(heard),
        )  # fmt: skip
        self._complete(item)
        self._from = self._quiet_since = heard

    # -- the model speaks

    def on_event(self, item: FeedEvent) -> None:
        match item:
            case Partial() | Final() if item.text and not self.discarding:
                self._hear_text(item)
            case Turn() if not self.discarding:
                self._hear_turn(item)
            case Flushed():
                if (cut := self.pending.popleft()) is not None:
                    self._complete(cut)
            case StreamEnded():
                if self._item is not None:  # what had not been committed
                    self._item.seconds = item.duration - self._item.start
                    self._complete(self._item)
                self.connection.close(NORMAL)

    def _hear_text(self, event: Partial | Final) -> None:
        if self._item is None and not self.pending:
            self._item = Item(start=self._from)
        item = self._item or self.pending[0]
        assert item is not None  # noqa: S101
        item.add(event)
        detects = self._session.turn_detection is not None
        if not detects or item.speaking or item.committed or item.told:
            self._tell(item)  # else a sign without a word, which is told with the next turn
        if isinstance(event, Final) and item is self._item and (detects or item.committed):
            self._complete(item)
            self._item = None

    def _hear_turn(self, event: Turn) -> None:
        detection = self._session.turn_detection
        if detection is None or (self.pending and self._item is None):
            return
        if event.kind == "started" and not self.pending:
            start = max(self._quiet_since, event.time - detection.padding / 1000)
            self._item = self._item or Item()
            self._item.speaking = True
            if not self._item.told:
                self._item.start = start
            self._say(
                "input_audio_buffer.speech_started", audio_start_ms=_ms(start),
                item_id=self._item.id,
            )  # fmt: skip
        elif event.kind == "ended" and self._item is not None and not self._item.committed:
            self._stop_speaking(event.time)
            self._item.seconds = event.time - self._item.start
            self._commit_item(self._item)
            self._from = self._quiet_since = event.time

    # -- the server speaks

    def _commit_item(self, item: Item) -> None:
        if item.committed:
            return
        item.committed = True
        self._say("input_audio_buffer.committed", item_id=item.id, previous_item_id=self._previous)
        content = [{"type": "input_audio", "transcript": None}]
        described = {
            "id": item.id, "object": "realtime.item", "type": "message", "status": "completed",
            "role": "user", "content": content,
        }  # fmt: skip
        for kind in ("added", "done"):
            self._say(f"conversation.item.{kind}", previous_item_id=self._previous, item=described)
        self._previous = item.id

    def _stop_speaking(self, seconds: float) -> None:
        """Tells that speech has stopped, if it was told that it had started."""
        item = self._item
        if item is not None and item.speaking:
            item.speaking = False
            self._say(
                "input_audio_buffer.speech_stopped", audio_end_ms=_ms(seconds), item_id=item.id
            )

    def _tell(self, item: Item) -> None:
        """Tells what of an item's text has not been told."""
        delta, new = item.delta()
        if delta:
            more = {"logprobs": logprobs(new)} if self._session.include else {}
            self._say(f"{_ITEM}.delta", item_id=item.id, content_index=0, delta=delta, **more)

    def _complete(self, item: Item) -> None:
        self._commit_item(item)
        self._tell(item)
        more = {"logprobs": logprobs(item.tokens)} if self._session.include else {}
        self._say(
            f"{_ITEM}.completed", item_id=item.id, content_index=0, transcript=item.text,
            languages=[{"code": code} for code in item.languages],
            usage={"type": "duration", "seconds": round(item.seconds, 3)}, **more,
        )  # fmt: skip

    def on_error(self, refusal: ApiError) -> None:
        for item in (self._item, *self.pending):
            if item is not None:
                self._say(
                    f"{_ITEM}.failed", item_id=item.id, content_index=0,
                    error=refusal.body["error"],
                )  # fmt: skip
        self._error(refusal, None)

    def _error(self, refusal: ApiError, event_id: str | None) -> None:
        self._say("error", error=refusal.body["error"] | {"event_id": event_id})

    def _say(self, type: str, **fields: Any) -> None:  # noqa: A002
        self.connection.send({"event_id": f"event_{uuid.uuid4().hex[:20]}", "type": type, **fields})

    @property
    def _described(self) -> dict[str, Any]:
        return self._session.described(self._id, self._expires_at)


class Outline(msgspec.Struct):
    """What is looked at of a message that is no event; the rest is skipped and never built."""

    type: msgspec.Raw = msgspec.Raw(b"")
    event_id: msgspec.Raw = msgspec.Raw(b"")


def _string(raw: msgspec.Raw) -> str | None:
    """The string that a field is, if it is one."""
    return msgspec.json.decode(raw) if bytes(raw).lstrip()[:1] == b'"' else None


def _misread(message: str, error: Exception) -> tuple[str | None, ApiError]:
    """What is wrong with a message that is no event, and the id it has all the same."""
    try:
        given = msgspec.json.decode(message, type=Outline)
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
        why = "this server transcribes; it takes " + ", ".join(EVENTS)
        return event_id, ApiError(400, f"{name!r}: {why}", code="invalid_value", param="type")
    return event_id, wrong_value(error)


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


def secret_session(
    models: ServedModels, expires_at: int, given: SessionUpdate | None
) -> dict[str, Any]:
    """The session that a short-lived secret is told to be for.  Raises ApiError."""
    session = Session(models.default, models.default.name)
    if given is not None:
        session = session.updated(given, models)
    return session.described(f"sess_{uuid.uuid4().hex[:20]}", expires_at)
