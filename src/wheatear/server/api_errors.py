"""API errors in OpenAI's format, and their HTTP and WebSocket codes."""

import errno
import json
import logging
import time
from typing import Any

from wheatear.errors import (
    AudioError,
    OverloadedError,
    SpoolError,
    StreamClosedError,
    WheatearError,
)

_log = logging.getLogger(__name__)

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {
    400: "bad_request", 401: "invalid_api_key", 403: "forbidden", 404: "not_found",
    405: "method_not_allowed", 408: "timeout", 413: "too_large", 415: "unsupported_media_type",
    426: "upgrade_required", 429: "rate_limit_exceeded", 500: "internal_error", 503: "overloaded",
    507: "insufficient_storage",
}  # fmt: skip
SOCKET_CODES = {503: 1013, 429: 1013, 500: 1011}
"""Close codes of WebSockets by status; all other errors are the client's: 1008."""
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Error numbers of a disk that is full or read-only."""
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN)
"""Error numbers of a system without free descriptors, processes or memory."""
LOG_INTERVAL = 1.0
"""Seconds between log lines about one error number."""


class ApiError(Exception):
    """Rejected request, with a message for the client."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
        reason: str | None = None,
        cut_off: bool = False,
        allow: str | None = None,
    ) -> None:
        """Makes an error.

        Args:
            status: HTTP status.
            message: Text for the client.
            code: Machine-readable code; None is the usual one of the status.
            param: Name of the parameter that does not work.
            retry_after: Seconds after which the client may try again.
            reason: Label in the metrics; None is the code.
            cut_off: True if nothing more is read from the client.
            allow: Methods that the route has.
        """
        super().__init__(message)
        self.status, self.message, self.param = status, message, param
        self.code = code or _CODES.get(status, "error")
        self.retry_after, self.cut_off, self.allow = retry_after, cut_off, allow
        self.reason = reason or self.code

    @property
    def kind(self) -> str:
        """Type of the error in OpenAI's API."""
        server = "server_error" if self.status >= 500 else "invalid_request_error"
        return _TYPES.get(self.status, server)

    @property
    def body(self) -> dict[str, Any]:
        """Body of the response."""
        return {
            "error": {
                "message": self.message, "type": self.kind, "param": self.param, "code": self.code
            }
        }  # fmt: skip

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to the status."""
        headers = {}
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.allow is not None:
            headers["allow"] = self.allow
        if self.status == 426:
            headers |= {"upgrade": "websocket", "connection": "upgrade"}
        if self.cut_off:
            headers["connection"] = "close"
        return headers

    def response(self) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Returns headers and body of the response, as bytes."""
        body = json.dumps(self.body).encode()
        fields = {"content-type": "application/json", "content-length": str(len(body))}
        return [(k.encode(), v.encode()) for k, v in (fields | self.headers).items()], body


def shutting_down(cut_off: bool = False) -> ApiError:
    """Returns the error of a server that shuts down."""
    return ApiError(
        503, "this server is shutting down", code="shutting_down", retry_after=5, cut_off=cut_off
    )


def no_room() -> ApiError:
    """Returns the error for a message that does not fit into memory at the moment."""
    return ApiError(
        503, "the server has no memory left for messages of this size; try again later or send "
        "smaller ones", retry_after=5,
    )  # fmt: skip


def disk_full() -> ApiError:
    """Returns the error for a file that does not fit on disk."""
    return ApiError(
        507, "this server has no room on its disk for the file at the moment; try later, or send "
        "a smaller one", retry_after=30,
    )  # fmt: skip


logged_at: dict[int, float] = {}
"""Time of the last log line about each error number."""


def log_rarely(number: int, line: str, *values: object) -> None:
    """Logs a warning, at most one a second for each error number."""
    now = time.monotonic()
    if now - logged_at.get(number, -LOG_INTERVAL) >= LOG_INTERVAL:
        logged_at[number] = now
        _log.warning(line, *values)


def resource_error(error: BaseException) -> ApiError | None:
    """Returns the API error for a lack of disk, memory or descriptors; None for other errors."""
    if isinstance(error, SpoolError):
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        number = getattr(cause, "errno", None)
        number = number if number in _EXHAUSTED else errno.ENOSPC
    elif isinstance(error, RuntimeError) and "start new thread" in str(error):
        number = errno.EAGAIN
    else:
        number = getattr(error, "errno", None) or 0
    if number in _DISK_ERRORS:
        log_rarely(number, "no room for temporary files: %s", error)
        return disk_full()
    if number in _EXHAUSTED:
        log_rarely(number, "this process or machine has reached a limit: %s", error)
        return ApiError(
            503, "this server has as much open as its system allows; try later", retry_after=5
        )
    return None


def to_api_error(error: Exception, param: str | None = None) -> ApiError:
    """Returns the API error for any exception; internal ones give no details."""
    known = error if isinstance(error, ApiError) else resource_error(error)
    if known is not None:
        return known
    match error:
        case OverloadedError():
            return ApiError(503, str(error), retry_after=5, param=param)
        case StreamClosedError():
            return ApiError(503, str(error), code="shutting_down", retry_after=5)
        case AudioError():
            return ApiError(400, str(error), code="invalid_audio", param=param or "file")
        case WheatearError():
            return ApiError(400, str(error), code="invalid_value", param=param)
    return ApiError(500, "the server failed at this; its log has the cause, under the request's id")
