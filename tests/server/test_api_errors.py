"""API errors: status, headers and body of exceptions."""

import errno
import json
import logging

import pytest

from wheatear.errors import (
    AudioError,
    LanguageError,
    OverloadedError,
    SpoolError,
    StreamClosedError,
)
from wheatear.server import api_errors as module
from wheatear.server.api_errors import (
    ApiError,
    log_rarely,
    resource_error,
    shutting_down,
    to_api_error,
)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (AudioError("no audio"), 400, "invalid_audio"), (LanguageError("no"), 400, "invalid_value"),
        (OverloadedError("full"), 503, "overloaded"), (ValueError("a"), 500, "internal_error"),
        (StreamClosedError("closed"), 503, "shutting_down"),
        (OSError(errno.ENOSPC, "full"), 507, "insufficient_storage"),
        (OSError(errno.EMFILE, "many"), 503, "overloaded"),
        (RuntimeError("can't start new thread"), 503, "overloaded"),
        (SpoolError("no space"), 507, "insufficient_storage"),
    ],
)  # fmt: skip
def test_exception_becomes_an_api_error(error, status, code):
    found = to_api_error(error, "field")
    assert (found.status, found.code) == (status, code)
    if status == 500:
        assert str(error) != found.message


def test_api_error_is_returned_unchanged():
    error = ApiError(404, "nothing")
    assert to_api_error(error) is error
    assert resource_error(ValueError("a")) is None


@pytest.mark.parametrize(
    ("error", "header"),
    [
        (ApiError(401, "no"), (b"www-authenticate", b"Bearer")),
        (ApiError(405, "no", allow="GET"), (b"allow", b"GET")),
        (ApiError(426, "no"), (b"upgrade", b"websocket")),
        (ApiError(429, "no", retry_after=3), (b"retry-after", b"3")),
        (shutting_down(cut_off=True), (b"connection", b"close")),
    ],
)
def test_response_has_the_headers_of_its_status(error, header):
    headers, body = error.response()
    assert header in headers
    assert (b"content-length", str(len(body)).encode()) in headers
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


def test_error_number_is_logged_once_in_the_interval(monkeypatch, caplog):
    monkeypatch.setattr(module, "logged_at", {})
    with caplog.at_level(logging.WARNING):
        for number in (1, 1, 2):
            log_rarely(number, "number %d", number)
    assert [record.getMessage() for record in caplog.records] == ["number 1", "number 2"]
