"""/ws: bytes of PCM in, JSON out; the least that a program needs.

    /ws?model=&language=auto&latency=560&rate=16000&encoding=s16&channels=1&interim=1&phrases=...

The client sends binary PCM, and text: {"type": "switch", "language", "latency_ms"}, "end_turn",
"finish", "ping" (the bare words will do).  The server sends ready, partial, final, turn, switched,
pong, end, error; docs/serving.md has their fields.
"""

from typing import Any, TypeVar

import msgspec

from wheatear.recognizer.options import StreamOptions
from wheatear.server.api_errors import ApiError, to_api_error
from wheatear.server.background import run_in_background
from wheatear.server.parameters import Parameters
from wheatear.server.scheduler.events import FeedEvent, StreamEnded
from wheatear.server.served_models import ServedModel, ServedModels
from wheatear.server.session.connection import NORMAL, Connection, ProtocolHandler, words_of
from wheatear.server.session.json_messages import check_size
from wheatear.server.session.live_stream import live_pcm
from wheatear.server.session.utterance import Utterance
from wheatear.transcript.results import Final, Partial, Turn


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """What a client may say in words."""

    type: str
    language: str | None = None
    latency_ms: int | None = None


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """The query of /ws."""

    model: str | None = None
    language: str = "auto"
    latency: int | None = None
    rate: int = 16_000
    encoding: str = "s16"
    channels: int = 1
    interim: bool = True
    phrases: list[str] = []


class Plain(ProtocolHandler[Utterance]):
    wire = "ws"
    protocols = ("wheatear",)

    def __init__(self, connection: Connection, models: ServedModels) -> None:
        super().__init__(connection)
        self._models = models
        self._asked = Asked()
        self._served: ServedModel | None = None

    async def on_open(self) -> None:
        self._asked = asked = query_of(self.connection, Asked, lists=("phrases",))
        self._served = served = self._models.named(asked.model or None)
        pcm = await live_pcm(asked.rate, asked.encoding, asked.channels)
        phrases = (
            await run_in_background(served.phrases, None, asked.phrases) if asked.phrases else ()
        )
        latency_ms = served.latency_ms if asked.latency is None else asked.latency
        options = StreamOptions(asked.language, latency_ms, phrases=phrases)
        await self.open_stream(served, pcm, options)
        self.connection.send(
            {
                "type": "ready", "session": self.connection.request_id, "model": served.name,
                "rate": asked.rate, **self._now(),
            }
        )  # fmt: skip

    async def on_bytes(self, data: bytes) -> None:
        if not self.stopped:
            await self.stream.push(data)

    async def on_text(self, message: str) -> None:
        order = _order(message)
        if order.type != "switch" and (order.language or order.latency_ms) is not None:
            raise ApiError(
                400, f"language and latency_ms belong to switch, not {order.type[:50]!r}"
            )
        match order.type:
            case "ping":
                self.connection.send({"type": "pong"})
            case "end_turn" | "flush" if not self.stopped:
                self.stream.flush_and_reset()
            case "finish" | "close":
                self.stop()
            case "switch" if not self.stopped:
                self._switch(order)
            case _:
                raise ApiError(400, f"{order.type[:50]!r} is nothing that can be done here now")

    def _switch(self, order: Order) -> None:
        try:
            self.stream.count_control()
            self.stream.switch(language=order.language, latency_ms=order.latency_ms)
        except Exception as error:
            refusal = to_api_error(error)
            if refusal.status == 500:
                raise
            self._tell_error(refusal)  # goes on as before
        else:
            self.connection.send({"type": "switched", **self._now()})

    def _now(self) -> dict[str, Any]:
        feed = self.stream.scheduled
        return {"language": feed.language, "latency_ms": feed.latency_ms}

    def on_event(self, item: FeedEvent) -> None:
        match item:
            case Partial() if self._asked.interim:
                self.connection.send({"type": "partial", **_heard(item)})
            case Final():
                segments = [
                    {"text": s.text, "start": s.start, "end": s.end, "language": s.language}
                    for s in item.segments
                ]
                self.connection.send({"type": "final", **_heard(item), "segments": segments})
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

    def on_error(self, refusal: ApiError) -> None:
        self._tell_error(refusal)

    def _tell_error(self, refusal: ApiError) -> None:
        self.connection.send({"type": "error", "code": refusal.code, "message": refusal.message})


Form = TypeVar("Form", bound=msgspec.Struct)


def query_of(connection: Connection, form: type[Form], lists: tuple[str, ...] = ()) -> Form:
    """The query of a socket's address.  Raises ApiError naming what it does not know."""
    query = Parameters(connection.websocket.query_params.multi_items())
    known = [field.name for field in msgspec.structs.fields(form)]
    query.check_names(known, "in the query", lists)
    given = {name: query.texts(name) if name in lists else query.text(name) for name in known}
    try:
        values = {name: value for name, value in given.items() if value}
        return msgspec.convert(values, form, strict=False)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"in the query: {error}", code="invalid_value") from error


def _order(message: str) -> Order:
    check_size(message)
    try:
        if message.strip().isidentifier():
            return Order(message.strip())
        return msgspec.json.decode(message, type=Order)
    except msgspec.DecodeError as error:
        raise ApiError(
            400, f"not a message of this protocol: {error}", code="bad_message"
        ) from error


def _heard(event: Partial | Final) -> dict[str, Any]:
    return {
        "text": event.text, "words": words_of(event), "start": round(event.start, 3),
        "end": round(event.end, 3), "language": event.language,
    }  # fmt: skip
