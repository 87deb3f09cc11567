"""uvicorn's HTTP protocol with deadlines for clients that have not sent a request.

A client that sends nothing, sends slowly, or does not read its answer is disconnected, so that it
does not block other clients.
"""

import asyncio
import binascii
from http import HTTPStatus
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from wheatear.server.access.request_context import SECURITY_HEADERS
from wheatear.server.access.slow_clients import SlowClientProtocol
from wheatear.server.api_errors import ApiError

HEAD_SECONDS = 15.0
"""Time for the head of the first request of a connection."""
NEXT_SECONDS = 30.0
"""Time for the head of each later request."""
REST_SECONDS = 5.0
"""Time in which the body of an answered request is still read, so that its answer is read."""
HALF_CLOSED_SECONDS = 30.0
"""Time for an answer to a half-closed client, which may be gone."""
_MAX_READ = 1 << 16  # bytes at once; asyncio's 256 KiB for every connection would be much
_MAX_HEADERS, _MAX_LINE = 100, 8000  # of a request for a socket


class DeadlineHttpProtocol(SlowClientProtocol, H11Protocol):
    """HTTP/1.1 with a deadline for everything that a client has to send."""

    _timer: asyncio.TimerHandle | None = None
    _expected: str | None = None
    """The part that the client has to send: "head" or "rest" of a request; "answer" while a
    half-closed client waits; None while the server is at work."""
    _half_closed = False
    """True once the client has shut its sending side."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._lingering = _Lingering(cast("asyncio.Transport", transport), self.conn)
        transport.max_size = _MAX_READ  # type: ignore[attr-defined]
        super().connection_made(cast("asyncio.Transport", self._lingering))
        self._update_deadline()
        if len(self.connections) > self.settings.max_connections:
            next(iter(self.settings.waiting)).abort()

    def abort(self) -> None:
        """Closes the connection without an answer."""
        self.transport.abort()
        self._expect(None)

    def data_received(self, data: bytes) -> None:
        if not self._lingering.lingers:
            super().data_received(data)
            self._update_deadline()

    def eof_received(self) -> Any:  # uvicorn's returns None
        """Keeps the connection open while an answer is due.

        A client that is gone looks the same until something is sent to it, so the answer has a
        deadline until it has begun.
        """
        self._half_closed = self._owes_answer
        if self._half_closed:
            self._expect("answer", HALF_CLOSED_SECONDS)
        return self._half_closed

    @property
    def _owes_answer(self) -> bool:
        """True if a request is complete and its answer is not."""
        cycle = self.cycle
        return cycle is not None and not cycle.more_body and not cycle.response_complete

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._half_closed and not self._owes_answer:  # there may be another request
            self._lingering.transport.close()
        self._update_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        super().connection_lost(exc)
        if self.cycle is not None:
            self.cycle.body = bytearray()  # no longer read

    def _end_half_closed(self) -> None:
        """Answers a half-closed client that its answer takes too long."""
        if not self.cycle.response_started:
            self._reject(
                ApiError(
                    408, f"the client shut its sending side; then an answer has to be there in "
                    f"{HALF_CLOSED_SECONDS:g} s. Keep the connection open for long files",
                    cut_off=True,
                )
            )  # fmt: skip

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._expect(None)
        self.stop_unread_timer()
        self.transport = self._lingering.transport
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Answers data that is not HTTP, unless an answer has begun."""
        self._reject(ApiError(400, "this is no HTTP that makes sense", cut_off=True))

    def _reject(self, error: ApiError) -> None:
        """Answers in place of the application, unless that has begun to, and closes."""
        begun = self.cycle is not None and self.cycle.response_started
        if not begun or self.conn.our_state is h11.IDLE:
            headers, body = error.response()
            headers += [(name.encode(), text.encode()) for name, text in SECURITY_HEADERS.items()]
            reason = HTTPStatus(error.status).phrase.encode()
            response = h11.Response(status_code=error.status, headers=headers, reason=reason)
            for part in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(part) or b"")
        if self.cycle is not None:
            self.cycle.disconnected = True  # stops the application
            self.cycle.message_event.set()
        self.transport.close()

    def _should_upgrade(self) -> bool:
        """True for a correct WebSocket handshake; other data is an ordinary request."""
        return self._get_upgrade() == b"websocket" and _is_handshake(self.scope)

    def _update_deadline(self) -> None:
        """Sets the deadline of what the client has to send next; other bytes do not extend it."""
        if self.transport.get_protocol() is not self:
            return  # it is a WebSocket now
        if self._half_closed:
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect(None)
        elif self.conn.their_state is h11.SEND_BODY:
            self._expect("rest", REST_SECONDS)
        else:
            self._expect("head", HEAD_SECONDS if self.cycle is None else NEXT_SECONDS)

    def _expect(self, what: str | None, seconds: float = 0.0) -> None:
        if what == self._expected:
            return
        self._expected = what
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self.settings.waiting.pop(self, None)
        if what == "answer":
            self._timer = self.loop.call_later(seconds, self._end_half_closed)
        elif what is not None:
            self._timer = self.loop.call_later(seconds, self._lingering.transport.close)
            self.settings.waiting[self] = None


class _Lingering:
    """Transport that, closed in the middle of a request, reads on until it is closed again.

    Otherwise a client that is still sending finds a broken connection instead of the answer.
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
    """True if a request opens a WebSocket (RFC 6455, 4.2.1) and its lines are not too long."""
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
        and len(headers) <= _MAX_HEADERS
        and max(longest, len(scope["raw_path"]) + len(scope["query_string"])) <= _MAX_LINE
    )
