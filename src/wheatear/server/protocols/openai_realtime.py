"""ws /v1/realtime: OpenAI's realtime transcription, as generally available since 2025.

Events and their order follow openai-python 3.57 and OpenAI's realtime guide.  An item is the text
of one turn (turn detection on) or up to a commit (off).  Its deltas are sent during speech and
are never retracted; joined they are the transcript of its `completed`.

    session.created                                            when the socket opens
    session.updated | error                                    after session.update
    input_audio_buffer.speech_started                          a turn starts
      ...transcription.delta ...                               its text
    input_audio_buffer.speech_stopped .committed               it ends
    conversation.item.added .done
      ...transcription.delta ...                               late text
      ...transcription.completed                               the whole text

Differences from OpenAI: deltas are sent before the commit, too; any sample rate from 8000 to
48000 works; `delay` selects one of our latencies for any model; noise reduction is not done and
therefore always null; `threshold` has no effect, since words and loudness end a turn.
"""

import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from wheatear.errors import PhraseError
from wheatear.model.languages import replacement_note
from wheatear.server.api_errors import ApiError, to_api_error
from wheatear.server.background import run_in_background
from wheatear.server.parameters import Parameters
from wheatear.server.protocols.openai_events import (
    INPUT,
    Append,
    Clear,
    Commit,
    Event,
    Format,
    SessionUpdate,
    TranscriptionUpdate,
    Update,
    decode_event,
    invalid_event,
)
from wheatear.server.protocols.openai_responses import logprobs
from wheatear.server.protocols.openai_session import (
    RealtimeSession,
    default_detection,
    is_slow_update,
    new_session_id,
)
from wheatear.server.scheduler.events import FeedEvent, Flushed, StreamEnded
from wheatear.server.served_models import ServedModels
from wheatear.server.session.connection import Connection
from wheatear.server.session.json_messages import Audio, restore_audio, split_audio
from wheatear.server.session.protocol_handler import NORMAL, ProtocolHandler
from wheatear.server.session.utterance import Utterance
from wheatear.transcript.results import Final, Partial, Token, Turn

_QUERY = ("api-version", "intent", "model", "sample_rate")
_TRANSCRIPTION = "conversation.item.input_audio_transcription"
_log = logging.getLogger(__name__)


@dataclass
class Item(Utterance):
    """The text of one turn, or up to a commit."""

    id: str = field(default_factory=lambda: f"item_{uuid.uuid4().hex[:20]}")
    start: float = 0.0
    """Seconds since the start of the session."""
    seconds: float = 0.0
    """Duration."""
    speaking: bool = False
    """True between speech_started and speech_stopped."""
    committed: bool = False


