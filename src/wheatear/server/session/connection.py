"""Live session on a WebSocket: one task receives, one handles events, one sends, one watches time.

The receiving task does not read while the backlog of the stream is too long.  A client that does
not read its messages in time loses the connection, and the end of the connection ends the stream.
"""

import asyncio
import contextlib
import json
import logging
import math
import time
from collections.abc import Awaitable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from wheatear.errors import StreamClosedError, WheatearError
from wheatear.server.access.limits import LARGE_MESSAGE_BYTES, TokenBucket
from wheatear.server.access.message_buffers import OWN_BYTES, Share
from wheatear.server.access.slow_clients import SEND_SECONDS
from wheatear.server.api_errors import ApiError, no_room, shutting_down, to_api_error
from wheatear.server.metrics import Metrics
from wheatear.server.scheduler.events import StreamEnded
from wheatear.server.session.protocol_handler import GOING_AWAY, NORMAL, ProtocolHandler
from wheatear.server.settings import Limits, Settings
from wheatear.transcript.results import Final, Partial

_log = logging.getLogger(__name__)

FINISH_SECONDS = 10.0
"""Time that a stopped stream has to finish."""
_MAX_UNSENT = 4 << 20  # characters
_WATCH_INTERVAL = 0.5  # seconds between checks of the time limits
_HALF_CLOSED_SECONDS = 20.0  # in which the stream of a half-closed client may continue
_FREE_JSON, _JSON_PER_MESSAGE = 1024, 512  # characters that cost nothing, or one message


