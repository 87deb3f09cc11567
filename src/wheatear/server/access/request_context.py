"""One request or WebSocket in the middleware: body limits, headers, error responses."""

import asyncio
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from wheatear.server.access.credentials import OPEN_FOLDER
from wheatear.server.api_errors import SOCKET_CODES, ApiError
from wheatear.server.settings import Limits

UPLOAD_SECONDS = 900.0
"""Maximum time to receive a request."""
_GRACE_SECONDS = 20.0
"""Time before the pace of a body is checked."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data: blob:; media-src blob:; worker-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
}
"""Headers of every response."""


class RequestContext:
    """Wraps `receive` and `send` of one request or WebSocket."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        limits: Limits,
        grace_seconds: float = _GRACE_SECONDS,
    ) -> None:
        self._scope, self._receive, self._send, self._limits = scope, receive, send, limits
        given = Headers(scope=scope).get("x-request-id", "")
        self.id = given if _REQUEST_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        self.status = 0
        self._grace_seconds = grace_seconds
        self._deadline = time.monotonic() + UPLOAD_SECONDS
        self._body_bytes = 0
        self._waited = 0.0
        """Seconds in which the client could have sent more."""
        self._has_begun = self._closed = False
        self._complete = scope["type"] != "http"
        """True once the whole request has arrived."""

    async def receive(self) -> Message:
        """Receives a part of the body.  Raises ApiError if it is too large or too slow."""
        if self._complete:
            return await self._receive()
        self._check_size(_content_length(Headers(scope=self._scope)))
        began, limits = time.monotonic(), self._limits
        by_pace = (
            self._grace_seconds + self._body_bytes / limits.upload_bytes_per_second - self._waited
        )
        timeout = min(limits.idle_seconds, self._deadline - began, by_pace)
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, timeout))
        except TimeoutError:
            slow = by_pace <= timeout
            raise ApiError(
                408, f"the request came at less than {limits.upload_bytes_per_second:g} bytes a "
                f"second" if slow else "the rest of the request did not come", cut_off=True,
            ) from None  # fmt: skip
        self._waited += time.monotonic() - began
        self._body_bytes += len(message.get("body", b""))
        self._check_size(self._body_bytes)
        self._complete = not message.get("more_body", False)
        return message

    def _check_size(self, size: int) -> None:
        most = self._limits.upload_bytes
        if size > most:
            raise ApiError(
                413, f"the request has more than {most} bytes, the most this server takes"
            )

    async def send(self, message: Message) -> None:
        """Sends a message of the application, with headers added to a response."""
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self._has_begun, self.status = True, message["status"]
            self._add_headers(message)
        elif message["type"] == "websocket.accept":
            self._has_begun, self.status = True, 101
            self._add_headers(message)
        elif message["type"] == "websocket.close":
            self._closed = True
        await self._send(message)

    def _add_headers(self, message: Message) -> None:
        headers = list(message.get("headers", ()))
        known = {name.lower() for name, _ in headers}
        more = {**SECURITY_HEADERS, "x-request-id": self.id}
        page = self._scope["path"].startswith(OPEN_FOLDER) or self._scope["path"] == "/"
        # A browser checks the page for changes, so that files of two versions are not mixed.
        more["cache-control"] = "no-cache" if page else "no-store"
        headers += [(k.encode(), v.encode()) for k, v in more.items() if k.encode() not in known]
        message["headers"] = headers

    async def reject(self, error: ApiError, send: Send) -> None:
        """Sends an error response; one that has begun is cut off instead."""
        is_socket = self._scope["type"] == "websocket"
        if is_socket and (self._has_begun or not self._can_respond):
            if not self._closed:
                await send(_close_message(error))
        elif not self._has_begun:
            prefix = "websocket." if is_socket else ""
            headers, body = error.response()
            start = {"type": f"{prefix}http.response.start", "status": error.status}
            await send({**start, "headers": headers})
            await send({"type": f"{prefix}http.response.body", "body": body})

    @property
    def _can_respond(self) -> bool:
        return "websocket.http.response" in self._scope.get("extensions", {})


def _close_message(error: ApiError) -> dict[str, Any]:
    reason = error.message.encode()[:120].decode("utf-8", "ignore")
    code = SOCKET_CODES.get(error.status, 1008)
    return {"type": "websocket.close", "code": code, "reason": reason}


def _content_length(headers: Headers) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
