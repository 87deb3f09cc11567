"""A listener that takes no more connections than there is room for; the others wait.

asyncio's own takes all that come. Where no descriptor is left, it writes a traceback for each.
"""

import asyncio
import logging
import socket
from collections.abc import Callable

from wheatear.server.api_errors import note_once

_log = logging.getLogger(__name__)

_AT_ONCE = 16
_FULL_SECONDS = 0.05  # until it is looked again whether there is room
_NONE_LEFT_SECONDS = 0.5  # and where the system had no descriptor
_MOST_WAITING = 32  # connections of one address that have no place yet


class Acceptor:
    """Connections of a listening socket, each made into a protocol."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        room: Callable[[], int],
    ) -> None:
        """room: connections that may still come."""
        self._listener, self._protocol, self._room = listener, protocol, room
        self._coming: set[asyncio.Task[None]] = set()
        self._closed = False
        self._later: asyncio.TimerHandle | None = None
        self._server: asyncio.Server | None = None
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        """Begins to take connections."""
        self._listener.setblocking(False)
        try:
            self._loop.add_reader(self._listener.fileno(), self._accept)
        except NotImplementedError:  # Windows
            self._server = await self._loop.create_server(self._protocol, sock=self._listener)

    def close(self) -> None:
        """Takes no more of them."""
        if self._closed:
            return
        self._closed = True
        if self._later is not None:
            self._later.cancel()
        if self._server is not None:
            self._server.close()
        else:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()

    async def wait_closed(self) -> None:
        """Waits for connections that were just being made."""
        await asyncio.gather(*self._coming, return_exceptions=True)

    def _accept(self) -> None:
        if (room := self._room() - len(self._coming)) < 1:
            self._pause(_FULL_SECONDS)
            return
        for _ in range(min(room, _AT_ONCE)):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                note_once(error.errno or 0, "connections have to wait: %s", error)
                self._pause(_NONE_LEFT_SECONDS)
                return
            task = self._loop.create_task(self._take(connection))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)

    async def _take(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError as error:  # the client has gone already
            _log.debug("a connection came to nothing: %s", error)
            connection.close()

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._later = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._later = None
        if not self._closed:
            self._loop.add_reader(self._listener.fileno(), self._accept)


class Port:
    """Connections of a port on which clients need a place only once they bring something.

    Beyond a number, in all and of one address, the connection that has waited longest is closed.
    """

    def __init__(self, most: int) -> None:
        """most: connections at a time."""
        self._most = most
        self._waiting: dict[asyncio.Transport, str] = {}
        """Connections without a place, each with its address, in the order in which they came."""
        self._placed: set[asyncio.Transport] = set()

    def room(self) -> int:
        """Connections that may come; one that comes in place of one that waits is among them."""
        left = self._most - len(self._waiting) - len(self._placed)
        return max(left, int(bool(self._waiting)))

    def enter(self, transport: asyncio.Transport, address: str) -> None:
        """Counts a connection that has come."""
        own = [other for other, name in self._waiting.items() if name == address]
        if len(own) >= _MOST_WAITING:
            self._end(own[0])
        elif len(self._waiting) + len(self._placed) >= self._most and self._waiting:
            self._end(next(iter(self._waiting)))
        self._waiting[transport] = address

    def has_place(self, transport: asyncio.Transport) -> None:
        """Notes that a connection waits no longer."""
        self._waiting.pop(transport, None)
        self._placed.add(transport)

    def is_placed(self, transport: asyncio.Transport) -> bool:
        """True if a connection waits no longer."""
        return transport in self._placed

    def leave(self, transport: asyncio.Transport) -> None:
        """Forgets a connection that is over."""
        self._waiting.pop(transport, None)
        self._placed.discard(transport)

    def _end(self, transport: asyncio.Transport) -> None:
        self.leave(transport)
        transport.abort()
