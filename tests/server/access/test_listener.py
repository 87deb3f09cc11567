"""Connections that are taken: no more than there is room for, and none is lost."""

import asyncio
import errno
import logging
import os
import socket

import pytest

from wheatear.server import api_errors as refusals
from wheatear.server.access import listener as accepting
from wheatear.server.access.listener import Acceptor, SlotQueue


class Poor(socket.socket):
    """A listener of a process that has no descriptor left for a while."""

    number = errno.EMFILE
    left = 0
    accepts = 0

    def accept(self):
        self.accepts += 1
        if self.left == 0:
            raise OSError(self.number, os.strerror(self.number))
        return super().accept()


class Greeting(asyncio.Protocol):
    """Sends a greeting and closes."""

    def connection_made(self, transport):
        transport.write(b"hello")
        transport.close()


async def answers(port: int, count: int) -> list[bytes]:
    async def one() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        got = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        return got

    return await asyncio.gather(*(one() for _ in range(count)))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_connections_wait_without_a_descriptor_and_are_logged_once(monkeypatch, caplog, number):
    monkeypatch.setattr(accepting, "EXHAUSTED_SECONDS", 0.05)
    monkeypatch.setattr(refusals, "logged_at", {})
    monkeypatch.setattr(refusals, "LOG_INTERVAL", 3600.0)

    async def main() -> None:
        listener = Poor()
        listener.number = number
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        acceptor = Acceptor(listener, Greeting, lambda: 100)
        await acceptor.start()
        waiting = asyncio.create_task(answers(listener.getsockname()[1], 40))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        assert listener.accepts <= 12  # it does not spin
        listener.left = 1
        assert await asyncio.wait_for(waiting, 30) == [b"hello"] * 40
        acceptor.close()
        await acceptor.wait_closed()

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert len(caplog.records) == 1
    assert os.strerror(number) in caplog.text


def test_connections_beyond_the_room_wait(monkeypatch):
    monkeypatch.setattr(accepting, "FULL_SECONDS", 0.01)
    here: set[asyncio.BaseTransport] = set()
    most = 0

    class Staying(asyncio.Protocol):
        def connection_made(self, transport):
            nonlocal most
            here.add(transport)
            most = max(most, len(here))
            self.transport = transport
            asyncio.get_running_loop().call_later(0.02, self.go)

        def go(self):
            here.discard(self.transport)
            self.transport.write(b"hello")
            self.transport.close()

    async def main() -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        acceptor = Acceptor(listener, Staying, lambda: 5 - len(here))
        await acceptor.start()
        assert await answers(listener.getsockname()[1], 60) == [b"hello"] * 60
        acceptor.close()
        acceptor.close()

    asyncio.run(main())
    assert 1 <= most <= 5


class Transport:
    """A connection that can be closed."""

    aborted = False

    def abort(self):
        self.aborted = True


def test_longest_waiting_connection_is_closed():
    port = SlotQueue(100)
    lines = [Transport() for _ in range(accepting.MAX_WAITING + 2)]
    other = Transport()
    port.enter(other, "b")
    port.enter(lines[0], "a")
    port.give_slot(lines[0])
    for line in lines[1:]:
        port.enter(line, "a")
    assert [line.aborted for line in lines[:3]] == [False, True, False]
    assert not other.aborted


def test_full_queue_has_room_in_place_of_a_waiting_connection():
    port = SlotQueue(2)
    first, second, third = (Transport() for _ in range(3))
    for line in (first, second):
        assert port.room() > 0
        port.enter(line, "a")
    port.give_slot(first)
    assert port.room() == 1
    port.enter(third, "b")
    assert (first.aborted, second.aborted) == (False, True)
    port.give_slot(third)
    assert port.room() == 0
    port.leave(first)
    assert port.room() == 1
