"""The size of the server's process: what clients send and leave does not stay, and has a bound.

The bounds allow for what the C library keeps of memory that was given back.
"""

import base64
import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import raw_socket as raw
from raw_socket import BINARY, TEXT, frame
from server_process import Server, running

MB = 1 << 20
STORE = 48 * MB
SIZE = 19 * MB


@pytest.fixture(scope="module")
def wyoming(server: Server) -> int:
    """Its port for Wyoming."""
    assert server.process.stdout is not None
    line = server.process.stdout.readline()
    return int(line.split()[-2].rpartition(":")[2])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    limits = {
        "WHEATEAR_SERVE_LIMITS_REQUESTS_PER_MINUTE": "1000000",
        "WHEATEAR_SERVE_LIMITS_BUFFER_BYTES": str(STORE),
    }
    with running("--wyoming-port", "0", **limits) as server:
        yield server
        server.wait_for_rest()
        assert "Traceback" not in server.log, server.log


def size_of(server: Server) -> float:
    return server.used()["memory"]


def begin(client: socket.socket, size: int, opcode: int = BINARY) -> None:
    """Sends all of a message but its end, as far as it is taken."""
    client.settimeout(20)
    head = bytes([0x80 | opcode, 0xFF]) + struct.pack(">Q", size) + bytes(4)
    with contextlib.suppress(OSError):
        client.sendall(head + b" " * (size - 10))


def in_fragments(client: socket.socket, size: int) -> None:
    client.settimeout(20)
    with contextlib.suppress(OSError):
        client.sendall(frame(TEXT, b"", fin=False))
        for _ in range(size // 1000):
            client.sendall(frame(0, b" " * 1000, fin=False))


WAYS = {
    "a frame": begin,
    "fragments": in_fragments,
    "text of four bytes a letter": lambda client, size: begin(client, size, TEXT),
    "a whole message": lambda client, size: client.sendall(frame(BINARY, bytes(size))),
}


SLOW = pytest.mark.slow
"""Other ways to the same bound."""


@pytest.mark.parametrize(
    "path", ["/ws", "/v1/realtime", pytest.param("/v1/listen?encoding=mulaw", marks=SLOW)]
)
def test_sockets_that_are_closed_in_a_large_message_leave_nothing(server, path):
    """Hundreds of them held gigabytes, with nothing open."""
    before = size_of(server)
    for _ in range(6):
        with contextlib.ExitStack() as held:
            clients = [held.enter_context(raw.opened(server.port, path)) for _ in range(5)]
            for client in clients:
                begin(client, SIZE if client is clients[0] else SIZE // 4)
    server.wait_for_rest()
    assert size_of(server) < before + 2.5 * STORE / 1e6


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=SLOW if way.startswith("a ") else ()) for way in WAYS]
)
def test_all_sockets_together_are_bounded(server, way):
    before = size_of(server)
    codes: list[int | None] = []
    with contextlib.ExitStack() as held:
        for _ in range(12):
            client = held.enter_context(raw.opened(server.port))
            with contextlib.suppress(OSError):
                WAYS[way](client, SIZE)
            held.callback(lambda client=client: codes.append(_code(client)))
        assert size_of(server) < before + 2.5 * STORE / 1e6  # all of it would be 240 MB
    refused = [code for code in codes if code is not None]
    assert len(refused) >= (1 if way == "a whole message" else 8), codes
    assert set(refused) <= {1013}, codes
    server.wait_for_rest(60)


def _code(client: socket.socket) -> int | None:
    """The code that a socket has been closed with, if it has been."""
    return raw.close_code(raw.to_close(client, 0.3))


def test_who_sends_little_has_room_when_there_is_none(server, spoken):
    with contextlib.ExitStack() as held:
        for _ in range(8):
            begin(held.enter_context(raw.opened(server.port)), SIZE)
        good = held.enter_context(raw.opened(server.port, "/ws?latency=160"))
        for at in range(0, len(spoken), 320):
            good.sendall(frame(BINARY, spoken[at : at + 320].tobytes()))
        good.sendall(frame(TEXT, b"finish"))
        assert b"sorry" in raw.to_close(good).lower()


