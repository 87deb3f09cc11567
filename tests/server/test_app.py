"""Routes of the application, and what the package exports."""

import asyncio
import subprocess
import sys

import pytest
from route_table import walk

from wheatear.server.api_errors import ApiError
from wheatear.server.app import create_app, routes_of


def test_routes_have_all_protocols(service):
    table = set(walk(routes_of(service)))
    assert {("/ws", True), ("/v1/realtime", True), ("/v1/listen", True)} < table
    assert {("/v1/listen", False), ("/v1/audio/transcriptions", False), ("/", False)} < table


def test_file_is_rejected_while_the_server_shuts_down(service):
    (route,) = (r for r in routes_of(service) if r.path == "/v1/audio/transcriptions")
    service.draining.set()
    try:
        with pytest.raises(ApiError, match="shutting down"):
            asyncio.run(route.endpoint(None))
    finally:
        service.draining.clear()


def test_application_answers_a_request(service):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/health", "raw_path": b"/health",
        "query_string": b"", "headers": [(b"host", b"localhost")], "http_version": "1.1",
        "client": ("127.0.0.1", 1),
    }  # fmt: skip
    asyncio.run(create_app(service)(scope, receive, send))
    assert (sent[0]["status"], b'"ok"' in sent[1]["body"]) == (200, True)


def test_package_exports_its_names_on_first_use():
    code = (
        "import sys, wheatear.server; before = {*sys.modules}; from wheatear.server import "
        "Service, create_app, read_settings; print('starlette' in before, callable(create_app))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "True"]
