"""Requests and sockets through the whole middleware: rates, routes, CORS and proxies."""

import json
import time

import pytest
import raw_socket as raw
from raw_socket import opened, request
from route_table import headers_of
from server_process import running
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from wheatear.server.access.keys import make_key
from wheatear.server.access.middleware import PROBES

UNKNOWN = "we_" + "A" * 43


def test_key_has_its_own_number_of_streams(guarded, key, other_key):
    def socket(key: str):
        return connect(f"{guarded.ws}/ws", additional_headers={"x-api-key": key})

    with socket(other_key) as one, socket(other_key):
        with pytest.raises(InvalidStatus) as refused, socket(other_key):
            pass
        assert refused.value.response.status_code == 429
        assert json.loads(refused.value.response.body)["error"]["code"] == "too_many_sessions"
        assert int(refused.value.response.headers["retry-after"]) > 0
        with socket(key):
            pass  # other keys are not limited
        one.close()
        time.sleep(0.1)
        with socket(other_key) as again:
            assert json.loads(again.recv())["type"] == "ready"
    guarded.wait_for_rest()


def test_keys_and_addresses_have_separate_rates(tmp_path):
    """Requests without a key count against the address, not against keys of that address."""
    file = tmp_path / "keys.toml"
    slow, quick = make_key(file, "slow", requests_per_minute=6), make_key(file, "quick")
    environment = {"WHEATEAR_SERVE_LIMITS_REQUESTS_PER_MINUTE": "60"}
    with running("--api-key-file", str(file), **environment) as server:
        assert server.get("/v1/models", **{"x-api-key": slow})[0] == 200
        answer = raw.answer(server.port, request(path="/v1/models", x_api_key=slow))
        assert raw.status(answer) == 429
        assert 1 <= int(headers_of(answer)["retry-after"]) <= 11
        assert headers_of(answer)["connection"] == "close"  # floods have to connect again
        knocks = [server.get("/v1/models", **{"x-api-key": UNKNOWN})[0] for _ in range(15)]
        assert knocks[:9] == [401] * 9
        assert knocks[-1] == 429
        assert server.get("/health")[0] == 200  # a probe from there is not to fail for it
        assert server.get("/v1/models", **{"x-api-key": quick})[0] == 200
        server.key = quick
        assert server.metric("wheatear_refused", reason="rate_limit_exceeded") >= 4


def test_probes_have_no_rate_limit():
    """Those of the same address do not make them fail, and they do not fill the log."""
    with running(WHEATEAR_SERVE_LIMITS_REQUESTS_PER_MINUTE="6") as server:
        assert [server.get("/v1/models")[0] for _ in range(2)][-1] == 429
        for path in PROBES:
            assert [server.get(path)[0] for _ in range(60)] == [200] * 60
        assert server.get("/v1/models")[0] == 429
        time.sleep(0.2)
        assert server.log.count("GET /health") < 30


def test_options_of_the_whole_server_are_answered(quiet_server):
    answer = raw.answer(quiet_server.port, request("OPTIONS", "*"))
    assert raw.status(answer) == 200
    assert "GET" in headers_of(answer)["allow"]
    assert raw.status(raw.answer(quiet_server.port, request("OPTIONS", "*", host="a.b"))) == 403


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("//v1//models?a=b", "/v1/models?a=b"),
        ("/v1//audio/transcriptions", "/v1/audio/transcriptions"),
        ("/health/", "/health"),
        ("/metrics//", "/metrics"),
        ("///evil.example/", None),
        ("//evil.example/v1/models", None),
        ("/nothing/", None),
        ("/./health/", None),
        ("/\\evil.example/health/", None),
    ],
)
def test_superfluous_slashes_are_redirected(quiet_server, path, leads_to):
    for method in ("GET", "POST"):
        answer = raw.answer(quiet_server.port, request(method, path, b""))
        assert raw.status(answer) == (404 if leads_to is None else 308), answer[:200]
        assert headers_of(answer).get("location") == leads_to


