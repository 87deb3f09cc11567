"""Frames and messages of sockets: their rate, and the memory that they leave."""

import gc
import time
from typing import Any

import pytest
import raw_socket as raw
from protocol_server import port_of, serving, until
from raw_socket import BINARY, PING, TEXT, frame, opened

from wheatear.server.access.websocket_protocol import PacedWebSocketProtocol


def test_closed_connection_leaves_no_buffers():
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
    return [one for one in gc.get_objects() if type(one) is PacedWebSocketProtocol]


@pytest.mark.parametrize(
    "wrong",
    [
        {"sec_websocket_key": "short"}, {"sec_websocket_key": "=" * 24}, {"content_length": "3"},
        {"sec_websocket_version": "12"}, {"transfer_encoding": "chunked"},
        {f"x_{n}": "" for n in range(150)}, {"x_long": "a" * 9000}, {"upgrade": "websockets"},
    ],
)  # fmt: skip
def test_wrong_handshake_is_a_request(wrong):
    with serving() as server:
        head = raw.handshake("/7", **wrong)
        body = b"0\r\n\r\n" if "transfer_encoding" in wrong else b"abc"
        assert raw.answer(port_of(server), head + body).endswith(b"\r\n\r\naaaaaaa")
        assert raw.status(raw.answer(port_of(server), raw.handshake())) == 101


def test_flood_of_empty_frames_closes_the_socket():
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


def test_fast_messages_wait_and_none_is_lost():
    """200 a second: of 700, the last one comes after more than a second, at the earliest."""
    with serving(messages_per_second=200) as server, opened(port_of(server)) as client:
        began = time.monotonic()
        client.sendall(b"".join(frame(TEXT, b"number %d;" % n) for n in range(700)))
        got = raw.read_to(client, b"number 699;")
        assert time.monotonic() - began > 1.4
        numbers = got.replace(b"number ", b";").split(b";")[1::2]
        assert [int(n) for n in numbers] == list(range(700))


def test_large_message_counts_for_several():
    with serving(messages_per_second=20) as server, opened(port_of(server)) as client:
        began = time.monotonic()
        client.sendall((frame(BINARY, bytes(200_000)) * 4) + frame(TEXT, b"end"))
        raw.read_to(client, b"end")
        assert time.monotonic() - began > 0.7  # 600 kB count for 36 messages


def test_half_open_socket_is_closed():
    with serving(ping=0.3) as server, opened(port_of(server)):
        until(lambda: server.server_state.connections)
        until(lambda: not server.server_state.connections)  # it answers no ping
