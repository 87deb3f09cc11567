"""Connections of clients that nobody knows yet: uvicorn's protocols, held to limits.

Nobody can make another wait: who connects and says nothing, says it slowly, or leaves what it is
sent unread is let go; frames of a socket are taken in pieces, so that a great many small ones do
not keep the event loop from everybody else's.
"""

import asyncio
import binascii
import select
from collections.abc import Callable
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request

from wheatear.server.gate import HEADERS, LARGE, Rate, answer
from wheatear.server.refusals import Refusal
from wheatear.server.settings import Limits

_HEAD_SECONDS = 15.0  # that the first request of a connection may take to begin
_NEXT_SECONDS = 30.0  # and each one after it
_REST_SECONDS = 5.0  # that an answered request's body is still read, so that the answer is, too
_LEAST_READ = 16_384  # bytes of what it is sent that a client reads in `send_seconds`
_MOST_HEADERS, _LONGEST_LINE = 100, 8000  # of a request for a socket
_PIECE = 512  # bytes of frames that are parsed at once
_SMALL = 512  # bytes of a fragment that is hardly worth its head
_TRIFLES = 20.0  # pings, pongs and small fragments a second, on the average of ten seconds
_HUNG_UP = getattr(select, "POLLRDHUP", 0)


class Config(uvicorn.Config):
    """uvicorn's, and what our protocols go by."""

    def __init__(self, app: Any, limits: Limits, most: int, **options: Any) -> None:
        """most: connections at a time."""
        super().__init__(app, http=PatientHttp, ws=PatientSocket, **options)
        self.limits, self.most = limits, most
        self.waiting: dict[PatientHttp, None] = {}
        """Connections without a request, the one first that has waited longest."""


class _Patient(asyncio.Protocol):
    """Lets a client go that does not read what it is sent."""

    config: uvicorn.Config
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=0)  # tells of all that is not read at once
        if self.transport.get_write_buffer_size():
            self.pause_writing()

    @property
    def ours(self) -> Config:
        """The configuration, which is not just any of uvicorn's."""
        return cast("Config", self.config)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look_later(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._forget_unread()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_unread()
        super().connection_lost(exc)

    def _look_later(self, size: int) -> None:
        self._forget_unread()
        self._unread = self.loop.call_later(self.ours.limits.send_seconds, self._look, size)

    def _look(self, before: int) -> None:
        size = self.transport.get_write_buffer_size()
        if before - size < _LEAST_READ:
            self.transport.abort()
        else:
            self._look_later(size)

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class PatientHttp(_Patient, H11Protocol):
    """HTTP whose requests have to come."""

    _timer: asyncio.TimerHandle | None = None
    _expected: str | None = None
    """What the client has to send: "head" or "rest" of a request; None while it is our turn."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._lingering = _Lingering(cast("asyncio.Transport", transport), self._is_sent_to)
        super().connection_made(cast("asyncio.Transport", self._lingering))
        self._mind()
        if len(self.connections) > self.ours.most:
            longest = next(iter(self.ours.waiting))
            longest.transport.abort()
            longest._expect(None)

    def data_received(self, data: bytes) -> None:
        if not self._lingering.lingers:
            super().data_received(data)
            self._mind()

    def _is_sent_to(self) -> bool:
        """Whether the client is in the middle of a request."""
        return self.conn.their_state is h11.SEND_BODY

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._mind()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._expect(None)
        self._forget_unread()
        self.transport = self._lingering.transport
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP, unless an answer has begun."""
        begun = self.cycle is not None and self.cycle.response_started
        if not begun or self.conn.our_state is h11.IDLE:
            headers, body = answer(Refusal(400, "this is no HTTP that makes sense", cut_off=True))
            headers += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            response = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
            for part in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(part) or b"")
        if self.cycle is not None:
            self.cycle.disconnected = True  # whoever is at work on it may stop
            self.cycle.message_event.set()
        self.transport.close()

    def _should_upgrade(self) -> bool:
        """Whether this asks for a socket as it should; all else is a request as any other."""
        return self._get_upgrade() == b"websocket" and _is_handshake(self.scope)

    def _mind(self) -> None:
        """Sets how long the client may take for what it has to do; bytes that do not do it give it
        no more time."""
        if self.transport.get_protocol() is not self:
            return  # it is a socket now
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect(None)
        elif self._is_sent_to():
            self._expect("rest", _REST_SECONDS)
        else:
            self._expect("head", _HEAD_SECONDS if self.cycle is None else _NEXT_SECONDS)

    def _expect(self, what: str | None, seconds: float = 0.0) -> None:
        if what == self._expected:
            return
        self._expected = what
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self.ours.waiting.pop(self, None)
        if what is not None:
            self._timer = self.loop.call_later(seconds, self._lingering.transport.close)
            self.ours.waiting[self] = None


