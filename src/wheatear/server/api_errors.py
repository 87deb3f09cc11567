"""How a request is turned away: a status, and OpenAI's form of an error."""

import errno
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
"""What a socket is closed with; for all else the client is at fault: 1008."""


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Of a disk that is full, or can't be written."""
NONE_LEFT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN)
"""Of a process or machine that has no descriptors, processes or memory left."""
_LINE_EVERY = 1.0  # seconds between lines of the log about one of these


class ApiError(Exception):
    """A request that is not done, in words for whoever sent it."""

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
        """reason: how /metrics counts it.  cut_off: whether nothing more is read of this client.
        allow: methods that do work."""
        super().__init__(message)
        self.status, self.message, self.param = status, message, param
        self.code = code or _CODES.get(status, "error")
        self.retry_after, self.cut_off, self.allow = retry_after, cut_off, allow
        self.reason = reason or self.code

    @property
    def kind(self) -> str:
        """OpenAI's type of an error."""
        server = "server_error" if self.status >= 500 else "invalid_request_error"
        return _TYPES.get(self.status, server)

    @property
    def body(self) -> dict[str, Any]:
        return {
            "error": {
                "message": self.message, "type": self.kind, "param": self.param, "code": self.code
            }
        }  # fmt: skip

    @property
    def headers(self) -> dict[str, str]:
        """Those that the status asks for."""
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


def shutting_down(cut_off: bool = False) -> ApiError:
    """Of a server that has been told to stop."""
    return ApiError(
        503, "this server is going down", code="shutting_down", retry_after=5, cut_off=cut_off
    )


def no_room() -> ApiError:
    """The refusal of a message that the server has no memory for at the moment."""
    return ApiError(
        503, "the server has no memory left for messages of this size; try again later or send "
        "smaller ones", retry_after=5,
    )  # fmt: skip


def disk_full() -> ApiError:
    """Of a server that has no place on disk for what was sent."""
    return ApiError(
        507, "this server has no room on its disk for the file at the moment; try later, or send "
        "a smaller one", retry_after=30,
    )  # fmt: skip


_last_lines: dict[int, float] = {}


def note_once(number: int, line: str, *values: object) -> None:
    """Writes a line to the log, of each kind of error one a second at most."""
    now = time.monotonic()
    if now - _last_lines.get(number, -_LINE_EVERY) >= _LINE_EVERY:
        _last_lines[number] = now
        _log.warning(line, *values)


def of_system(error: BaseException) -> ApiError | None:
    """The refusal for an error of the machine that others will meet, too; None for any other."""
    if isinstance(error, SpoolError):
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        number = getattr(cause, "errno", None)
        number = number if number in NONE_LEFT else errno.ENOSPC
    elif isinstance(error, RuntimeError) and "start new thread" in str(error):
        number = errno.EAGAIN
    else:
        number = getattr(error, "errno", None) or 0
    if number in NO_ROOM:
        note_once(number, "no room for temporary files: %s", error)
        return disk_full()
    if number in NONE_LEFT:
        note_once(number, "this process or machine has reached a limit: %s", error)
        return ApiError(
            503, "this server has as much open as its system allows; try later", retry_after=5
        )
    return None


def to_api_error(error: Exception, param: str | None = None) -> ApiError:
    """What a fault means to whoever sent the request; those of the server tell nothing of it."""
    known = error if isinstance(error, ApiError) else of_system(error)
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
    return ApiError(500, "the server failed at this; its log says how, under the request's id")