class Connection:
    """WebSocket of one session, run by a protocol handler."""

    def __init__(
        self, websocket: WebSocket, settings: Settings, metrics: Metrics, draining: asyncio.Event
    ) -> None:
        self.websocket = websocket
        self.settings = settings
        self._limits: Limits = settings.limits
        self._metrics, self._draining = metrics, draining
        self._out: asyncio.Queue[str | tuple[int, str]] = asyncio.Queue()
        self._unsent = 0
        """Characters in `_out`."""
        state = websocket.scope["state"]
        self._share = Share(state["buffers"], state["client"].name)
        self._has_stream = asyncio.Event()
        self._closing = False
        self._waiting: float | None = None
        """Time since which the next message is awaited, if it is."""
        self._end = math.inf
        """Time at which the stream is stopped."""

    def send(self, message: Any) -> None:
        """Queues a message; values other than text are sent as JSON.

        Raises ApiError if the client does not read, or memory is short.
        """
        if self._closing:
            return
        text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
        if self._unsent + len(text) > _MAX_UNSENT:
            raise ApiError(408, "the client does not read its messages", reason="slow_reader")
        self._unsent += len(text)
        if self._unsent > self._share.room and not self._share.holds(self._unsent):
            raise no_room()
        self._out.put_nowait(text)

    def close(self, code: int, reason: str = "") -> None:
        """Closes the connection after all queued messages."""
        if not self._closing:
            self._closing = True
            self._out.put_nowait((code, reason))

    def stream_opened(self) -> None:
        """Starts the handling of events, as the handler has a stream."""
        self._has_stream.set()

    async def charge_json(self, characters: int) -> None:
        """Counts JSON as several messages, since it costs more than audio; waits for the rate."""
        if wait := self._message_rate.spend(max(0, characters - _FREE_JSON) / _JSON_PER_MESSAGE):
            await asyncio.sleep(wait)

    async def run(self, handler: ProtocolHandler) -> None:
        """Runs the session to its end.  Raises ApiError before the connection is open."""
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
        except OSError:  # the client is gone
            raise WebSocketDisconnect(1006) from None
        gauge = self._metrics.sockets.labels(handler.wire)
        gauge.inc()
        try:
            await self._run_tasks(handler)
        finally:
            gauge.dec()
            handler.on_disconnect()
            if handler.live is not None:
                self._metrics.audio_seconds.labels(handler.wire).inc(handler.live.seconds)
                handler.live.cancel()
            self._out = asyncio.Queue()
            self._share.release()

    async def _run_tasks(self, handler: ProtocolHandler) -> None:
        sender = asyncio.create_task(self._send())
        tasks = [
            asyncio.create_task(self._guarded(work(handler), handler))
            for work in (self._receive, self._handle_events, self._watch)
        ]
        try:
            await sender  # ends with the connection
        except (WebSocketDisconnect, RuntimeError, OSError, TimeoutError):
            pass  # the client is gone, or does not read
        finally:
            for task in (sender, *tasks):
                task.cancel()
            await asyncio.gather(sender, *tasks, return_exceptions=True)

    async def _guarded(self, work: Awaitable[None], handler: ProtocolHandler) -> None:
        """Runs one task; its error is sent to the client, and closes the connection."""
        try:
            await work
        except WebSocketDisconnect:
            self.close(NORMAL)
        except Exception as error:  # noqa: BLE001  any error ends this connection only
            reported = to_api_error(error)
            if reported.status == 500:
                _log.exception("error on a socket, request %s", self.request_id)
                self._metrics.errors.labels(handler.wire).inc()
            self._metrics.refused.labels(reported.reason).inc()
            with contextlib.suppress(ApiError):
                handler.on_error(reported)
            code, reason = handler.close_reason(reported)
            self.close(code, reason.encode()[:120].decode("utf-8", "ignore"))

    @property
    def request_id(self) -> str:
        """Id of the request that opened the connection."""
        return self.websocket.scope["state"]["request_id"]

    @property
    def _message_rate(self) -> TokenBucket:
        """Rate of messages on all sockets of the client."""
        return self.websocket.scope["state"]["pace"]

    async def _receive(self, handler: ProtocolHandler) -> None:
        await handler.on_open()
        while not self._closing:
            self._waiting = time.monotonic()
            # Without a local name, so that a large message is freed while the next one is awaited.
            if not await self._handle(await self.websocket.receive(), handler):
                return

    async def _handle(self, message: Any, handler: ProtocolHandler) -> bool:
        """Handles a message; False if it was the last one."""
        self._waiting = None
        if message["type"] == "websocket.disconnect":
            if not message.get("half_closed"):
                raise WebSocketDisconnect(message.get("code", NORMAL))
            self._end = min(self._end, time.monotonic() + _HALF_CLOSED_SECONDS)
            handler.stop()
            return False
        data, text = message.get("bytes"), message.get("text") or ""
        if wait := self._message_rate.spend(1 + len(data or text) / LARGE_MESSAGE_BYTES):
            await asyncio.sleep(wait)
        try:
            if data is not None:
                await handler.on_bytes(data)
            else:
                await handler.on_text(text)
        except StreamClosedError:
            if not handler.stopped:  # else it came too late
                raise
        return True

    async def _handle_events(self, handler: ProtocolHandler) -> None:
        await self._has_stream.wait()
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
                with contextlib.suppress(Exception):  # the client may be gone
                    await asyncio.wait_for(self.websocket.close(code, reason), 5)
                return
            self._unsent -= len(message)
            if self._unsent + OWN_BYTES < self._share.room:
                self._share.holds(self._unsent)
            async with asyncio.timeout(SEND_SECONDS):
                await self.websocket.send_text(message)

    async def _watch(self, handler: ProtocolHandler) -> None:
        """Ends a session that is idle, too long, or open while the server shuts down."""
        idle = min(self._limits.idle_seconds, handler.idle_seconds)
        most = self._limits.session_seconds
        self._end = min(self._end, time.monotonic() + most)
        draining = False
        while True:
            await asyncio.sleep(min(_WATCH_INTERVAL, idle / 4))
            now = time.monotonic()
            if self.websocket.scope["state"]["gone"]():
                raise WebSocketDisconnect(1006)
            if self._waiting is not None and now - self._waiting > idle:
                raise ApiError(408, f"nothing has come for {idle:g} s", code="idle")
            if self._draining.is_set() and not draining:
                draining = True
                self._end = min(self._end, now + self.settings.drain_seconds)
            if now >= self._end or (handler.live is not None and handler.live.seconds > most):
                break
        handler.stop()
        await asyncio.sleep(FINISH_SECONDS)
        self.close(GOING_AWAY)