class RealtimeHandler(ProtocolHandler[Item]):
    """A realtime session."""

    wire = "realtime"
    protocols = ("realtime",)

    def __init__(self, connection: Connection, models: ServedModels) -> None:
        super().__init__(connection)
        self._models = models
        self._id = new_session_id()
        self._expires_at = int(time.time() + connection.settings.limits.session_seconds)
        self._session = RealtimeSession(models.default, models.default.name)
        self._item: Item | None = None
        """The item of the current turn or commit."""
        self._previous_id: str | None = None
        """Id of the last committed item."""
        self._committed_s = 0.0
        """End of the audio that is committed or cleared."""
        self._quiet_since_s = 0.0
        """End of the last turn, or of the last wait for one."""

    # -- events of the client

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
        audio = Format(rate=int(rate) if is_number else -1)
        model = self._models.named(query.text("model"))
        name = query.text("model") or model.name
        audio.pcm  # noqa: B018  (raises for a rate that does not work)
        detection = default_detection(name)
        await self._open(RealtimeSession(model, name, audio, turn_detection=detection))
        self._send("session.created", session=self._described)

    async def _open(self, session: RealtimeSession) -> None:
        """Opens the stream of a session."""
        await self.open_stream(session.model, session.format.pcm, session.options)
        self._session = session

    async def on_bytes(self, data: bytes) -> None:
        self._send_error(
            ApiError(400, "audio is sent as input_audio_buffer.append, in base64"), None
        )

    async def on_text(self, message: str) -> None:
        try:
            message, audio = split_audio(message)
            event = decode_event(message)
            given = event.audio if isinstance(event, Append) else None
            audio = restore_audio(given, audio)
        except ApiError as error:
            self._send_error(error, None)
            return
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            await self.connection.charge_json(len(message))
            event_id, api_error = invalid_event(message, error)
            self._send_error(api_error, event_id)
            return
        if not isinstance(event, Append):
            await self.connection.charge_json(len(message))
        try:
            await self._handle(event, audio)
        except Exception as error:
            param = f"{INPUT}.transcription.keywords" if isinstance(error, PhraseError) else None
            api_error = to_api_error(error, param)
            if api_error.status >= 500:
                raise
            self._send_error(api_error, event.event_id)

    async def _handle(self, event: Event, audio: Audio) -> None:
        """Handles an event.  audio: of an Append.  Raises ApiError and what a stream raises."""
        match event:
            case Append() if self.stopped:
                pass
            case _ if self.stopped:
                raise ApiError(400, "this session accepts no more events", code="session_ending")
            case Update():
                await self._update(event.session)
                self._send("session.updated", session=self._described)
            case TranscriptionUpdate():
                await self._update(event.session)
                self._send("transcription_session.updated", session=self._described)
            case Append():
                await self._append(audio)
            case Commit():
                self._commit()
            case Clear():
                self._clear()

    async def _update(self, update: SessionUpdate) -> None:
        old = self._session
        self.stream.count_control()
        if is_slow_update(update):
            new = await run_in_background(old.updated, update, self._models)
        else:
            new = old.updated(update, self._models)
        if new.model is not old.model:
            if self.stream.seconds:
                raise ApiError(
                    400, "the model can't be changed once audio has come; open another session",
                    code="invalid_value", param=f"{INPUT}.transcription.model",
                )  # fmt: skip
            await self._open(new)
        else:
            options = new.options
            if new.phrases:
                await run_in_background(new.model.recognizer.compile_phrases, new.phrases)
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

    async def _append(self, audio: Audio) -> None:
        await self.stream.push(await audio.decoded())
        self._check_idle()

    def _commit(self) -> None:
        self.stream.flush()
        if self.stream.seconds <= self._committed_s:
            raise ApiError(
                400, "there is no audio in the buffer to commit",
                code="input_audio_buffer_commit_empty",
            )  # fmt: skip
        item = self._item
        if item is None or item.committed:  # the committed one gets no more audio
            item = Item(start=self._committed_s)
        self.end_utterance(item)
        self._stop_speaking(self.stream.seconds)
        if item is self._item:
            self._item = None
        item.seconds = self.stream.seconds - item.start
        self._commit_item(item)
        self._committed_s = self._quiet_since_s = self.stream.seconds

    def _clear(self) -> None:
        unsettled = not self.pending
        self.discard_audio()
        self._stop_speaking(self.stream.seconds)
        if self._item is not None and unsettled:
            if self._item.committed:
                self._complete(self._item)
            self._item = None
        self._committed_s = self._quiet_since_s = self.stream.seconds
        self._send("input_audio_buffer.cleared")

    def _check_idle(self) -> None:
        """Sends an empty item after a wait for speech that is longer than `idle_timeout_ms`."""
        detection, live = self._session.turn_detection, self.stream
        if detection is None or not detection.idle_timeout_ms:
            return
        transcribed_s = live.seconds - live.scheduled.backlog_s
        quiet_s = transcribed_s - self._quiet_since_s
        if self._item or self.pending or quiet_s < detection.idle_timeout_ms / 1000:
            return
        item = Item(start=self._quiet_since_s, seconds=quiet_s)
        self._send(
            "input_audio_buffer.timeout_triggered", item_id=item.id,
            audio_start_ms=_ms(item.start), audio_end_ms=_ms(transcribed_s),
        )  # fmt: skip
        self._complete(item)
        self._committed_s = self._quiet_since_s = transcribed_s

    # -- events of the stream

    def on_event(self, item: FeedEvent) -> None:
        match item:
            case Partial() | Final() if item.text and not self.discarding:
                self._on_text_event(item)
            case Turn() if not self.discarding:
                self._on_turn(item)
            case Flushed():
                if (cut := self.pending.popleft()) is not None:
                    self._complete(cut)
            case StreamEnded():
                if self._item is not None:
                    self._item.seconds = item.duration - self._item.start
                    self._complete(self._item)
                self.connection.close(NORMAL)

    def _on_text_event(self, event: Partial | Final) -> None:
        if self._item is None and not self.pending:
            self._item = Item(start=self._committed_s)
        item = self._item or self.pending[0]
        assert item is not None  # noqa: S101
        item.add(event)
        detects = self._session.turn_detection is not None
        if not detects or item.speaking or item.committed or item.sent:
            self._send_delta(item)  # else punctuation without a word, sent with the next turn
        if isinstance(event, Final) and item is self._item and (detects or item.committed):
            self._complete(item)
            self._item = None

    def _on_turn(self, event: Turn) -> None:
        detection = self._session.turn_detection
        if detection is None or (self.pending and self._item is None):
            return
        if event.kind == "started" and not self.pending:
            start = max(self._quiet_since_s, event.time - detection.padding / 1000)
            self._item = self._item or Item()
            self._item.speaking = True
            if not self._item.sent:
                self._item.start = start
            self._send(
                "input_audio_buffer.speech_started", audio_start_ms=_ms(start),
                item_id=self._item.id,
            )  # fmt: skip
        elif event.kind == "ended" and self._item is not None and not self._item.committed:
            self._stop_speaking(event.time)
            self._item.seconds = event.time - self._item.start
            self._commit_item(self._item)
            self._committed_s = self._quiet_since_s = event.time

    # -- events of the server

    def _commit_item(self, item: Item) -> None:
        if item.committed:
            return
        item.committed = True
        self._send(
            "input_audio_buffer.committed", item_id=item.id, previous_item_id=self._previous_id
        )
        content = [{"type": "input_audio", "transcript": None}]
        described = {
            "id": item.id, "object": "realtime.item", "type": "message", "status": "completed",
            "role": "user", "content": content,
        }  # fmt: skip
        for kind in ("added", "done"):
            self._send(
                f"conversation.item.{kind}", previous_item_id=self._previous_id, item=described
            )
        self._previous_id = item.id

    def _stop_speaking(self, seconds: float) -> None:
        """Sends speech_stopped after speech_started."""
        item = self._item
        if item is not None and item.speaking:
            item.speaking = False
            self._send(
                "input_audio_buffer.speech_stopped", audio_end_ms=_ms(seconds), item_id=item.id
            )

    def _send_delta(self, item: Item) -> None:
        """Sends the text of an item that was not sent before."""
        delta, new = item.delta()
        if delta:
            self._send(
                f"{_TRANSCRIPTION}.delta", item_id=item.id, content_index=0, delta=delta,
                **self._logprobs(new),
            )  # fmt: skip

    def _complete(self, item: Item) -> None:
        self._commit_item(item)
        self._send_delta(item)
        self._send(
            f"{_TRANSCRIPTION}.completed", item_id=item.id, content_index=0, transcript=item.text,
            languages=[{"code": code} for code in item.languages],
            usage={"type": "duration", "seconds": round(item.seconds, 3)},
            **self._logprobs(item.tokens),
        )  # fmt: skip

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any]:
        return {"logprobs": logprobs(tokens)} if self._session.include else {}

    def on_error(self, error: ApiError) -> None:
        for item in (self._item, *self.pending):
            if item is not None:
                self._send(
                    f"{_TRANSCRIPTION}.failed", item_id=item.id, content_index=0,
                    error=error.body["error"],
                )  # fmt: skip
        self._send_error(error, None)

    def _send_error(self, error: ApiError, event_id: str | None) -> None:
        self._send("error", error=error.body["error"] | {"event_id": event_id})

    def _send(self, type: str, **fields: Any) -> None:  # noqa: A002
        self.connection.send({"event_id": f"event_{uuid.uuid4().hex[:20]}", "type": type, **fields})

    @property
    def _described(self) -> dict[str, Any]:
        return self._session.describe(self._id, self._expires_at)


def _ms(seconds: float) -> int:
    return round(1000 * seconds)
