"""TCP connections of Wyoming: limits, slots of live streams, and clients that disconnect."""

import asyncio
import json
import socket
import time
from contextlib import ExitStack

import pytest
from server_process import running
from websockets.sync.client import connect as websocket
from wyoming.asr import TranscriptChunk
from wyoming_client import check, command, port_of, raw, receive_events, run, speak

from wheatear.cli import main
from wheatear.server.access.keys import make_key

CHUNK = '{"type": "audio-chunk", "data": {"rate": 16000, "width": 2, "channels": 1}'


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\n",
        b"\xff\xfe\x00\n",
        b"[]\n",
        b"null\n",
        b'{"type": 7}\n',
        b'{"data": {}}\n',
        b'{"type": "describe", "data": []}\n',
        b'{"type": "describe", "data_length": -1}\n',
        b'{"type": "describe", "data_length": 99999999999999}\n',
        b'{"type": "describe", "data_length": 1e300}\n',
        b'{"type": "describe", "payload_length": 9999999999}\n',
        b'{"type": "describe", "data_length": 4}\n[1]\n',
        b'{"type": "describe", "data_length": 4}\n\xff\xff\xff\xff',
        b'{"type": "audio-start"}\n',
        b'{"type": "audio-start", "data": {"rate": "x", "width": 2, "channels": 1}}\n',
        b'{"type": "audio-start", "data": {"rate": 1e99, "width": 2, "channels": 1}}\n',
        b'{"type": "transcribe", "data": {"language": 7}}\n',
        b'{"type": "transcribe", "data": {"transcript_names": [{}]}}\n',
        b"[" * 60_000 + b"\n",
        b"x" * 100_000,
        (CHUNK + ', "payload_length": 30000000}\n').encode(),
    ],
    ids=range(22),
)
def test_garbage_closes_the_connection_with_a_reason(quiet_home, data):
    answer = raw(quiet_home, data)
    head, _, rest = answer.partition("\n")
    assert json.loads(head)["type"] == "error"
    assert json.loads(rest)["text"]


def test_clients_that_disconnect_release_all(quiet_home, spoken):
    pieces = [
        b'{"type": "descr',
        b'{"type": "describe", "data_length": 100}\n{"a"',
        (CHUNK + ', "payload_length": 1000}\n').encode() + b"\0" * 10,
        (CHUNK + f', "payload_length": {2 * len(spoken)}}}\n').encode() + spoken.tobytes(),
    ]
    for piece in pieces * 3:
        line = socket.create_connection(("127.0.0.1", quiet_home.wyoming))
        line.sendall(piece)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        line.close()  # without a word: a reset


def test_an_idle_client_is_disconnected():
    with running("--wyoming-port", "0", WHEATEAR_SERVE_LIMITS_IDLE_SECONDS="0.5") as server:
        server.wyoming = port_of(server)
        for piece in (b"", b'{"type": "desc', b'{"type": "describe", "payload_length": 9}\n123'):
            assert '"idle"' in raw(server, piece)
        server.wait_for_rest()


def test_connections_share_the_slots_of_live_sockets(spoken):
    """A slot is taken with the first audio; `describe` needs none."""
    start = b'{"type": "audio-start", "data": {"rate": 16000, "width": 2, "channels": 1}}\n'
    with running("--wyoming-port", "0", WHEATEAR_SERVE_LIMITS_STREAMS="1") as server:
        server.wyoming = port_of(server)

        async def work(client):
            await speak(client, spoken)
            await receive_events(client, TranscriptChunk)
            answer = await asyncio.to_thread(_first_line, server, b'{"type": "describe"}\n')
            return answer, raw(server, start)

        described, refused = run(server, work)
        assert '"info"' in described
        assert '"overloaded"' in refused
        server.wait_for_rest()
        assert server.metric("wheatear_refused", reason="overloaded") == 1


def _first_line(server, data):
    """The first line of an answer."""
    with socket.create_connection(("127.0.0.1", server.wyoming), timeout=30) as line:
        line.sendall(data)
        return line.makefile().readline()


def test_idle_connections_take_no_slots(tmp_path, spoken):
    """With many idle connections, others get slots on this port and elsewhere."""
    file = tmp_path / "keys.toml"
    key = make_key(file, "somebody")
    options = {"WHEATEAR_SERVE_WYOMING_OPEN": "true", "WHEATEAR_SERVE_LIMITS_STREAMS": "20"}
    arguments = ["--wyoming-port", "0", "--api-key-file", str(file)]
    with running(*arguments, **options) as server, ExitStack() as held:
        server.wyoming, server.key = port_of(server), key
        for n in range(200):
            line = socket.create_connection(("127.0.0.1", server.wyoming), timeout=30)
            held.enter_context(line)
            line.sendall(b'{"type": "ping"}\n' if n % 2 else b"")
        headers = {"x-api-key": key}
        with websocket(f"{server.ws}/ws", additional_headers=headers) as keyed:
            assert json.loads(keyed.recv(timeout=30))["type"] == "ready"
        assert "calling" in check(run(server, lambda client: command(client, spoken)))
        assert server.used()["descriptors"] < 120


def test_streams_of_this_port_leave_slots_for_keys(tmp_path, spoken):
    """One address has as many unfinished commands as there are slots."""
    file = tmp_path / "keys.toml"
    key = make_key(file, "somebody")
    options = {"WHEATEAR_SERVE_WYOMING_OPEN": "true", "WHEATEAR_SERVE_LIMITS_STREAMS": "10"}
    start = b'{"type": "audio-start", "data": {"rate": 16000, "width": 2, "channels": 1}}\n'
    arguments = ["--wyoming-port", "0", "--api-key-file", str(file)]
    with running(*arguments, **options) as server, ExitStack() as held:
        server.wyoming, server.key = port_of(server), key
        for _ in range(8):
            line = socket.create_connection(("127.0.0.1", server.wyoming), timeout=30)
            held.enter_context(line)
            line.sendall(start)
        deadline = time.monotonic() + 30
        while server.metric("wheatear_streams") < 8:
            assert time.monotonic() < deadline
        assert '"too_many_sessions"' in raw(server, start)
        headers = {"x-api-key": key}
        with websocket(f"{server.ws}/ws", additional_headers=headers) as keyed:
            assert json.loads(keyed.recv(timeout=30))["type"] == "ready"


def test_a_client_without_audio_is_disconnected_despite_other_events():
    with running("--wyoming-port", "0", WHEATEAR_SERVE_LIMITS_IDLE_SECONDS="1") as server:
        server.wyoming = port_of(server)
        with socket.create_connection(("127.0.0.1", server.wyoming), timeout=30) as line:
            got, deadline = b"", time.monotonic() + 30
            while b'"idle"' not in got:
                assert time.monotonic() < deadline
                line.sendall(b'{"type": "ping"}\n')
                got += line.recv(1 << 16)
                time.sleep(0.1)
        assert b"pong" in got


def test_with_keys_it_is_served_only_if_wyoming_open_is_set(tmp_path, spoken, capsys):
    file = tmp_path / "keys.toml"
    make_key(file, "somebody")
    arguments = ["--wyoming-port", "0", "--api-key-file", str(file)]
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--port", "0", *arguments])
    assert ended.value.code == 2
    assert "wyoming_open" in capsys.readouterr().err
    with running(*arguments, WHEATEAR_SERVE_WYOMING_OPEN="true") as server:
        server.wyoming = port_of(server)
        assert "calling" in check(run(server, lambda client: command(client, spoken)))
