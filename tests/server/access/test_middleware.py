"""The gate: nobody passes whom it should turn away, by whatever way they come."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
import raw_socket as raw
from fuzzing import words
from hypothesis import given
from hypothesis import strategies as st
from raw_socket import opened, request
from server_process import SAMPLE, Server, running
from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Mount, WebSocketRoute
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from wheatear.server.access import keys
from wheatear.server.access import limits as shares
from wheatear.server.access import middleware as gate
from wheatear.server.access.keys import Client, make_key
from wheatear.server.access.limits import ConcurrencyLimits, TokenBucket
from wheatear.server.access.middleware import HEADERS, OPEN, OPEN_FOLDER
from wheatear.server.app import Service
from wheatear.server.settings import Limits, Settings

UNKNOWN = "we_" + "A" * 43
WAYS = {
    "Bearer": lambda key: {"authorization": f"Bearer {key}"},
    "bearer": lambda key: {"authorization": f"bearer  {key} "},
    "Token": lambda key: {"authorization": f"Token {key}"},
    "api-key": lambda key: {"api_key": key},
    "x-api-key": lambda key: {"x_api_key": key},
    "OpenAI's subprotocol": lambda key: {
        "sec_websocket_protocol": f"realtime, openai-insecure-api-key.{key}"
    },
    "our subprotocol": lambda key: {"sec_websocket_protocol": f"wheatear, key.{key}"},
    "Deepgram's subprotocol": lambda key: {"sec_websocket_protocol": f"token, {key}"},
}


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.toml"


@pytest.fixture(scope="module")
def key(key_file: Path) -> str:
    return make_key(key_file, "good")


@pytest.fixture(scope="module")
def other_key(key_file: Path, key: str) -> str:
    return make_key(key_file, "other", streams=2)


@pytest.fixture(scope="module")
def guarded(key_file: Path, key: str, other_key: str) -> Iterator[Server]:
    """A server that wants keys."""
    many = {"WHEATEAR_SERVE_LIMITS_REQUESTS_PER_MINUTE": "1000000"}
    with running("--api-key-file", str(key_file), **many) as server:
        server.key = key
        yield server
        assert "Traceback" not in server.log, server.log


def walk(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Every path that leads somewhere, and whether it is a socket's."""
    for route in routes:
        path = prefix + str(getattr(route, "path", "")).replace("{name:path}", "a-model")
        if isinstance(route, Mount):
            yield f"{path}/a-file", False
            yield from walk(route.routes, path)
        else:
            yield path, isinstance(route, WebSocketRoute)


@pytest.fixture(scope="module")
def table() -> list[tuple[str, bool]]:
    service = Service(Settings())
    try:
        return list(walk(service.routes))
    finally:
        service.close()


def is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_FOLDER)


def status_of(server: Server, path: str, socket: bool, **headers: str) -> list[int]:
    """What a path answers with to every way of asking."""
    asked = [raw.handshake(path, **headers)]
    if not socket:
        asked += [request(method, path, **headers) for method in ("GET", "HEAD", "POST", "DELETE")]
        asked.append(request("POST", path, b"{}", content_type="application/json", **headers))
    return [raw.status(raw.answer(server.port, data, 5)) for data in asked]


def test_the_table_is_what_it_was_when_this_was_written(table):
    """Whatever is added is walked, too; this is here to show that the walk finds something."""
    assert {("/ws", True), ("/v1/realtime", True), ("/metrics", False)} < set(table)
    assert ("/page/a-file", False) in table
    assert len(table) >= 14


def test_without_a_key_nothing_is_open_but_what_is_said_to_be(guarded, table):
    for path, socket in table:
        got = status_of(guarded, path, socket)
        if is_open(path):
            assert 401 not in got, path
        else:
            assert set(got) == {401}, path


@pytest.mark.parametrize("way", WAYS)
def test_with_a_wrong_key_nothing_is_open_either(guarded, table, key, way):
    for wrong in (UNKNOWN, key[:-1], key + "A", key.upper(), "ek_" + "A" * 43, "x"):
        for path, socket in table:
            if not is_open(path):
                asked = raw.handshake if socket else request
                got = raw.answer(guarded.port, asked(path=path, **WAYS[way](wrong)))
                assert raw.status(got) == 401, (path, wrong)