class _Lingering:
    """A transport that, closed in the middle of a request, reads on until it is closed again.

    Otherwise the client, which still sends, is told that the connection has broken, and never
    reads why.
    """

    def __init__(self, transport: asyncio.Transport, is_sent_to: Callable[[], bool]) -> None:
        self.transport, self._is_sent_to = transport, is_sent_to
        self.lingers = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def is_closing(self) -> bool:
        return self.lingers or self.transport.is_closing()

    def close(self) -> None:
        if self.is_closing() or not self._is_sent_to():
            self.transport.close()
            return
        self.lingers = True
        self.transport.write_eof()
        self.transport.resume_reading()


class PatientSocket(_Patient, WebSocketsSansIOProtocol):
    """A WebSocket whose frames are taken a few at a time, and no more of them than may come."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        most = self.ours.limits.messages_per_second
        self._rate = Rate(most, most)
        self._trifles = Rate(_TRIFLES, 10 * _TRIFLES)
        self._held = bytearray()
        """What has come and has not been looked at."""
        self._later: asyncio.TimerHandle | None = None
        """When more is taken."""
        self._lost = False

    def data_received(self, data: bytes) -> None:
        self._held += data
        self._take()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope["state"]["gone"] = self._has_gone

    async def receive(self) -> Any:
        message = await super().receive()
        self._take()
        await asyncio.sleep(0)  # whatever else has come, others have their turn
        return message

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.close":
            self._take()  # the client's own close may be among it
        elif message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # which uvicorn takes for a fault otherwise

    def connection_lost(self, exc: Exception | None) -> None:
        self._held.clear()
        self._lost = True
        if self._later is not None:
            self._later.cancel()
        super().connection_lost(exc)

    def handle_text(self, event: Frame) -> None:
        self._count(event)
        super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        self._count(event)
        super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        self._count(event)
        super().handle_cont(event)

    def handle_pong(self, event: Frame) -> None:
        self._count(event)
        super().handle_pong(event)

    def handle_ping(self) -> None:
        self._trifles.spend(1)
        super().handle_ping()

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self._fail(1007, "the text is not UTF-8")
                return
        super().send_receive_event_to_app()

    def _take(self) -> None:
        """Looks at what has come, up to the next message, as far as it is time."""
        while self._held and self._later is None and not self.read_paused:
            if self.transport.is_closing():
                self._held.clear()
                return
            size = _PIECE if self.handshake_initiated else len(self._held)
            piece = bytes(self._held[:size])
            del self._held[:size]
            super().data_received(piece)
            if not self.handshake_initiated:
                self.transport.close()  # this was to be a handshake, and all of it
            elif self._trifles.spend(0):
                self._fail(1008, "too many frames that bring nothing")
        if self._held:
            self.transport.pause_reading()
        elif not self.read_paused:
            self.transport.resume_reading()

    def _count(self, frame: Frame) -> None:
        """A frame has come; if it is one too many, the next ones wait."""
        if frame.opcode is Opcode.PONG or (len(frame.data) < _SMALL and not frame.fin):
            self._trifles.spend(1)
        else:
            wait = self._rate.spend(frame.fin + len(frame.data) / LARGE)
            if wait and self._later is None:
                self._later = self.loop.call_later(wait, self._go_on)

    def _go_on(self) -> None:
        self._later = None
        self._take()

    def _fail(self, code: int, reason: str) -> None:
        if not self.transport.is_closing():
            self.conn.fail(code, reason)
            self.handle_parser_exception()

    def _has_gone(self) -> bool:
        """Whether the client has closed its side, even if much that it sent has not been read."""
        if self._lost or self.transport.is_closing():
            return True
        looks = select.poll()
        looks.register(self.transport.get_extra_info("socket"), _HUNG_UP)
        return bool(looks.poll(0))


def _is_handshake(scope: Any) -> bool:
    """Whether a request opens a socket (RFC 6455, 4.2.1), and its lines are not too long."""
    headers = scope["headers"]
    keys = [value for name, value in headers if name == b"sec-websocket-key"]
    versions = [value for name, value in headers if name == b"sec-websocket-version"]
    try:
        sound = len(keys) == 1 and len(binascii.a2b_base64(keys[0], strict_mode=True)) == 16
    except binascii.Error:
        sound = False
    longest = max(len(name) + len(value) for name, value in headers)
    return (
        sound
        and not {b"content-length", b"transfer-encoding"} & {name for name, _ in headers}
        and versions == [b"13"]
        and (scope["method"], scope["http_version"]) == ("GET", "1.1")
        and len(headers) <= _MOST_HEADERS
        and max(longest, len(scope["raw_path"]) + len(scope["query_string"])) <= _LONGEST_LINE
    )