def test_models_are_listed_with_a_slash(quiet_server):
    answers = [raw.answer(quiet_server.port, request(path="/v1/models" + end)) for end in ("", "/")]
    one, other = (answer.partition(b"\r\n\r\n")[2] for answer in answers)
    assert json.loads(one) == json.loads(other)


def test_head_answers_as_get(guarded, table, key):
    for path, socket in table:
        if socket:
            continue
        got, head = (
            raw.answer(guarded.port, request(method, path, x_api_key=key))
            for method in ("GET", "HEAD")
        )
        assert raw.status(got) == raw.status(head), path
        assert head.partition(b"\r\n\r\n")[2] == b""


def test_other_page_is_rejected_without_cors(quiet_server):
    preflight = {"origin": "https://app.example", "access_control_request_method": "POST"}
    answer = raw.answer(
        quiet_server.port, request("OPTIONS", "/v1/audio/transcriptions", **preflight)
    )
    assert raw.status(answer) == 403
    assert b"access-control" not in answer.lower()


def test_listed_page_is_accepted_with_cors(shared, key):
    page = {"origin": "https://app.example"}
    wanted = {"access_control_request_method": "POST"} | {
        "access_control_request_headers": "authorization, x-stainless-os"
    }
    path = "/v1/audio/transcriptions"
    before = raw.answer(shared.port, request("OPTIONS", path, **page, **wanted))
    assert raw.status(before) == 200
    assert headers_of(before)["access-control-allow-origin"] == "https://app.example"
    assert "x-stainless-os" in headers_of(before)["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in headers_of(before)
    for headers, status in (({"x_api_key": key}, 200), ({}, 401)):
        answer = raw.answer(shared.port, request(path="/v1/models", **page, **headers))
        assert raw.status(answer) == status
        assert headers_of(answer)["access-control-allow-origin"] == "https://app.example"
        assert "x-request-id" in headers_of(answer)["access-control-expose-headers"]
    other = {"origin": "https://evil.example"}
    answer = raw.answer(shared.port, request(path="/v1/models", x_api_key=key, **other))
    assert raw.status(answer) == 403
    assert "access-control-allow-origin" not in headers_of(answer)
    answer = raw.answer(shared.port, request("OPTIONS", path, **other, **wanted))
    assert raw.status(answer) == 400
    assert "access-control-allow-origin" not in headers_of(answer)
    for origin, status in (("https://app.example", 101), ("https://evil.example", 403)):
        data = raw.handshake("/ws", x_api_key=key, origin=origin)
        assert raw.status(raw.answer(shared.port, data)) == status


@pytest.mark.parametrize(
    ("forwarded", "seen"),
    [
        ("203.0.113.9", "203.0.113.9"), ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.1.2.3", "203.0.113.9"), ("203.0.113.9:4711", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::/64"), ("evil\x1b[31m" + "x" * 500, "'evil\\x1b[31m"),
    ],
)  # fmt: skip
def test_trusted_proxy_names_the_client(shared, forwarded, seen):
    raw.answer(shared.port, request(x_forwarded_for=forwarded, x_request_id="who"))
    time.sleep(0.1)
    line = [line for line in shared.log.splitlines() if "request_id=who" in line][-1]
    assert f"holder={seen}" in line


def test_forwarded_headers_of_others_are_ignored(quiet_server):
    for n in range(3):
        headers = {"x_forwarded_for": f"203.0.113.{n}", "forwarded": f"for=203.0.113.{n}"}
        raw.answer(
            quiet_server.port, request(x_real_ip="203.0.113.1", x_request_id="me", **headers)
        )
    time.sleep(0.1)
    lines = [line for line in quiet_server.log.splitlines() if "request_id=me" in line]
    assert len(lines) == 3
    assert all("holder=127.0.0.1" in line for line in lines)


def test_open_socket_needs_no_key_again(guarded, key):
    """And one that was refused has taken no place."""
    for _ in range(60):
        assert raw.status(raw.answer(guarded.port, raw.handshake("/ws"))) == 401
    with opened(guarded.port, "/ws", key=key) as client:
        client.sendall(raw.frame(raw.TEXT, b"ping"))
        assert b"pong" in raw.read_to(client, b"pong")
    guarded.wait_for_rest()