@pytest.mark.parametrize("way", WAYS)
def test_with_the_right_key_everything_is(guarded, table, key, way):
    for path, socket in table:
        asked = raw.handshake if socket else request
        answer = raw.answer(guarded.port, asked(path=path, **WAYS[way](key)))
        # Inside, a socket may want to be asked otherwise: /v1/listen for an encoding.
        assert raw.status(answer) in ((101, 400) if socket else (200, 404, 405)), path
    guarded.wait_for_rest()


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""}, {"authorization": "Bearer"}, {"authorization": "Bearer "},
        {"authorization": "Basic Z29vZDpnb29k"}, {"x_api_key": ""}, {"x_api_key": "\xff"},
        {"cookie": "key=KEY"}, {"sec_websocket_protocol": "key."}, {"x_forwarded_for": "127.0.0.1"},
        {"sec_websocket_protocol": "token, "}, {"authorization": "Bearer " + "a" * 10_000},
        {"x_original_url": "/health"}, {"x_rewrite_url": "/health"}, {"x_http_method": "HEAD"},
    ],
)  # fmt: skip
def test_what_is_no_key_does_not_pass(guarded, headers):
    for asked in (request(path="/metrics", **headers), raw.handshake("/ws", **headers)):
        assert raw.status(raw.answer(guarded.port, asked)) == 401


@pytest.mark.parametrize(
    "path",
    [
        "/page/../metrics", "/page/%2e%2e/metrics", "/page/..;/metrics", "//metrics", "/./metrics",
        "/metrics/", "/METRICS", "/metrics%00", "/metrics?a=/page/", "/health/../metrics",
        "/health/metrics", "/page%2f..%2fmetrics", "/metrics#/page/", "/page/?/metrics",
        "http://localhost/metrics", "/page/\\metrics", "/metrics;/page/", "/ready%2f..%2fmetrics",
        "/%6detrics",
    ],
)  # fmt: skip
def test_no_spelling_of_a_path_leads_past_the_gate(guarded, path):
    answer = raw.answer(guarded.port, request(path=path))
    assert raw.status(answer) in (400, 401, 404), answer[:200]
    assert b"wheatear_requests" not in answer


def test_a_key_in_the_address_is_no_key(guarded, key):
    for name in ("key", "api_key", "token", "access_token"):
        assert guarded.get(f"/metrics?{name}={key}", **{"x-api-key": ""})[0] == 401


# -- keys and how much they may ask for


def test_a_short_lived_secret_opens_what_a_browser_needs_and_makes_no_other(guarded, key):
    path, kind = "/v1/realtime/client_secrets", {"content_type": "application/json"}
    answer = raw.answer(guarded.port, request("POST", path, b"{}", x_api_key=key, **kind))
    secret = json.loads(answer.partition(b"\r\n\r\n")[2])["value"]
    headers = {"Authorization": f"Bearer {secret}"}
    with connect(f"{guarded.ws}/ws", additional_headers=headers) as socket:
        assert json.loads(socket.recv())["type"] == "ready"
    assert guarded.get("/v1/models", **{"x-api-key": secret})[0] == 200
    for path in gate.FOR_KEYS:
        data = request("POST" if path.endswith("secrets") else "GET", path, b"{}", x_api_key=secret)
        assert raw.status(raw.answer(guarded.port, data)) == 403
    guarded.wait_for_rest()


def test_a_key_has_its_own_number_of_streams(guarded, key, other_key):
    def socket(key: str):
        return connect(f"{guarded.ws}/ws", additional_headers={"x-api-key": key})

    with socket(other_key) as one, socket(other_key):
        with pytest.raises(InvalidStatus) as refused, socket(other_key):
            pass
        assert refused.value.response.status_code == 429
        assert json.loads(refused.value.response.body)["error"]["code"] == "too_many_sessions"
        assert int(refused.value.response.headers["retry-after"]) > 0
        with socket(key):
            pass  # others are not asked to wait
        one.close()
        time.sleep(0.1)
        with socket(other_key) as again:
            assert json.loads(again.recv())["type"] == "ready"
    guarded.wait_for_rest()


