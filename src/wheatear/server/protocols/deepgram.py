"""ws /v1/listen: live streams in the protocol of Deepgram (deepgram-sdk 7.17).

    wss .../v1/listen?encoding=linear16&sample_rate=16000&interim_results=true&...

    Results         is_final false: the text of the current span (interim_results)
                    is_final true: the span is settled, the next one starts where it ends
                    speech_final: it also ends with a pause (endpointing), or with a Finalize
    SpeechStarted   a turn starts (vad_events)
    UtteranceEnd    no word for a time after the last settled one (utterance_end_ms)
    Metadata        after CloseStream, last

Spans tile the audio; times count from the start of the stream.  A span ends with a pause or, in
speech without one, before the first word after 6 seconds.  Clients send bytes, KeepAlive,
Finalize, Configure and CloseStream.  Ten seconds without a message close the socket (1011,
NET-0001).  Text is always punctuated and cased.
"""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from wheatear.decoder.boosting import Phrase
from wheatear.errors import PhraseError
from wheatear.recognizer.options import StreamOptions
from wheatear.server.api_errors import ApiError, to_api_error
from wheatear.server.background import run_in_background
from wheatear.server.protocols.deepgram_query import ListenQuery, read_query
from wheatear.server.protocols.deepgram_results import alternative, metadata, model_info
from wheatear.server.scheduler.events import FeedEvent, Flushed, StreamEnded
from wheatear.server.served_models import ServedModels
from wheatear.server.session.connection import Connection
from wheatear.server.session.json_messages import check_size
from wheatear.server.session.live_stream import live_pcm
from wheatear.server.session.protocol_handler import NORMAL, ProtocolHandler
from wheatear.server.session.utterance import Utterance
from wheatear.transcript.results import Final, Partial, Turn

_IDLE_S = 10.0
_HASHED_BYTES = 1 << 18  # at once
_SHOWN = 1000  # characters of a wrong message that are repeated
_CHANNEL = [0, 1]  # the first of one


class KeepAlive(msgspec.Struct, tag="KeepAlive", forbid_unknown_fields=True):
    """Prevents the end of a connection without audio."""


class Finalize(msgspec.Struct, tag="Finalize", forbid_unknown_fields=True):
    """Ends the span with the audio received."""


class CloseStream(msgspec.Struct, tag="CloseStream", forbid_unknown_fields=True):
    """Ends the stream."""


class Configure(msgspec.Struct, tag="Configure", forbid_unknown_fields=True):
    """Replaces the phrases to boost."""

    keyterms: list[str] | None = None
    features: dict[str, bool] | None = None


_decoder = msgspec.json.Decoder(KeepAlive | Finalize | CloseStream | Configure)


