"""Any dialogue over a WebSocket: who reads, who listens, who sends, and what ends it.

Three tasks run for each socket. The reader takes messages and reads no more while the stream has
enough; the listener turns what was heard into messages; the sender sends them in order. What a
client does not read in time ends its socket, and whatever ends a socket ends its stream: nothing
is left behind, and nobody else waits.
"""

import asyncio
import contextlib
import json
import logging
import math
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Generic, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect

from wheatear.audio.pcm import PcmDecoder
from wheatear.errors import StreamClosedError, WheatearError
from wheatear.recognizer.options import StreamOptions
from wheatear.server.access.limits import LARGE_MESSAGE_BYTES, TokenBucket
from wheatear.server.access.message_buffers import OWN_BYTES, Share
from wheatear.server.access.slow_clients import SEND_SECONDS
from wheatear.server.api_errors import SOCKET_CODES, ApiError, no_room, shutting_down, to_api_error
from wheatear.server.metrics import Metrics
from wheatear.server.scheduler.events import FeedEvent, StreamEnded
from wheatear.server.served_models import ServedModel
from wheatear.server.session.live_stream import LiveStream
from wheatear.server.session.utterance import Utterance
from wheatear.server.settings import Limits, Settings
from wheatear.transcript.results import Final, Partial

_log = logging.getLogger(__name__)

_MOST_UNSENT = 4 << 20  # characters
_LOOK = 0.5  # seconds between looks at the clock
NORMAL, GOING_AWAY = 1000, 1001
FINISH_SECONDS = 10.0  # seconds that a stream has to end in
_HALF_CLOSED_SECONDS = 20.0  # that a stream whose client sends no more may go on, before those
_USUAL, _COSTLY = 1024, 512  # characters of JSON that count for nothing, and for a message each


AnyUtterance = TypeVar("AnyUtterance", bound=Utterance)


class ProtocolHandler(ABC, Generic[AnyUtterance]):
    """What one wire says; a subclass is made for each socket."""

    wire: str
    """Its name in /metrics."""
    protocols: tuple[str, ...] = ()
    """Subprotocols that it accepts, of those that a client offers."""
    idle_seconds = math.inf
    """Without a word from the client, where the wire has a limit of its own."""

    def __init__(self, socket: "Connection") -> None:
        self.connection = socket
        self.live: LiveStream | None = None
        """The stream, once there is one."""
        self.stopped = False
        """Whether it takes no more audio."""
        self.pending: deque[AnyUtterance | None] = deque()
        """Utterances that end with each `Flushed` to come; None for discarded audio."""

    async def open_stream(
        self, model: ServedModel, pcm: PcmDecoder, options: StreamOptions
    ) -> None:
        """Opens the stream of the connection, in place of an earlier one.

        Raises what opening a stream raises.
        """
        limits = self.connection.settings.limits
        live = await LiveStream.open(model, pcm, limits, options)
        former, self.live = self.live, live
        if former is not None:
            former.cancel()  # now, so that the task which waits for its events finds the new one
        self.connection.stream_opened()

    def end_utterance(self, utterance: AnyUtterance) -> None:
        """Ends an utterance with the audio received; `Flushed` follows its last event.

        Raises ApiError if clients do so too often.
        """
        self.stream.flush_and_reset()
        self.pending.append(utterance)

    def discard_audio(self) -> None:
        """Discards the audio since the last boundary, and the events about it.

        Raises ApiError if clients do so too often.
        """
        self.stream.discard()
        self.pending.append(None)

    @property
    def discarding(self) -> bool:
        """True while events are about discarded audio."""
        return bool(self.pending) and self.pending[0] is None

    @property
    def stream(self) -> LiveStream:
        """The stream, which must be there."""
        if self.live is None:
            raise ApiError(400, "the stream has not begun")
        return self.live

    def check_request(self) -> None:
        """Looks at what is asked for, before the socket is open.  What this raises is answered
        as a request is, and no socket opens."""

    @abstractmethod
    async def on_open(self) -> None:
        """The socket is open.  Raises ApiError, or what opening a stream raises."""

    @abstractmethod
    async def on_text(self, message: str) -> None:
        """The client has sent text."""

    @abstractmethod
    async def on_bytes(self, data: bytes) -> None:
        """The client has sent bytes."""

    @abstractmethod
    def on_event(self, item: FeedEvent) -> None:
        """Something was heard; what there is to say of it is said through the socket."""

    @abstractmethod
    def on_error(self, error: ApiError) -> None:
        """Tells of a fault that ends the handler."""

    def close_reason(self, error: ApiError) -> tuple[int, str]:
        """Returns the code and the reason that close the connection after an error."""
        return SOCKET_CODES.get(error.status, 1008), error.message

    def stop(self) -> None:
        """No more audio will be taken: ends the stream, so that all of it is told."""
        if self.stopped:
            return
        self.stopped = True
        if self.live is not None:
            self.live.finish()
        else:
            self.connection.close(NORMAL)

    def on_disconnect(self) -> None:
        """The client has gone."""