def test_places_are_given_back_whatever_happens():
    slots = ConcurrencyLimits(Limits(streams=3, streams_per_key=2, files=3, files_per_key=1))
    a, b, c = (Client(name=name, sha256="0" * 64) for name in "abc")
    with pytest.raises(KeyError), slots.hold("streams", a):
        raise KeyError
    with slots.hold("streams", a), slots.hold("files", a):
        for kind in ("streams", "files"):
            with pytest.raises(gate.ApiError) as refused, slots.hold(kind, a):
                pass
            assert refused.value.status == 429
        with slots.hold("streams", b), slots.hold("streams", b):
            with pytest.raises(gate.ApiError) as refused, slots.hold("streams", c):
                pass
            assert refused.value.status == 503
        assert slots.held == 2
        slots_of = ConcurrencyLimits(Limits(files=1, files_per_key=1))
        with slots_of.hold("files", a):
            with pytest.raises(gate.ApiError) as refused, slots_of.hold("files", b):
                pass
            assert refused.value.status == 503
    assert slots.held == 0
    assert not any(share._by for share in slots._shares.values())


def test_no_holder_takes_all_where_there_are_several():
    slots = ConcurrencyLimits(
        Limits(streams=20, streams_per_key=20, files=4, spool_bytes=100), lambda: True
    )
    holders = [Client(name=name, sha256="0" * 64) for name in "abcdefgh"]

    def fill(kind: str, holder: Client) -> int:
        count = 0
        with contextlib.suppress(gate.ApiError):
            while True:
                held.enter_context(slots.hold(kind, holder))
                count += 1
        return count

    with contextlib.ExitStack() as held:
        assert fill("streams", holders[0]) == 16
        with pytest.raises(gate.ApiError, match="as many as leave room for others") as refused:
            held.enter_context(slots.hold("streams", holders[0]))
        assert refused.value.status == 429
        got = [fill("streams", holder) for holder in holders[1:]]
        assert min(got[:2]) >= 1
        assert sum(got) == 4
        with pytest.raises(gate.ApiError) as refused:
            held.enter_context(slots.hold("streams", holders[0]))
        assert refused.value.status == 503
    assert slots.held == 0
    with contextlib.ExitStack() as held:
        assert fill("files", holders[0]) == 3
        assert fill("files", holders[1]) == 1
    alone = ConcurrencyLimits(Limits(streams=20, streams_per_key=20), lambda: False)
    given = Client(name="own", sha256="0" * 64, streams=20)
    for these, holder in ((alone, holders[0]), (slots, given)):
        with contextlib.ExitStack() as held:
            for _ in range(20):
                held.enter_context(these.hold("streams", holder))


def test_one_key_leaves_sockets_for_another(tmp_path):
    file = tmp_path / "keys.toml"
    greedy, other = make_key(file, "greedy"), make_key(file, "other")
    limits = {"WHEATEAR_SERVE_LIMITS_STREAMS": "10"}
    with running("--api-key-file", str(file), **limits) as server, contextlib.ExitStack() as held:
        for _ in range(8):
            held.enter_context(opened(server.port, key=greedy))
        answer = raw.answer(server.port, raw.handshake(x_api_key=greedy))
        assert raw.status(answer) == 429
        assert b"as many as leave room for others" in answer
        held.enter_context(opened(server.port, key=other))


