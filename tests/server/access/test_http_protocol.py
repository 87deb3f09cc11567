"""Connections that do not do their part are let go, and no other one waits for them."""

import asyncio
import contextlib
import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import pytest
import raw_socket as raw
import uvicorn
from raw_socket import BINARY, PING, TEXT, connection, everything, frame, opened, request

from wheatear.server.access import http_protocol as connections
from wheatear.server.access.message_buffers import Buffers
from wheatear.server.settings import Limits


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers with as many bytes as the path says; echoes what comes on a socket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("text") == "wait":
                await asyncio.sleep(0.5)
            await send({"type": "websocket.send", "text": message.get("text") or "data"})
        return
    if scope["path"] == "/never":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    more = scope["path"].startswith("/body")
    while more:
        message = await receive()
        more = message.get("more_body", False)
    size = int(scope["path"].rpartition("/")[2] or 0)
    length = [(b"content-length", str(size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": b"a" * size})


@contextmanager
def serving(most: int = 1000, ping: float = 20, **changed: Any) -> Iterator[uvicorn.Server]:
    """The application on a port of its own, in a thread."""
    limits = msgspec.structs.replace(Limits(), **changed)
    config = connections.Config(
        application, limits, most, Buffers(limits.buffer_bytes), port=0, lifespan="off",
        log_config=None, ws_ping_interval=ping, ws_ping_timeout=ping, timeout_keep_alive=30,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join()


def until(there: Callable[[], Any], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def port_of(server: uvicorn.Server) -> int:
    return server.servers[0].sockets[0].getsockname()[1]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience of tenths of seconds."""
    for name in ("_HEAD_SECONDS", "_NEXT_SECONDS", "_REST_SECONDS"):
        monkeypatch.setattr(connections, name, 0.3 + 0.01 * len(name))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("head", [b"", b"G", b"GET / HTTP/1.1\r\nhost: x\r\n"])
def test_who_says_nothing_is_let_go(head):
    with serving() as server, connection(port_of(server)) as client:
        client.sendall(head)
        assert everything(client, 10) == b""
        until(lambda: not server.server_state.connections)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("more", [b"", b"G", b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: "])
def test_after_an_answer_a_new_request_has_to_come(more):
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
def test_who_is_answered_in_the_middle_of_a_request_can_read_it(kept):
    """However much is still being sent; but it is not read for ever."""
    with serving() as server, connection(port_of(server)) as client:
        client.sendall(request("POST", "/5", content_length=str(1 << 40), connection=kept))
        for _ in range(40):
            client.sendall(bytes(1 << 16))
        assert everything(client, 10).endswith(b"\r\n\r\naaaaa")
        until(lambda: not server.server_state.connections)


@pytest.mark.parametrize("kept", ["keep-alive", "close"])
def test_a_request_that_comes_whole_after_its_answer_keeps_the_connection(kept):
    with serving() as server, connection(port_of(server)) as client:
        client.sendall(request("POST", "/1", content_length="6", connection=kept))
        answer = client.recv(1 << 16)  # some of it, or all
        assert answer.startswith(b"HTTP/1.1 200")
        client.sendall(b"abcdef")
        client.sendall(request(path="/2"))
        answer += everything(client, 10)
        assert answer.endswith(b"\r\n\r\naa" if kept == "keep-alive" else b"\r\n\r\na")


@pytest.mark.parametrize("goes", [False, True])
def test_a_half_closed_client_is_not_worked_for_without_end(monkeypatch, goes):
    """It cannot be told from one that has gone, which this is, or waits to be answered."""
    monkeypatch.setattr(connections, "_HALF_CLOSED_SECONDS", 0.4)
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
def test_a_half_closed_connection_ends_with_its_last_answer(more):
    with serving() as server, connection(port_of(server)) as client:
        client.sendall(request(path="/1", connection="keep-alive") * 2 + more)
        client.shutdown(socket.SHUT_WR)
        assert everything(client, 10).count(b"HTTP/1.1 200") == 2
        until(lambda: not server.server_state.connections and not server.server_state.tasks)


def test_what_has_come_is_let_go_with_its_connection():
    """Without the collector of cycles, whose turn may be long in coming."""
    gc.collect()
    gc.disable()
    try:
        with serving() as server:
            for data in (frame(BINARY, bytes(3_000_000))[:-5], frame(TEXT, bytes(3_000_000)),
                         frame(BINARY, bytes(100_000), fin=False) * 1):  # fmt: skip
                with opened(port_of(server)) as client:
                    client.sendall(data)
                    until(_sockets)
                until(lambda: not server.server_state.connections)
            until(lambda: not _sockets())
            assert server.config.buffers.held == 0
    finally:
        gc.enable()


def _sockets() -> list[Any]:
    return [one for one in gc.get_objects() if type(one) is connections.PacedWebSocketProtocol]


def test_who_does_not_read_is_let_go():
    with serving(send_seconds=0.3) as server:
        with connection(port_of(server), unread=4096) as client:
            client.sendall(request(path=f"/{50 << 20}"))
            until(lambda: server.server_state.connections)
            until(lambda: not server.server_state.connections)
        with opened(port_of(server), unread=4096) as client:
            client.settimeout(0.2)
            with contextlib.suppress(OSError):
                for _ in range(2000):
                    client.sendall(frame(TEXT, b"a" * 10_000))
            until(lambda: not server.server_state.connections)


def test_who_reads_slowly_gets_it_all():
    with serving(send_seconds=1) as server, connection(port_of(server), unread=65536) as client:
        client.sendall(request(path=f"/{12 << 20}"))
        size = 0
        while data := client.recv(100_000):
            size += len(data)
            time.sleep(0.01)
        assert size > 12 << 20


def test_who_waits_longest_makes_room_for_others():
    with serving(most=10) as server, ExitStack() as held:
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


@pytest.mark.parametrize(
    "wrong",
    [
        {"sec_websocket_key": "short"}, {"sec_websocket_key": "=" * 24}, {"content_length": "3"},
        {"sec_websocket_version": "12"}, {"transfer_encoding": "chunked"},
        {f"x_{n}": "" for n in range(150)}, {"x_long": "a" * 9000}, {"upgrade": "websockets"},
    ],
)  # fmt: skip
def test_what_is_no_handshake_is_a_request(wrong):
    with serving() as server:
        head = raw.handshake("/7", **wrong)
        body = b"0\r\n\r\n" if "transfer_encoding" in wrong else b"abc"
        assert raw.answer(port_of(server), head + body).endswith(b"\r\n\r\naaaaaaa")
        assert raw.status(raw.answer(port_of(server), raw.handshake())) == 101


def test_floods_of_nothing_end_a_socket():
    pings, pongs = frame(PING) * 3000, frame(10, b"x") * 3000
    fragments = frame(BINARY, fin=False) + frame(0, b"x", fin=False) * 3000
    with serving() as server:
        for flood in (pings, pongs, fragments):
            with opened(port_of(server)) as client:
                client.sendall(flood)
                got = raw.to_close(client)
                assert raw.close_code(got) == 1008, got[-100:]
                assert b"bring nothing" in got
        until(lambda: not server.server_state.connections)


def test_large_fragments_are_no_flood():
    whole = bytes(3_000_000)
    pieces = [frame(0, whole[i : i + 4096], fin=False) for i in range(0, len(whole), 4096)]
    with serving(messages_per_second=1e6) as server, opened(port_of(server)) as client:
        client.sendall(frame(TEXT, b"", fin=False) + b"".join(pieces) + frame(0, b"end"))
        got = raw.read_to(client, b"\0end")
        assert len(got) == 3_000_000 + 3 + 10


def test_messages_wait_for_their_time_and_none_is_lost():
    """200 a second: of 700, the last one comes after more than a second, at the earliest."""
    with serving(messages_per_second=200) as server, opened(port_of(server)) as client:
        began = time.monotonic()
        client.sendall(b"".join(frame(TEXT, b"number %d;" % n) for n in range(700)))
        got = raw.read_to(client, b"number 699;")
        assert time.monotonic() - began > 1.4
        numbers = got.replace(b"number ", b";").split(b";")[1::2]
        assert [int(n) for n in numbers] == list(range(700))


def test_large_messages_count_for_several():
    with serving(messages_per_second=20) as server, opened(port_of(server)) as client:
        began = time.monotonic()
        client.sendall((frame(BINARY, bytes(200_000)) * 4) + frame(TEXT, b"end"))
        raw.read_to(client, b"end")
        assert time.monotonic() - began > 0.7  # 600 kB count for 36 messages


def test_half_open_sockets_are_found_out():
    with serving(ping=0.3) as server, opened(port_of(server)):
        until(lambda: server.server_state.connections)
        until(lambda: not server.server_state.connections)  # it answers no ping


def test_a_break_in_a_request_ends_its_work():
    with serving() as server:
        for path in ("/3", "/body/3"):
            with connection(port_of(server)) as client:
                head = request("POST", path, transfer_encoding="chunked", connection="keep-alive")
                client.sendall(head + b"3\r\nabc\r\n")
                time.sleep(0.1)
                client.sendall(b"nonsense\r\n\r\n")
                everything(client, 10)
        until(lambda: not server.server_state.connections and not server.server_state.tasks)


def test_answers_to_what_is_no_http_have_the_headers_of_others():
    with serving() as server:
        answer = raw.exchange(port_of(server), b"\x16\x03\x01 nonsense\r\n\r\n")
        assert raw.status(answer) == 400
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"x-content-type-options: nosniff" in head
        assert msgspec.json.decode(body)["error"]["code"] == "bad_request"