class Connection:
    """A WebSocket with a dialogue on it."""

    def __init__(
        self, websocket: WebSocket, settings: Settings, metrics: Metrics, draining: asyncio.Event
    ) -> None:
        self.websocket = websocket
        self.settings = settings
        self._limits: Limits = settings.limits
        self._metrics, self._draining = metrics, draining
        self._out: asyncio.Queue[str | tuple[int, str]] = asyncio.Queue()
        self._unsent = 0
        """Characters of `_out`."""
        state = websocket.scope["state"]
        self._share = Share(state["buffers"], state["client"].name)
        self._live = asyncio.Event()
        self._closing = False
        self._waiting: float | None = None
        """Since when it is the client's turn, if it is."""
        self._until = math.inf
        """When the stream is brought to an end."""
        self._going = False
        """Whether it is known that the server goes down."""

    # -- what a dialogue may do

    def send(self, message: Any) -> None:
        """Sends JSON, after what is to be sent before it."""
        if self._closing:
            return
        text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
        if self._unsent + len(text) > _MOST_UNSENT:
            raise ApiError(408, "what was sent here is not being read", reason="slow_reader")
        self._unsent += len(text)
        if self._unsent > self._share.room and not self._share.holds(self._unsent):
            raise no_room()
        self._out.put_nowait(text)

    def close(self, code: int, reason: str = "") -> None:
        """Closes the socket, after all that is to be sent."""
        if not self._closing:
            self._closing = True
            self._out.put_nowait((code, reason))

    def stream_opened(self) -> None:
        """The dialogue has its stream."""
        self._live.set()

    async def charge_json(self, characters: int) -> None:
        """Waits in return for JSON of a length: it costs the event loop more than audio does."""
        if wait := self._pace.spend(max(0, characters - _USUAL) / _COSTLY):
            await asyncio.sleep(wait)

    # -- the dialogue

    async def run(self, handler: ProtocolHandler) -> None:
        """Holds the dialogue to its end."""
        offered = self.websocket.scope.get("subprotocols", [])
        chosen = next((p for p in handler.protocols if p in offered), None)
        if self._draining.is_set():
            raise shutting_down()
        try:
            handler.check_request()
        except WheatearError as error:
            raise to_api_error(error) from error
        try:
            await self.websocket.accept(subprotocol=chosen)
        except OSError:  # the client has gone
            raise WebSocketDisconnect(1006) from None
        gauge = self._metrics.sockets.labels(handler.wire)
        gauge.inc()
        try:
            await self._converse(handler)
        finally:
            gauge.dec()
            handler.on_disconnect()
            if handler.live is not None:
                self._metrics.audio_seconds.labels(handler.wire).inc(handler.live.seconds)
                handler.live.cancel()
            self._out = asyncio.Queue()
            self._share.release()

    async def _converse(self, handler: ProtocolHandler) -> None:
        sender = asyncio.create_task(self._send())
        tasks = [
            asyncio.create_task(self._guarded(work(handler), handler))
            for work in (self._read, self._hear, self._watch)
        ]
        try:
            await sender  # ends with the socket
        except (WebSocketDisconnect, RuntimeError, OSError, TimeoutError):
            pass  # the client has gone, or does not read
        finally:
            for task in (sender, *tasks):
                task.cancel()
            await asyncio.gather(sender, *tasks, return_exceptions=True)

    async def _guarded(self, work: Any, handler: ProtocolHandler) -> None:
        """Does one side's work; a fault of it is told, and closes the socket."""
        try:
            await work
        except WebSocketDisconnect:
            self.close(NORMAL)
        except Exception as error:  # noqa: BLE001  whatever it is, it is this socket's alone
            refusal = to_api_error(error)
            if refusal.status == 500:
                _log.exception("a fault on a socket, request %s", self.request_id)
                self._metrics.errors.labels(handler.wire).inc()
            self._metrics.refused.labels(refusal.reason).inc()
            with contextlib.suppress(ApiError):
                handler.on_error(refusal)
            code, reason = handler.close_reason(refusal)
            self.close(code, reason.encode()[:120].decode("utf-8", "ignore"))

    @property
    def request_id(self) -> str:
        return self.websocket.scope["state"]["request_id"]

    @property
    def _pace(self) -> TokenBucket:
        """The pace of all sockets of the client."""
        return self.websocket.scope["state"]["pace"]

    async def _read(self, handler: ProtocolHandler) -> None:
        await handler.on_open()
        while not self._closing:
            self._waiting = time.monotonic()
            # No name here stands for the message: it may be large, and the next may take long.
            if not await self._take(await self.websocket.receive(), handler):
                return

    async def _take(self, message: Any, handler: ProtocolHandler) -> bool:
        """Does what a message asks for; False if it was the last one."""
        self._waiting = None
        if message["type"] == "websocket.disconnect":
            if not message.get("half_closed"):
                raise WebSocketDisconnect(message.get("code", NORMAL))
            self._until = min(self._until, time.monotonic() + _HALF_CLOSED_SECONDS)
            handler.stop()
            return False
        data, text = message.get("bytes"), message.get("text") or ""
        if wait := self._pace.spend(1 + len(data or text) / LARGE_MESSAGE_BYTES):
            await asyncio.sleep(wait)
        try:
            if data is not None:
                await handler.on_bytes(data)
            else:
                await handler.on_text(text)
        except StreamClosedError:
            if not handler.stopped:  # else it came too late, which is nobody's fault
                raise
        return True

    async def _hear(self, handler: ProtocolHandler) -> None:
        await self._live.wait()
        tokens = self._metrics.tokens.labels(handler.wire)
        turns = self._metrics.turns.labels(handler.wire)
        while True:
            for item in await handler.stream.next_events():
                if isinstance(item, Partial):
                    tokens.inc(len(item.tokens))
                elif isinstance(item, Final) and item.text:
                    turns.inc()
                    if self.settings.log_transcripts:
                        _log.info("%s: %s", self.request_id, item.text)
                handler.on_event(item)
                if isinstance(item, StreamEnded):
                    return

    async def _send(self) -> None:
        while True:
            message = await self._out.get()
            if isinstance(message, tuple):
                code, reason = message
                with contextlib.suppress(Exception):  # whatever else it is, the socket is gone
                    await asyncio.wait_for(self.websocket.close(code, reason), 5)
                return
            self._unsent -= len(message)
            if self._unsent + OWN_BYTES < self._share.room:
                self._share.holds(self._unsent)
            async with asyncio.timeout(SEND_SECONDS):
                await self.websocket.send_text(message)

    async def _watch(self, handler: ProtocolHandler) -> None:
        """Ends a session that is too long, or in which nothing comes, or that the server cannot
        go on with."""
        idle = min(self._limits.idle_seconds, handler.idle_seconds)
        most = self._limits.session_seconds
        self._until = min(self._until, time.monotonic() + most)
        while True:
            await asyncio.sleep(min(_LOOK, idle / 4))
            now = time.monotonic()
            if self.websocket.scope["state"]["gone"]():
                raise WebSocketDisconnect(1006)
            if self._waiting is not None and now - self._waiting > idle:
                raise ApiError(408, f"nothing has come for {idle:g} s", code="idle")
            if self._draining.is_set() and not self._going:
                self._going = True
                self._until = min(self._until, now + self.settings.drain_seconds)
            if now >= self._until or (handler.live is not None and handler.live.seconds > most):
                break
        handler.stop()
        await asyncio.sleep(FINISH_SECONDS)
        self.close(GOING_AWAY)