def test_a_rate_is_held(monkeypatch):
    now = 0.0
    monkeypatch.setattr(shares.time, "monotonic", lambda: now)
    rate = TokenBucket(2.0, 4.0)
    assert [rate.take() for _ in range(5)] == [0, 0, 0, 0, 0.5]
    now = 0.5
    assert rate.take() == 0
    assert rate.take() == 0.5
    now = 100.0
    assert [rate.take() for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert rate.spend(3) == 1.5
    assert rate.spend(0) == 1.5
    now = 101.5
    assert rate.spend(0) == 0


def test_keys_have_their_own_rates_and_addresses_too(tmp_path):
    """Who knocks without a key uses up the address, not the keys that come from there."""
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


def test_addresses_of_one_line_count_as_one():
    assert gate.anonymous_client("10.1.2.3").name == "10.1.2.3"
    assert (
        gate.anonymous_client("2001:db8:1:2:3::4").name
        == gate.anonymous_client("2001:db8:1:2::9").name
    )
    assert (
        gate.anonymous_client("2001:db8:1:3::4").name
        != gate.anonymous_client("2001:db8:1:2::4").name
    )
    assert gate.anonymous_client("::ffff:10.1.2.3").name == "10.1.2.3"
    assert gate.anonymous_client("unix:\nsocket\x1b").name.isprintable()


def test_addresses_that_are_known_do_not_grow_without_end(monkeypatch):
    monkeypatch.setattr(shares, "_MOST_KNOWN", 10)
    service = Service(Settings())
    try:
        watched = service._app
        for n in range(50):
            watched._check_rate(gate.anonymous_client(f"10.0.0.{n}"))
        assert len(watched._rates._rates) == 10
    finally:
        service.close()


@pytest.mark.parametrize(
    ("scope", "opened"),
    [
        ("transcribe", {"/ws", "/v1/realtime", "/v1/listen", "/v1/audio/transcriptions",
                        "/v1/audio/translations", "/v1/audio/subtitles"}),
        ("secrets", {"/v1/realtime/client_secrets"}), ("metrics", {"/metrics"}),
    ],
)  # fmt: skip
def test_a_scope_opens_what_it_names_and_nothing_else(tmp_path, table, scope, opened):
    file = tmp_path / "keys.toml"
    key = make_key(file, "limited", scopes=(scope,))
    all_scopes = {"/v1/models", "/v1/models/a-model", "/openapi.json"}
    with running("--api-key-file", str(file)) as server:
        for path, socket in table:
            got = status_of(server, path, socket, x_api_key=key)
            if is_open(path) or path in opened | all_scopes:
                assert 403 not in got, path
            else:
                assert set(got) == {403}, path
        if scope == "secrets":
            answer = raw.answer(
                server.port,
                request("POST", "/v1/realtime/client_secrets", b"{}", x_api_key=key),
            )
            secret = json.loads(answer.partition(b"\r\n\r\n")[2])["value"]
            opening = raw.handshake("/ws", x_api_key=secret)
            assert raw.status(raw.answer(server.port, opening)) == 101
            for path in gate.FOR_KEYS:
                data = request(path=path, x_api_key=secret)
                assert raw.status(raw.answer(server.port, data)) == 403


def test_probes_are_answered_however_many_requests_come():
    """Those of the same address do not make them fail, and they do not fill the log."""
    with running(WHEATEAR_SERVE_LIMITS_REQUESTS_PER_MINUTE="60") as server:
        asked = [server.get("/v1/models")[0] for _ in range(15)]
        assert 429 in asked
        for path in gate.PROBES:
            assert [server.get(path)[0] for _ in range(60)] == [200] * 60
        assert server.get("/v1/models")[0] == 429
        time.sleep(0.2)
        assert server.log.count("GET /health") < 30


# -- targets in other forms


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
        ("http://localhost/v1/models", "evil.example", 200),  # the target counts, RFC 9112 says
        ("http://evil.example/v1/models", "localhost", 403),
        ("http://localhost@evil.example/v1/models", "localhost", 403),
        ("http://localhost.evil.example/", "localhost", 403),
        ("http://evil.example:80/v1/models", "evil.example", 403),
        ("http:///v1/models", "localhost", 400), ("http://[::1/v1/models", "localhost", 400),
        ("ftp://localhost/v1/models", "localhost", 400), ("localhost:80", "localhost", 400),
        ("http:/v1/models", "localhost", 400), ("*", "localhost", 400),
    ],
)  # fmt: skip
def test_a_target_may_name_its_host(quiet_server, target, host, status):
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
def test_pages_are_held_against_the_host_of_the_target(quiet_server, target, origin, status):
    answer = raw.answer(quiet_server.port, request(path=target, origin=origin))
    assert raw.status(answer) == status


def test_no_form_of_a_target_needs_no_key(guarded):
    for target in ("http://localhost/metrics", "http://localhost/health/../metrics", "//metrics"):
        assert raw.status(raw.answer(guarded.port, request(path=target))) in (400, 401, 404)
    assert raw.status(raw.answer(guarded.port, request(path="http://localhost/health"))) == 200


def test_a_file_may_be_sent_to_a_target_that_names_its_host(quiet_server):
    body = raw.form([], [("file", SAMPLE.read_bytes())])
    data = raw.upload(body).replace(b"POST /", b"POST http://localhost/")
    assert raw.status(raw.answer(quiet_server.port, data)) == 200