def test_reason_is_sent(server):
    """Also to a client that is in the middle of sending: it reads a close frame, and no reset."""
    with contextlib.ExitStack() as held:
        got = b""
        for _ in range(8):
            client = held.enter_context(raw.opened(server.port))
            begin(client, SIZE)
            got = raw.to_close(client, 1)
            if raw.close_code(got):
                break
        assert raw.close_code(got) == 1013
        assert b"no memory left" in got


def test_wyoming_is_bounded(server, wyoming):
    before = size_of(server)
    head = json.dumps({"type": "audio-chunk", "payload_length": SIZE}).encode() + b"\n"
    errors = 0
    with contextlib.ExitStack() as held:
        for _ in range(12):
            client = held.enter_context(raw.connection(wyoming))
            client.settimeout(5)
            with contextlib.suppress(OSError):
                client.sendall(head + bytes(SIZE - 10))
            client.settimeout(0.3)
            with contextlib.suppress(OSError):
                errors += b"no memory left" in client.recv(1000)
        assert size_of(server) < before + 2.5 * STORE / 1e6
    assert errors >= 8
    server.wait_for_rest(60)


def test_answers_that_are_not_read_are_bounded(server):
    """Each socket is owed megabytes, and reads nothing."""
    before = size_of(server)
    event = json.dumps({"type": "x" * 70, "event_id": "e" * 500}).encode()
    with contextlib.ExitStack() as held:
        for _ in range(40):
            client = held.enter_context(raw.opened(server.port, "/v1/realtime", unread=4096))
            client.settimeout(0.2)
            with contextlib.suppress(OSError):
                client.sendall(frame(TEXT, event) * 2000)
        time.sleep(1)
        assert size_of(server) < before + 2.5 * STORE / 1e6
    server.wait_for_rest(60)


def test_large_messages_cost_little_time(server):
    """19 MB of JSON took the event loop 2.7 s each time, 19 MB of base64 that is none likewise."""
    lists = b'{"type":"x","a":[' + b"[]," * (6 * MB) + b"0]}"
    rubbish = b'{"type":"input_audio_buffer.append","audio":"' + b"%" * SIZE + b'"}'
    began = _computed(server)
    for message in (lists, rubbish):
        with raw.opened(server.port, "/v1/realtime") as client:
            for _ in range(2):
                client.sendall(frame(TEXT, message))
                error = raw.read_to(client, b'"error"')
                assert b'"error"' in error
            client.sendall(frame(TEXT, b'{"type": "input_audio_buffer.clear"}'))
            raw.read_to(client, b"input_audio_buffer.cleared")
    assert _computed(server) - began < 4


def test_large_audio_is_transcribed(server, spoken):
    """A message of five minutes, as OpenAI permits."""
    sound = spoken.tobytes() + bytes(14 * MB - spoken.nbytes)
    event = {"type": "input_audio_buffer.append", "audio": base64.b64encode(sound).decode()}
    with raw.opened(server.port, "/v1/realtime?sample_rate=16000") as client:
        client.settimeout(60)
        client.sendall(frame(TEXT, json.dumps(event).encode()))
        got = raw.read_to(client, b"input_audio_transcription.completed")
        assert b"sorry" in got.lower()


def _computed(server: Server) -> float:
    """Seconds that the process has computed."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_json_of_any_route_is_bounded(server, wyoming):
    body = b'{"x":[' + b"[]," * 25_000 + b"0]}"
    answer = raw.answer(server.port, raw.request("POST", "/v1/realtime/client_secrets", body))
    assert raw.status(answer) == 413
    with raw.connection(wyoming) as client:
        head = json.dumps({"type": "ping", "data_length": len(body)}).encode() + b"\n"
        client.sendall(head + body)
        assert b'"too_large"' in client.recv(4096)
    for path, text in (("/v1/listen?encoding=mulaw", b"SchemaError"), ("/ws", b"too_large")):
        with raw.opened(server.port, path) as client:
            client.sendall(frame(TEXT, b'{"type": "KeepAlive", "x": "' + b"a" * 70_000 + b'"}'))
            raw.read_to(client, text)
