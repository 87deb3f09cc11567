"""ws /ws: PCM in, JSON out; the smallest protocol for programs.

    /ws?model=&language=auto&latency=560&rate=16000&encoding=s16&channels=1&interim=1&phrases=...

Clients send binary PCM, and text: {"type": "switch", "language", "latency_ms"}, "end_turn",
"finish", "ping" (the bare words work too).  The server sends ready, partial, final, turn,
switched, pong, end, error; docs/serving.md has their fields.
"""

from typing import Any

import msgspec
from starlette.datastructures import QueryParams

from wheatear.recognizer.options import StreamOptions
from wheatear.server.api_errors import ApiError, to_api_error
from wheatear.server.background import run_in_background
from wheatear.server.parameters import Parameters
from wheatear.server.scheduler.events import FeedEvent, StreamEnded
from wheatear.server.served_models import ServedModels
from wheatear.server.session.connection import Connection
from wheatear.server.session.json_messages import check_size
from wheatear.server.session.live_stream import live_pcm
from wheatear.server.session.protocol_handler import NORMAL, ProtocolHandler
from wheatear.server.session.utterance import Utterance
from wheatear.transcript.results import Final, Partial, Turn


class ClientMessage(msgspec.Struct, forbid_unknown_fields=True):
    """A text message of a client."""

    type: str
    language: str | None = None
    latency_ms: int | None = None


class SocketQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The query of /ws."""

    model: str | None = None
    language: str = "auto"
    latency: int | None = None
    rate: int = 16_000
    encoding: str = "s16"
    channels: int = 1
    interim: bool = True
    phrases: list[str] = []


class PlainHandler(ProtocolHandler[Utterance]):
    """A live stream of a client of /ws."""

    wire = "ws"
    protocols = ("wheatear",)

    def __init__(self, connection: Connection, models: ServedModels) -> None:
        super().__init__(connection)
        self._models = models
        self._query = SocketQuery()

    async def on_open(self) -> None:
        self._query = query = read_query(self.connection.websocket.query_params)
        model = self._models.named(query.model)
        pcm = await live_pcm(query.rate, query.encoding, query.channels)
        phrases = ()
        if query.phrases:
            phrases = await run_in_background(model.phrases, None, query.phrases)
        latency_ms = model.latency_ms if query.latency is None else query.latency
        options = StreamOptions(query.language, latency_ms, phrases=phrases)
        await self.open_stream(model, pcm, options)
        self.connection.send(
            {
                "type": "ready", "session": self.connection.request_id, "model": model.name,
                "rate": query.rate, **self._mode(),
            }
        )  # fmt: skip

    async def on_bytes(self, data: bytes) -> None:
        if not self.stopped:
            await self.stream.push(data)

    async def on_text(self, message: str) -> None:
        event = read_message(message)
        if event.type != "switch" and (event.language or event.latency_ms) is not None:
            raise ApiError(
                400, f"language and latency_ms belong to switch, not {event.type[:50]!r}"
            )
        match event.type:
            case "ping":
                self.connection.send({"type": "pong"})
            case "end_turn" | "flush" if not self.stopped:
                self.stream.flush_and_reset()
            case "finish" | "close":
                self.stop()
            case "switch" if not self.stopped:
                self._switch(event)
            case _:
                raise ApiError(400, f"{event.type[:50]!r} is unknown, or comes after the end")

    def _switch(self, event: ClientMessage) -> None:
        try:
            self.stream.count_control()
            self.stream.switch(language=event.language, latency_ms=event.latency_ms)
        except Exception as error:
            api_error = to_api_error(error)
            if api_error.status == 500:
                raise
            self.on_error(api_error)  # the stream continues as before
        else:
            self.connection.send({"type": "switched", **self._mode()})

    def _mode(self) -> dict[str, Any]:
        stream = self.stream.scheduled
        return {"language": stream.language, "latency_ms": stream.latency_ms}

    def on_event(self, item: FeedEvent) -> None:
        match item:
            case Partial() if self._query.interim:
                self.connection.send({"type": "partial", **_text_fields(item)})
            case Final():
                segments = [
                    {"text": s.text, "start": s.start, "end": s.end, "language": s.language}
                    for s in item.segments
                ]
                self.connection.send({"type": "final", **_text_fields(item), "segments": segments})
            case Turn():
                self.connection.send(
                    {
                        "type": "turn", "kind": item.kind, "number": item.number,
                        "time": round(item.time, 3), "forced": item.forced,
                    }
                )  # fmt: skip
            case StreamEnded():
                self.connection.send(
                    {"type": "end", "duration": item.duration, "language": item.language}
                )
                self.connection.close(NORMAL)

    def on_error(self, error: ApiError) -> None:
        self.connection.send({"type": "error", "code": error.code, "message": error.message})


def read_query(query: QueryParams) -> SocketQuery:
    """Reads the query of an address.  Raises ApiError that names the wrong parameter."""
    known = SocketQuery.__struct_fields__
    given = Parameters(query.multi_items())
    given.check_names(known, "in the query", ("phrases",))
    values: dict[str, Any] = {name: given.text(name) for name in known if name != "phrases"}
    values = {name: value for name, value in values.items() if value is not None}
    values["phrases"] = given.texts("phrases")
    try:
        return msgspec.convert(values, SocketQuery, strict=False)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"in the query: {error}", code="invalid_value") from error


def read_message(message: str) -> ClientMessage:
    """Reads a text message.  Raises ApiError."""
    check_size(message)
    try:
        if message.strip().isidentifier():
            return ClientMessage(message.strip())
        return msgspec.json.decode(message, type=ClientMessage)
    except msgspec.DecodeError as error:
        raise ApiError(
            400, f"not a message of this protocol: {error}", code="bad_message"
        ) from error


def _text_fields(event: Partial | Final) -> dict[str, Any]:
    words = [
        {
            "text": w.text, "start": round(w.start, 3), "end": round(w.end, 3),
            "confidence": round(w.confidence, 4), "space_before": w.space_before,
        }
        for w in event.words
    ]  # fmt: skip
    return {
        "text": event.text, "words": words, "start": round(event.start, 3),
        "end": round(event.end, 3), "language": event.language,
    }  # fmt: skip
