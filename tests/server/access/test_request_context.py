"""Pace of bodies, ids of requests, and headers of every answer."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest
import raw_socket as raw
from raw_socket import request
from route_table import headers_of
from server_process import SAMPLE, Server

from wheatear.server.access import request_context as module
from wheatear.server.access.request_context import SECURITY_HEADERS, RequestContext
from wheatear.server.api_errors import ApiError
from wheatear.server.settings import Limits


async def read(source, messages: int, limits: Limits, grace_seconds: float) -> None:
    """Receives parts of a body."""
    scope = {"type": "http", "headers": [], "state": {}}
    context = RequestContext(scope, source, source, limits, grace_seconds)
    for _ in range(messages):
        await context.receive()


def source_of(size: int):
    """A client that sends some bytes every hundredth of a second."""

    async def receive():
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": bytes(size), "more_body": True}

    return receive


def test_slow_body_is_rejected():
    limits = Limits(idle_seconds=5)
    with pytest.raises(ApiError, match="less than 500 bytes a second") as slow:
        asyncio.run(read(source_of(1), 1000, limits, 0.2))
    assert (slow.value.status, slow.value.cut_off) == (408, True)
    asyncio.run(read(source_of(1000), 50, limits, 0.2))


def test_body_has_a_deadline(monkeypatch):
    monkeypatch.setattr(module, "UPLOAD_SECONDS", 0.3)
    with pytest.raises(ApiError, match="the rest of the request did not come"):
        asyncio.run(read(source_of(1000), 1000, Limits(), 20.0))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-123_x.Y", True), ("a" * 64, True), ("a" * 65, False), ("a b", False), ("", False),
        ("a\x1b[31m", False), ("ä", False), ("<script>", False), ("a;b", False),
    ],
)  # fmt: skip
def test_sound_request_id_is_kept(quiet_server, given, kept):
    answer = raw.answer(quiet_server.port, request(x_request_id=given))
    got = headers_of(answer)["x-request-id"]
    assert (got == given) if kept else got.startswith("req_")


def answers(server: Server, key: str) -> Iterator[tuple[str, bytes]]:
    """An answer of every kind."""
    sound = SAMPLE.read_bytes()
    form = raw.form([], [("file", sound)])
    stream = raw.form([("stream", "true")], [("file", sound)])
    known = {"x_api_key": key}
    for name, data in {
        "200": request(), "200 page": request(path="/"), "200 head": request("HEAD", "/health"),
        "200 json": raw.upload(form, **known), "200 events": raw.upload(stream, **known),
        "400": raw.upload(raw.form([]), **known), "400 host": request(host=""),
        "400 translation": request("POST", "/v1/audio/translations", b"", **known),
        "401": request(path="/v1/models"), "403": request(host="evil.example"),
        "404": request(path="/nothing", **known), "404 file": request(path="/page/nothing"),
        "404 model": request(path="/v1/models/nobody", **known),
        "404 socket": raw.handshake("/nothing", **known),
        "404 page socket": raw.handshake("/page/x"),
        "405": request("DELETE", "/health"),
        "413": raw.upload(b"", content_length="9" * 12, **known),
        "415": request("POST", "/v1/audio/transcriptions", b"", **known),
        "426": request(path="/ws", **known), "101": raw.handshake("/ws", **known),
        "401 socket": raw.handshake("/ws"), "400 ends": request(
            "POST", "/metrics", b"", transfer_encoding="chunked", **known
        ), "400 no HTTP": b"nonsense\r\n\r\n",
    }.items():  # fmt: skip
        yield name, raw.answer(server.port, data, 10)


def test_every_answer_has_the_security_headers(guarded, key):
    for name, answer in answers(guarded, key):
        assert answer[9:12] == name[:3].encode(), (name, answer[:200])
        got = headers_of(answer)
        assert all(got.get(header) == value for header, value in SECURITY_HEADERS.items()), (
            name,
            got,
        )
        assert name == "400 no HTTP" or "x-request-id" in got, name
        assert "server" not in got
        if "page" not in name and name != "404 file":
            assert got.get("cache-control", "no-store") == "no-store", name
        if name.startswith("4"):
            body = answer.partition(b"\r\n\r\n")[2]
            assert set(msgspec.json.decode(body)["error"]) == {"message", "type", "param", "code"}
    assert "unsafe" not in SECURITY_HEADERS["content-security-policy"]
    guarded.wait_for_rest()