class DeepgramHandler(ProtocolHandler[Utterance]):
    """A live stream of a client of Deepgram."""

    wire = "deepgram"
    protocols = ("token", "bearer")
    idle_seconds = _IDLE_S

    def __init__(self, connection: Connection, models: ServedModels) -> None:
        super().__init__(connection)
        self._models = models
        self._query = ListenQuery(models.default)
        self._sha256 = hashlib.sha256()
        self._created = datetime.now(UTC)
        self._held: Final | None = None
        """A settled span that may turn out to be the answer to a Finalize."""
        self._settled_s = 0.0
        """End of the last settled span."""
        self._speaking = False
        self._pause = False
        """True if the last turn ended with a pause."""
        self._last_word_s: float | None = None
        """End of the last settled word; None after its UtteranceEnd."""

    # -- messages of the client

    def check_request(self) -> None:
        self._query = read_query(self.connection.websocket.query_params, self._models)

    async def on_open(self) -> None:
        query, raw = self._query, self._query.live_format
        pcm = await live_pcm(raw.rate, raw.encoding, raw.channels)
        phrases = await self._phrases(query.keyterms)
        model = query.model
        options = StreamOptions(query.language, model.latency_ms, query.turn_rules, phrases)
        await self.open_stream(model, pcm, options)

    async def _phrases(self, terms: tuple[str, ...]) -> tuple[Phrase, ...]:
        """Returns phrases to boost.  Raises ApiError or PhraseError."""
        return await run_in_background(self._query.model.phrases, None, terms) if terms else ()

    async def on_bytes(self, data: bytes) -> None:
        if self.stopped:
            return
        if not data:  # the end of a stream in older clients
            self.stop()
            return
        for at in range(0, len(data), _HASHED_BYTES):
            piece = data[at : at + _HASHED_BYTES]
            self._sha256.update(piece)
            await self.stream.push(piece)
        self._check_utterance_end()

    async def on_text(self, message: str) -> None:
        await self.connection.charge_json(len(message))
        try:
            check_size(message)
            event = _decoder.decode(message)
        except ApiError as error:
            self._send_error("SchemaError", error.message, message=message[:_SHOWN])
            return
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            description = f"this is no message of this protocol: {error}"
            self._send_error("SchemaError", description, message=message[:_SHOWN])
            return
        if self.stopped:
            return
        match event:
            case Finalize():
                self.end_utterance(Utterance())
            case CloseStream():
                self.stop()
            case Configure():
                await self._configure(event)

    async def _configure(self, event: Configure) -> None:
        if event.features:
            why = "can't be changed: text is written as the model writes it"
            features = ", ".join(event.features)[:200]
            self._reject_configuration("INTERNAL_ERROR", f"features {features} {why}")
            return
        changed = {}
        if event.keyterms is not None:
            try:
                self.stream.count_control()
                phrases = await self._phrases(tuple(event.keyterms))
                await run_in_background(self._query.model.recognizer.compile_phrases, phrases)
                self.stream.switch(phrases=phrases)
            except (PhraseError, ApiError) as error:
                api_error = to_api_error(error)
                too_many = api_error.code == "too_large"
                code = "KEYTERM_LIMIT_EXCEEDED" if too_many else "INTERNAL_ERROR"
                self._reject_configuration(code, api_error.message)
                return
            changed["keyterms"] = event.keyterms
        request_id = self.connection.request_id
        self.connection.send({"type": "ConfigureSuccess", "request_id": request_id, **changed})

    def _reject_configuration(self, code: str, description: str) -> None:
        self.connection.send(
            {
                "request_id": self.connection.request_id, "type": "ConfigureFailure",
                "code": f"CONFIGURE_{code}", "description": description,
            }
        )  # fmt: skip

    def _check_utterance_end(self) -> None:
        """Sends UtteranceEnd if no word came for long enough after the last settled one."""
        gap_ms, live = self._query.utterance_end_ms, self.stream
        if gap_ms is None or self._last_word_s is None or self._speaking:
            return
        stream = live.scheduled
        transcribed_s = live.seconds - stream.backlog_s - stream.latency_ms / 1000
        if transcribed_s - self._last_word_s >= gap_ms / 1000:
            end = round(self._last_word_s, 3)
            self.connection.send(
                {"type": "UtteranceEnd", "channel": _CHANNEL, "last_word_end": end}
            )
            self._last_word_s = None

    # -- events of the stream

    def on_event(self, item: FeedEvent) -> None:
        match item:
            case Partial():
                self._release_held()
                if self._query.interim_results:
                    self._send_results(item, is_final=False)
            case Final():
                self._on_final(item)
            case Turn():
                self._release_held()
                self._on_turn(item)
            case Flushed():
                self.pending.popleft()
                last = self._held or Final("", (), self._settled_s, item.duration, None, (), ())
                self._held, self._speaking = None, False
                self._settle(last, from_finalize=True)
            case StreamEnded():
                self._release_held()
                self._send_metadata(item.duration)
                self.connection.close(NORMAL)

    def _on_final(self, final: Final) -> None:
        if self._held is not None and not final.text:
            self._held = replace(self._held, end=final.end)
            return
        self._release_held()
        if self.pending:
            self._held = final
        else:
            self._settle(final)

    def _release_held(self) -> None:
        """Sends the span that was held: it does not answer a Finalize."""
        if self._held is not None:
            held, self._held = self._held, None
            self._settle(held)

    def _settle(self, final: Final, from_finalize: bool = False) -> None:
        """Sends a settled span."""
        pause = self._pause and self._query.endpointing_ms is not None
        self._send_results(final, True, from_finalize, pause or from_finalize)
        self._pause, self._settled_s = False, final.end
        if final.words:
            self._last_word_s = final.words[-1].end

    def _on_turn(self, turn: Turn) -> None:
        if turn.kind == "started":
            if self._query.vad_events and not self._speaking:
                start = round(turn.time, 3)
                self.connection.send(
                    {"type": "SpeechStarted", "channel": _CHANNEL, "timestamp": start}
                )
            self._speaking = True
        elif turn.kind == "ended" and not turn.forced:
            self._speaking, self._pause = False, True

    # -- messages of the server

    def _send_results(
        self,
        event: Partial | Final,
        is_final: bool,
        from_finalize: bool = False,
        speech_final: bool = False,
    ) -> None:
        uid, info = model_info(self._query.model)
        self.connection.send(
            {
                "type": "Results",
                "channel_index": _CHANNEL,
                "duration": round(event.end - event.start, 3),
                "start": round(event.start, 3),
                "is_final": is_final,
                "speech_final": speech_final,
                "channel": {"alternatives": [alternative(event, self._query.multilingual)]},
                "metadata": {
                    "request_id": self.connection.request_id, "model_info": info,
                    "model_uuid": uid,
                },
                "from_finalize": from_finalize,
            }
        )  # fmt: skip

    def _send_metadata(self, duration: float) -> None:
        query, sha256 = self._query, self._sha256.hexdigest()
        request_id = self.connection.request_id
        fields = metadata(query, request_id, sha256, self._created, round(duration, 3))
        self.connection.send({"type": "Metadata", **fields, **query.metadata()})

    def on_error(self, error: ApiError) -> None:
        self._send_error(*_error_name(error))

    def close_reason(self, error: ApiError) -> tuple[int, str]:
        code, _ = super().close_reason(error)
        return 1011 if error.code == "idle" else code, ": ".join(_error_name(error))

    def _send_error(self, variant: str, description: str, **more: Any) -> None:
        self.connection.send(
            {"type": "Error", "variant": variant, "description": description, **more}
        )


def _error_name(error: ApiError) -> tuple[str, str]:
    """Returns Deepgram's name of an error and its description."""
    match error.code:
        case "idle":
            return "NET-0001", f"no audio and no KeepAlive for {_IDLE_S:g} s"
        case "invalid_audio":
            return "DATA-0000", error.message
    return error.code, error.message