def test_options_of_the_server_as_a_whole(quiet_server):
    answer = raw.answer(quiet_server.port, request("OPTIONS", "*"))
    assert raw.status(answer) == 200
    assert "GET" in headers_of(answer)["allow"]
    assert raw.status(raw.answer(quiet_server.port, request("OPTIONS", "*", host="a.b"))) == 403


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /health HTTP/1.0\r\n\r\n", 200),  # as load balancers ask
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.0\r\nHost: evil.example\r\n\r\n", 403),
        (b"GET /health HTTP/1.0\r\nOrigin: http://evil.example\r\n\r\n", 403),
        (b"GET http://localhost/health HTTP/1.0\r\n\r\n", 200),
        (b"GET http://evil.example/health HTTP/1.0\r\n\r\n", 403),
    ],
)
def test_the_older_http_needs_no_host(quiet_server, head, status):
    assert raw.status(raw.answer(quiet_server.port, head)) == status


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
def test_too_many_slashes_lead_to_what_is_meant(quiet_server, path, leads_to):
    for method in ("GET", "POST"):
        answer = raw.answer(quiet_server.port, request(method, path, b""))
        assert raw.status(answer) == (404 if leads_to is None else 308), answer[:200]
        assert headers_of(answer).get("location") == leads_to


def test_models_are_listed_with_a_slash_too(quiet_server):
    answers = [raw.answer(quiet_server.port, request(path="/v1/models" + end)) for end in ("", "/")]
    one, other = (answer.partition(b"\r\n\r\n")[2] for answer in answers)
    assert json.loads(one) == json.loads(other)


def test_every_route_that_answers_get_answers_head(guarded, table, key):
    for path, socket in table:
        if socket:
            continue
        got, head = (
            raw.answer(guarded.port, request(method, path, x_api_key=key))
            for method in ("GET", "HEAD")
        )
        assert raw.status(got) == raw.status(head), path
        assert head.partition(b"\r\n\r\n")[2] == b""


# -- what browsers could be made to do


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
def test_names_and_pages_that_are_not_meant(quiet_server, headers, status):
    """DNS rebinding and pages of others: neither requests nor sockets."""
    answer = raw.answer(quiet_server.port, request(path="/v1/models", **headers))
    assert raw.status(answer) == status, answer[:300]
    socket = raw.answer(quiet_server.port, raw.handshake("/ws", **headers))
    assert raw.status(socket) == (101 if status == 200 else status)


def test_every_interface_without_keys_is_warned_of_and_answers_to_no_name_of_others():
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


def test_with_keys_every_interface_answers_to_every_name(key_file, key):
    with running("--host", "0.0.0.0", "--api-key-file", str(key_file)) as server:  # noqa: S104
        assert "every machine" not in server.log
        answer = raw.answer(server.port, request(path="/v1/models", host="asr.lan", x_api_key=key))
        assert raw.status(answer) == 200


def test_without_anything_said_there_is_no_warning(quiet_server):
    assert "every machine" not in quiet_server.log


def test_two_hosts_are_none(quiet_server):
    data = b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert raw.status(raw.answer(quiet_server.port, data)) == 400


def test_without_cors_no_other_page_is_let_in(quiet_server):
    asked = {"origin": "https://app.example", "access_control_request_method": "POST"}
    answer = raw.answer(quiet_server.port, request("OPTIONS", "/v1/audio/transcriptions", **asked))
    assert raw.status(answer) == 403
    assert b"access-control" not in answer.lower()


@pytest.fixture(scope="module")
def shared(key_file: Path, key: str, other_key: str) -> Iterator[Server]:
    """A server that pages of one other origin may use, and that answers to another name."""
    environment = {
        "WHEATEAR_SERVE_CORS_ORIGINS": "https://app.example",
        "WHEATEAR_SERVE_ALLOWED_HOSTS": "asr.example,localhost",
        "WHEATEAR_SERVE_TRUSTED_PROXIES": "127.0.0.1,10.0.0.0/8",
    }
    with running("--api-key-file", str(key_file), **environment) as server:
        server.key = key
        yield server


def headers_of(answer: bytes) -> dict[str, str]:
    lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def test_with_cors_the_pages_that_were_named_are(shared, key):
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
        asked = raw.handshake("/ws", x_api_key=key, origin=origin)
        assert raw.status(raw.answer(shared.port, asked)) == status


@pytest.mark.parametrize(
    ("host", "status"), [("asr.example", 200), ("ASR.EXAMPLE:443", 200), ("127.0.0.1", 403)]
)
def test_the_names_that_were_allowed_are_answered_to(shared, key, host, status):
    answer = raw.answer(shared.port, request(path="/v1/models", x_api_key=key, host=host))
    assert raw.status(answer) == status


