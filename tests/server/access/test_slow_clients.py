"""Clients that do not read, or read slowly."""

import contextlib
import time

from protocol_server import port_of, serving, until
from raw_socket import TEXT, connection, frame, opened, request


def test_client_that_does_not_read_is_disconnected():
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


def test_slow_reader_gets_everything():
    with serving(send_seconds=1) as server, connection(port_of(server), unread=65536) as client:
        client.sendall(request(path=f"/{12 << 20}"))
        size = 0
        while data := client.recv(100_000):
            size += len(data)
            time.sleep(0.01)
        assert size > 12 << 20
