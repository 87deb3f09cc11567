"""Connections of clients that nobody knows yet: uvicorn's protocols, held to limits.

Nobody can make another wait: who connects and says nothing, says it slowly, or leaves what it is
sent unread is let go; frames of a socket are taken in pieces, so that a great many small ones do
not keep the event loop from everybody else's.
"""

import asyncio
import binascii
from http import HTTPStatus
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from wheatear.server.access.message_buffers import Buffers
from wheatear.server.access.middleware import HEADERS, answer
from wheatear.server.access.websocket_protocol import PacedWebSocketProtocol, Patient
from wheatear.server.api_errors import ApiError
from wheatear.server.settings import Limits

_HEAD_SECONDS = 15.0  # that the first request of a connection may take to begin
_NEXT_SECONDS = 30.0  # and each one after it
_REST_SECONDS = 5.0  # that an answered request's body is still read, so that the answer is, too
_HALF_CLOSED_SECONDS = 30.0  # that an answer may take whose client may as well have gone
_MOST_READ = 1 << 16  # bytes at once: asyncio's 256 KiB of every connection would be much
_MOST_HEADERS, _LONGEST_LINE = 100, 8000  # of a request for a socket


class Config(uvicorn.Config):
    """uvicorn's, and what our protocols go by."""

    def __init__(
        self, app: Any, limits: Limits, most: int, buffers: Buffers, **options: Any
    ) -> None:
        """most: connections at a time.  buffers: what all of them share."""
        super().__init__(app, http=DeadlineHttpProtocol, ws=PacedWebSocketProtocol, **options)
        self.limits, self.most, self.buffers = limits, most, buffers
        self.waiting: dict[DeadlineHttpProtocol, None] = {}
        """Connections without a request, the one first that has waited longest."""


class DeadlineHttpProtocol(Patient, H11Protocol):
    """HTTP whose requests have to come."""

    _timer: asyncio.TimerHandle | None = None
    _expected: str | None = None
    """What the client has to send: "head" or "rest" of a request; None while it is our turn;
    "answer" if we have only so long for it."""

    _half_closed = False
    """True once the client has shut its sending side, and waits for an answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._lingering = _Lingering(cast("asyncio.Transport", transport), self.conn)
        transport.max_size = _MOST_READ  # type: ignore[attr-defined]
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

    def eof_received(self) -> Any:  # uvicorn's returns None
        """Keeps the connection open if it still owes the client an answer.

        A client that has gone looks the same until something is sent to it: the answer, unless
        it has begun, has to be there in some seconds.
        """
        self._half_closed = self._owes
        if self._half_closed:
            self._expect("answer", _HALF_CLOSED_SECONDS)
        return self._half_closed

    @property
    def _owes(self) -> bool:
        """True if a request has come whole and its answer has not been sent."""
        cycle = self.cycle
        return cycle is not None and not cycle.more_body and not cycle.response_complete

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._half_closed and not self._owes:  # it may be the last of several
            self._lingering.transport.close()  # nothing more comes, whatever was begun
        self._mind()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        super().connection_lost(exc)
        if self.cycle is not None:
            self.cycle.body = bytearray()  # which will not be asked for any more

    def _no_answer_yet(self) -> None:
        """Answers a half-closed client that what it asked for takes too long."""
        if not self.cycle.response_started:
            self._refuse(
                ApiError(
                    408, f"the client shut its sending side; then an answer has to be there in "
                    f"{_HALF_CLOSED_SECONDS:g} s. Keep the connection open for long files",
                    cut_off=True,
                )
            )  # fmt: skip

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._expect(None)
        self._forget_unread()
        self.transport = self._lingering.transport
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP, unless an answer has begun."""
        self._refuse(ApiError(400, "this is no HTTP that makes sense", cut_off=True))

    def _refuse(self, refusal: ApiError) -> None:
        """Answers in the place of the application, unless that has begun to, and closes."""
        begun = self.cycle is not None and self.cycle.response_started
        if not begun or self.conn.our_state is h11.IDLE:
            headers, body = answer(refusal)
            headers += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            reason = HTTPStatus(refusal.status).phrase.encode()
            response = h11.Response(status_code=refusal.status, headers=headers, reason=reason)
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
        if self._half_closed:
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect(None)
        elif self.conn.their_state is h11.SEND_BODY:
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
        if what == "answer":
            self._timer = self.loop.call_later(seconds, self._no_answer_yet)
        elif what is not None:
            self._timer = self.loop.call_later(seconds, self._lingering.transport.close)
            self.ours.waiting[self] = None


class _Lingering:
    """A transport that, closed in the middle of a request, reads on until it is closed again.

    Otherwise the client, which still sends, is told that the connection has broken, and never
    reads why.
    """

    def __init__(self, transport: asyncio.Transport, conn: h11.Connection) -> None:
        self.transport, self._conn = transport, conn
        self.lingers = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def is_closing(self) -> bool:
        return self.lingers or self.transport.is_closing()

    def close(self) -> None:
        if self.is_closing() or self._conn.their_state is not h11.SEND_BODY:
            self.transport.close()
            return
        self.lingers = True
        self.transport.write_eof()
        self.transport.resume_reading()


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
