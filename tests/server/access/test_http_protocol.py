"""Deadlines of HTTP clients: a slow one is disconnected, and no other one waits."""

import socket
import time
from contextlib import ExitStack

import msgspec
import pytest
import raw_socket as raw
from protocol_server import port_of, serving, until
from raw_socket import TEXT, connection, everything, frame, opened, request

from wheatear.server.access import http_protocol as module


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience of tenths of seconds."""
    for name in ("HEAD_SECONDS", "NEXT_SECONDS", "REST_SECONDS"):
        monkeypatch.setattr(module, name, 0.3 + 0.01 * len(name))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("head", [b"", b"G", b"GET / HTTP/1.1\r\nhost: x\r\n"])
def test_silent_client_is_disconnected(head):
    with serving() as server, connection(port_of(server)) as client:
        client.sendall(head)
        assert everything(client, 10) == b""
        until(lambda: not server.server_state.connections)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("more", [b"", b"G", b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: "])
def test_client_without_a_further_request_is_disconnected(more):
    """Bytes of a head that does not end give a client no more time."""
    with serving() as server, connection(port_of(server)) as client:
        client.sendall(request(path="/3", connection="keep-alive"))
        client.recv(1 << 16)
        client.sendall(more)
        for _ in range(8):
            time.sleep(0.05)
            if more:
                client.sendall(b"a")
        assert everything(client, 10) in (b"", b"aaa")
        until(lambda: not server.server_state.connections)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kept", ["keep-alive", "close"])
def test_answer_in_the_middle_of_a_request_can_be_read(kept):
    """However much is still being sent; but it is not read for ever."""
    with serving() as server, connection(port_of(server)) as client:
        client.sendall(request("POST", "/5", content_length=str(1 << 40), connection=kept))
        for _ in range(40):
            client.sendall(bytes(1 << 16))
        assert everything(client, 10).endswith(b"\r\n\r\naaaaa")
        until(lambda: not server.server_state.connections)


@pytest.mark.parametrize("kept", ["keep-alive", "close"])
def test_request_completed_after_its_answer_keeps_the_connection(kept):
    with serving() as server, connection(port_of(server)) as client:
        client.sendall(request("POST", "/1", content_length="6", connection=kept))
        answer = client.recv(1 << 16)  # some of it, or all
        assert answer.startswith(b"HTTP/1.1 200")
        client.sendall(b"abcdef")
        client.sendall(request(path="/2"))
        answer += everything(client, 10)
        assert answer.endswith(b"\r\n\r\naa" if kept == "keep-alive" else b"\r\n\r\na")


@pytest.mark.parametrize("goes", [False, True])
def test_half_closed_client_has_a_deadline(monkeypatch, goes):
    """A client that waits for the answer looks like one that is gone."""
    monkeypatch.setattr(module, "HALF_CLOSED_SECONDS", 0.4)
    with serving() as server, connection(port_of(server)) as client:
        client.sendall(request(path="/never"))
        until(lambda: server.server_state.tasks)
        if goes:
            client.close()
        else:
            client.shutdown(socket.SHUT_WR)
            answer = everything(client, 20)
            assert raw.status(answer) == 408
            assert b"shut its sending side" in answer
        until(lambda: not server.server_state.connections and not server.server_state.tasks)


@pytest.mark.parametrize("more", [b"", b"GET / HT", request("POST", "/body", content_length="9")])
def test_half_closed_connection_ends_with_its_last_answer(more):
    with serving() as server, connection(port_of(server)) as client:
        client.sendall(request(path="/1", connection="keep-alive") * 2 + more)
        client.shutdown(socket.SHUT_WR)
        assert everything(client, 10).count(b"HTTP/1.1 200") == 2
        until(lambda: not server.server_state.connections and not server.server_state.tasks)


def test_longest_waiting_connection_makes_room():
    with serving(max_connections=10) as server, ExitStack() as held:
        port = port_of(server)
        good = held.enter_context(opened(port))
        first = held.enter_context(connection(port))
        busy = held.enter_context(connection(port))
        busy.sendall(request("POST", "/body/1", content_length="1"))
        until(lambda: len(server.server_state.connections) == 3)
        for _ in range(30):
            held.enter_context(connection(port))
        assert raw.status(raw.exchange(port, request(path="/1"))) == 200
        assert len(server.server_state.connections) <= 12
        assert everything(first, 10) == b""
        busy.sendall(b"x")
        assert raw.status(everything(busy, 10)) == 200
        good.sendall(frame(TEXT, b"here"))
        assert b"here" in good.recv(100)


def test_disconnect_in_a_request_ends_its_work():
    with serving() as server:
        for path in ("/3", "/body/3"):
            with connection(port_of(server)) as client:
                head = request("POST", path, transfer_encoding="chunked", connection="keep-alive")
                client.sendall(head + b"3\r\nabc\r\n")
                time.sleep(0.1)
                client.sendall(b"nonsense\r\n\r\n")
                everything(client, 10)
        until(lambda: not server.server_state.connections and not server.server_state.tasks)


def test_answer_to_invalid_http_has_the_security_headers():
    with serving() as server:
        answer = raw.exchange(port_of(server), b"\x16\x03\x01 nonsense\r\n\r\n")
        assert raw.status(answer) == 400
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"x-content-type-options: nosniff" in head
        assert msgspec.json.decode(body)["error"]["code"] == "bad_request"
