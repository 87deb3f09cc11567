"""Keys in every form, on every path: none is avoided, and each opens what its scopes name."""

import json

import pytest
import raw_socket as raw
from fuzzing import words
from hypothesis import given
from hypothesis import strategies as st
from raw_socket import request
from route_table import is_open, statuses
from server_process import running
from starlette.datastructures import Headers
from websockets.sync.client import connect

from wheatear.server.access.credentials import FOR_KEYS, anonymous_client, key_of
from wheatear.server.access.keys import Client, Keyring, make_key

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


def test_walk_finds_every_kind_of_route(table):
    """Whatever is added is walked, too; this is here to show that the walk finds something."""
    assert {("/ws", True), ("/v1/realtime", True), ("/metrics", False)} < set(table)
    assert ("/page/a-file", False) in table
    assert len(table) >= 14


def test_request_without_a_key_reaches_only_open_paths(guarded, table):
    for path, socket in table:
        got = statuses(guarded, path, socket)
        if is_open(path):
            assert 401 not in got, path
        else:
            assert set(got) == {401}, path


@pytest.mark.parametrize("way", WAYS)
def test_wrong_key_reaches_only_open_paths(guarded, table, key, way):
    for wrong in (UNKNOWN, key[:-1], key + "A", key.upper(), "ek_" + "A" * 43, "x"):
        for path, socket in table:
            if not is_open(path):
                make = raw.handshake if socket else request
                got = raw.answer(guarded.port, make(path=path, **WAYS[way](wrong)))
                assert raw.status(got) == 401, (path, wrong)


@pytest.mark.parametrize("way", WAYS)
def test_right_key_reaches_every_path(guarded, table, key, way):
    for path, socket in table:
        make = raw.handshake if socket else request
        answer = raw.answer(guarded.port, make(path=path, **WAYS[way](key)))
        # With the key, a socket may still need parameters: /v1/listen an encoding.
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
def test_malformed_key_is_rejected(guarded, headers):
    for data in (request(path="/metrics", **headers), raw.handshake("/ws", **headers)):
        assert raw.status(raw.answer(guarded.port, data)) == 401


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
def test_no_spelling_of_a_path_avoids_the_key(guarded, path):
    answer = raw.answer(guarded.port, request(path=path))
    assert raw.status(answer) in (400, 401, 404), answer[:200]
    assert b"wheatear_requests" not in answer


def test_key_in_the_query_is_not_used(guarded, key):
    for name in ("key", "api_key", "token", "access_token"):
        assert guarded.get(f"/metrics?{name}={key}", **{"x-api-key": ""})[0] == 401


def test_absolute_target_needs_a_key(guarded):
    for target in ("http://localhost/metrics", "http://localhost/health/../metrics", "//metrics"):
        assert raw.status(raw.answer(guarded.port, request(path=target))) in (400, 401, 404)
    assert raw.status(raw.answer(guarded.port, request(path="http://localhost/health"))) == 200


def test_short_lived_secret_opens_sockets_and_makes_no_secret(guarded, key):
    path, kind = "/v1/realtime/client_secrets", {"content_type": "application/json"}
    answer = raw.answer(guarded.port, request("POST", path, b"{}", x_api_key=key, **kind))
    secret = json.loads(answer.partition(b"\r\n\r\n")[2])["value"]
    headers = {"Authorization": f"Bearer {secret}"}
    with connect(f"{guarded.ws}/ws", additional_headers=headers) as socket:
        assert json.loads(socket.recv())["type"] == "ready"
    assert guarded.get("/v1/models", **{"x-api-key": secret})[0] == 200
    for path in FOR_KEYS:
        data = request("POST" if path.endswith("secrets") else "GET", path, b"{}", x_api_key=secret)
        assert raw.status(raw.answer(guarded.port, data)) == 403
    guarded.wait_for_rest()


@pytest.mark.parametrize(
    ("scope", "opened"),
    [
        ("transcribe", {"/ws", "/v1/realtime", "/v1/listen", "/v1/audio/transcriptions",
                        "/v1/audio/translations", "/v1/audio/subtitles"}),
        ("secrets", {"/v1/realtime/client_secrets"}), ("metrics", {"/metrics"}),
    ],
)  # fmt: skip
def test_scope_opens_its_paths_only(tmp_path, table, scope, opened):
    file = tmp_path / "keys.toml"
    key = make_key(file, "limited", scopes=(scope,))
    all_scopes = {"/v1/models", "/v1/models/a-model", "/openapi.json"}
    with running("--api-key-file", str(file)) as server:
        for path, socket in table:
            got = statuses(server, path, socket, x_api_key=key)
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
            for path in FOR_KEYS:
                data = request(path=path, x_api_key=secret)
                assert raw.status(raw.answer(server.port, data)) == 403


def test_addresses_of_one_line_are_one_client():
    names = [anonymous_client(f"2001:db8:1:{rest}").name for rest in ("2:3::4", "2::9", "3::4")]
    assert names[0] == names[1] != names[2]
    assert anonymous_client("10.1.2.3").name == "10.1.2.3"
    assert anonymous_client("::ffff:10.1.2.3").name == "10.1.2.3"
    assert anonymous_client("unix:\nsocket\x1b").name.isprintable()


any_headers = st.lists(
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


@given(any_headers)
def test_key_of_any_headers_is_found_or_none(headers):
    key = key_of(headers)
    assert key is None or key in " ".join(headers.values())
    ring = Keyring((Client(name="a", sha256="0" * 64),))
    assert ring.client(key or "") is None


@given(st.text())
def test_any_address_gives_a_printable_name(address):
    assert anonymous_client(address).name.isprintable()