@pytest.mark.parametrize(
    ("forwarded", "seen"),
    [
        ("203.0.113.9", "203.0.113.9"), ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.1.2.3", "203.0.113.9"), ("203.0.113.9:4711", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::/64"), ("evil\x1b[31m" + "x" * 500, "'evil\\x1b[31m"),
    ],
)  # fmt: skip
def test_a_proxy_that_is_trusted_says_who_it_is(shared, forwarded, seen):
    raw.answer(shared.port, request(x_forwarded_for=forwarded, x_request_id="who"))
    time.sleep(0.1)
    line = [line for line in shared.log.splitlines() if "request_id=who" in line][-1]
    assert f"holder={seen}" in line


def test_nobody_else_says_who_it_is(quiet_server):
    for n in range(3):
        headers = {"x_forwarded_for": f"203.0.113.{n}", "forwarded": f"for=203.0.113.{n}"}
        raw.answer(
            quiet_server.port, request(x_real_ip="203.0.113.1", x_request_id="me", **headers)
        )
    time.sleep(0.1)
    lines = [line for line in quiet_server.log.splitlines() if "request_id=me" in line]
    assert len(lines) == 3
    assert all("holder=127.0.0.1" in line for line in lines)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-123_x.Y", True), ("a" * 64, True), ("a" * 65, False), ("a b", False), ("", False),
        ("a\x1b[31m", False), ("ä", False), ("<script>", False), ("a;b", False),
    ],
)  # fmt: skip
def test_ids_of_requests_are_kept_if_they_are_sound(quiet_server, given, kept):
    answer = raw.answer(quiet_server.port, request(x_request_id=given))
    got = headers_of(answer)["x-request-id"]
    assert (got == given) if kept else got.startswith("req_")


# -- headers


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


def test_every_answer_keeps_a_browser_from_harm(guarded, key):
    for name, answer in answers(guarded, key):
        assert answer[9:12] == name[:3].encode(), (name, answer[:200])
        got = headers_of(answer)
        assert all(got.get(header) == value for header, value in HEADERS.items()), (name, got)
        assert name == "400 no HTTP" or "x-request-id" in got, name
        assert "server" not in got
        if "page" not in name and name != "404 file":
            assert got.get("cache-control", "no-store") == "no-store", name
        if name.startswith("4"):
            body = answer.partition(b"\r\n\r\n")[2]
            assert set(msgspec.json.decode(body)["error"]) == {"message", "type", "param", "code"}
    assert "unsafe" not in HEADERS["content-security-policy"]
    guarded.wait_for_rest()


def test_a_socket_that_was_opened_needs_no_key_again(guarded, key):
    """And one that was refused has taken no place."""
    for _ in range(60):
        assert raw.status(raw.answer(guarded.port, raw.handshake("/ws"))) == 401
    with opened(guarded.port, "/ws", key=key) as client:
        client.sendall(raw.frame(raw.TEXT, b"ping"))
        assert b"pong" in raw.read_to(client, b"pong")
    guarded.wait_for_rest()


headers = st.lists(
    st.tuples(
        st.sampled_from(
            ["authorization", "api-key", "x-api-key", "sec-websocket-protocol", "host", "origin"]
        ),
        st.binary(max_size=60)
        | words.map(lambda w: f"Bearer {w}".encode())
        | words.map(lambda w: f"realtime, key.{w},{w}".encode())
        | words.map(lambda w: f"token, {w}".encode()),
    ),
    max_size=4,
).map(lambda raw: Headers(raw=[(name.encode(), value) for name, value in raw]))


@given(headers)
def test_a_key_is_found_or_it_is_not(given):
    key = gate.key_of(given)
    assert key is None or key in " ".join(given.values())
    ring = keys.Keyring((keys.Client(name="a", sha256="0" * 64),))
    assert ring.client(key or "") is None


@given(headers)
def test_hosts_and_origins_are_accepted_or_rejected(service, given):
    messages = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        messages.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": "/health", "raw_path": b"/health", "query_string": b"", "root_path": "",
        "headers": given.raw, "client": ("127.0.0.1", 1), "server": None,
    }  # fmt: skip
    asyncio.run(service(scope, receive, send))
    assert messages[0]["status"] in (200, 400, 403)


@given(st.text())
def test_an_address_is_a_name(client):
    assert gate.anonymous_client(client).name.isprintable()
