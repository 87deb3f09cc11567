"""Host and Origin headers, and targets that name their host."""

import pytest
import raw_socket as raw
from hypothesis import given
from hypothesis import strategies as st
from raw_socket import request
from server_process import SAMPLE, running
from starlette.datastructures import Headers

from wheatear.server.access.host_rules import check_host, check_origin
from wheatear.server.api_errors import ApiError
from wheatear.server.settings import Settings


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost/v1/models", "localhost", 200),
        ("http://localhost:80/v1/models?a=b", "localhost", 200),
        ("HTTP://LOCALHOST/v1/models", "localhost", 200),
        ("https://127.0.0.1/v1/models", "localhost", 200),
        ("http://[::1]/v1/models", "localhost", 200),
        ("http://localhost/v1/%6dodels", "localhost", 200),
        ("http://localhost", "localhost", 200), ("http://localhost?a", "localhost", 200),
        ("http://localhost/v1/models", "evil.example", 200),  # the target counts (RFC 9112)
        ("http://evil.example/v1/models", "localhost", 403),
        ("http://localhost@evil.example/v1/models", "localhost", 403),
        ("http://localhost.evil.example/", "localhost", 403),
        ("http://evil.example:80/v1/models", "evil.example", 403),
        ("http:///v1/models", "localhost", 400), ("http://[::1/v1/models", "localhost", 400),
        ("ftp://localhost/v1/models", "localhost", 400), ("localhost:80", "localhost", 400),
        ("http:/v1/models", "localhost", 400), ("*", "localhost", 400),
    ],
)  # fmt: skip
def test_absolute_target_names_the_host(quiet_server, target, host, status):
    answer = raw.answer(quiet_server.port, request(path=target, host=host))
    assert raw.status(answer) == status, answer[:300]
    if "/v1/models" in target and status == 200:
        assert b"wheatear-small" in answer
        socket = raw.handshake(target.replace("/v1/models", "/ws").replace("/v1/%6dodels", "/ws"))
        assert raw.status(raw.answer(quiet_server.port, socket)) == 101


@pytest.mark.parametrize(
    ("target", "origin", "status"),
    [
        ("http://localhost/v1/models", "http://localhost", 200),
        ("http://localhost/v1/models", "http://evil.example", 403),
        ("http://evil.example/v1/models", "http://evil.example", 403),
        ("http://localhost:81/v1/models", "http://localhost", 403),
    ],
)
def test_origin_is_compared_to_the_host_of_the_target(quiet_server, target, origin, status):
    answer = raw.answer(quiet_server.port, request(path=target, origin=origin))
    assert raw.status(answer) == status


def test_file_is_received_at_an_absolute_target(quiet_server):
    body = raw.form([], [("file", SAMPLE.read_bytes())])
    data = raw.upload(body).replace(b"POST /", b"POST http://localhost/")
    assert raw.status(raw.answer(quiet_server.port, data)) == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /health HTTP/1.0\r\n\r\n", 200),  # from load balancers
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.0\r\nHost: evil.example\r\n\r\n", 403),
        (b"GET /health HTTP/1.0\r\nOrigin: http://evil.example\r\n\r\n", 403),
        (b"GET http://localhost/health HTTP/1.0\r\n\r\n", 200),
        (b"GET http://evil.example/health HTTP/1.0\r\n\r\n", 403),
    ],
)
def test_http_1_0_needs_no_host(quiet_server, head, status):
    assert raw.status(raw.answer(quiet_server.port, head)) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:8000"}, 200), ({"host": "127.0.0.1"}, 200),
        ({"host": "[::1]:80"}, 200),
        ({"host": "LOCALHOST"}, 200), ({"host": "evil.example"}, 403), ({"host": ""}, 400),
        ({"host": "127.0.0.1.evil.example"}, 403), ({"host": "localhost.evil.example"}, 403),
        ({"host": "localhost@evil.example"}, 403), ({"host": "169.254.169.254"}, 403),
        ({"host": "[::1"}, 400), ({"host": "localhost:80:80"}, 200), ({"host": "a b"}, 403),
        ({"host": "evil.example", "origin": "http://evil.example"}, 403),
        ({"host": "evil.example", "x_forwarded_host": "localhost"}, 403),
        ({"host": "localhost", "origin": "http://localhost"}, 200),
        ({"host": "localhost", "origin": "http://localhost:81"}, 403),
        ({"host": "localhost", "origin": "null"}, 403),
        ({"host": "localhost", "origin": "http://evil.example"}, 403),
        ({"host": "localhost", "origin": "http://localhost.evil.example"}, 403),
        ({"host": "localhost", "origin": "http://[:"}, 403),
        ({"host": "localhost", "origin": "http://evil.example", "referer": "http://localhost"},
         403),
    ],
)  # fmt: skip
def test_other_hosts_and_origins_are_rejected(quiet_server, headers, status):
    """DNS rebinding and pages of others: neither requests nor sockets."""
    answer = raw.answer(quiet_server.port, request(path="/v1/models", **headers))
    assert raw.status(answer) == status, answer[:300]
    socket = raw.answer(quiet_server.port, raw.handshake("/ws", **headers))
    assert raw.status(socket) == (101 if status == 200 else status)


def test_open_server_without_keys_warns_and_rejects_other_names():
    """And the address that is printed is one that works."""
    with running("--host", "0.0.0.0") as server:  # noqa: S104
        assert server.url == f"http://localhost:{server.port}"
        assert server.get("/health")[0] == 200
        assert "every machine that reaches 0.0.0.0 may use this server" in server.log
        for host, status in (
            ("evil.example", 403), ("127.0.0.1", 200), ("192.0.2.1:80", 200),
            ("[2001:db8::1]", 200),
        ):  # fmt: skip
            for path in ("/", "/v1/models", "/health"):
                answer = raw.answer(server.port, request(path=path, host=host))
                assert raw.status(answer) == status, (host, path)
            socket = raw.handshake("/ws", host=host)
            assert raw.status(raw.answer(server.port, socket)) == (101 if status == 200 else 403)


def test_server_with_keys_answers_to_every_name(key_file, key):
    with running("--host", "0.0.0.0", "--api-key-file", str(key_file)) as server:  # noqa: S104
        assert "every machine" not in server.log
        answer = raw.answer(server.port, request(path="/v1/models", host="asr.lan", x_api_key=key))
        assert raw.status(answer) == 200


def test_default_server_logs_no_warning(quiet_server):
    assert "every machine" not in quiet_server.log


def test_two_host_headers_are_rejected(quiet_server):
    data = b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert raw.status(raw.answer(quiet_server.port, data)) == 400


@pytest.mark.parametrize(
    ("host", "status"), [("asr.example", 200), ("ASR.EXAMPLE:443", 200), ("127.0.0.1", 403)]
)
def test_allowed_hosts_replace_the_default_names(shared, key, host, status):
    answer = raw.answer(shared.port, request(path="/v1/models", x_api_key=key, host=host))
    assert raw.status(answer) == status


headers = st.dictionaries(st.sampled_from(["host", "origin"]), st.binary(max_size=60)).map(
    lambda raw: Headers(raw=[(name.encode(), value) for name, value in raw.items()])
)


@given(headers)
def test_any_host_and_origin_is_accepted_or_rejected(headers):
    for check, status in (
        (lambda: check_host(headers, "1.1", Settings()), (400, 403)),
        (lambda: check_origin(headers, Settings()), (403,)),
    ):
        try:
            check()
        except ApiError as error:
            rejected = error.status
        else:
            rejected = status[0]
        assert rejected in status
