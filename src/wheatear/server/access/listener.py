"""Listener that accepts connections only while there is room; the others wait in the system.

The listener of asyncio accepts all, and logs a traceback for each one without a descriptor.
"""

import asyncio
import logging
import socket
from collections.abc import Callable

from wheatear.server.api_errors import log_rarely

_log = logging.getLogger(__name__)

_BATCH = 16
FULL_SECONDS = 0.05
"""Pause while the listener is full."""
EXHAUSTED_SECONDS = 0.5
"""Pause while the system has no descriptor."""
MAX_WAITING = 32
"""Connections of one address that have no slot."""


class Acceptor:
    """Accepts the connections of a listening socket, each with a new protocol."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        room: Callable[[], int],
    ) -> None:
        """room: returns the number of further connections to accept."""
        self._listener, self._protocol, self._room = listener, protocol, room
        self._coming: set[asyncio.Task[None]] = set()
        self._closed = False
        self._later: asyncio.TimerHandle | None = None
        self._server: asyncio.Server | None = None
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        """Starts to accept connections."""
        self._listener.setblocking(False)
        try:
            self._loop.add_reader(self._listener.fileno(), self._accept)
        except NotImplementedError:  # Windows
            self._server = await self._loop.create_server(self._protocol, sock=self._listener)

    def close(self) -> None:
        """Stops accepting."""
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
        """Waits for connections that are being accepted."""
        await asyncio.gather(*self._coming, return_exceptions=True)

    def _accept(self) -> None:
        if (room := self._room() - len(self._coming)) < 1:
            self._pause(FULL_SECONDS)
            return
        for _ in range(min(room, _BATCH)):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log_rarely(error.errno or 0, "connections have to wait: %s", error)
                self._pause(EXHAUSTED_SECONDS)
                return
            task = self._loop.create_task(self._take(connection))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)

    async def _take(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError as error:  # the client is gone
            _log.debug("a connection was lost before it was made: %s", error)
            connection.close()

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._later = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._later = None
        if not self._closed:
            self._loop.add_reader(self._listener.fileno(), self._accept)


class SlotQueue:
    """Connections of a port whose clients take a slot only once they send audio.

    Beyond a maximum, in total and per address, the connection that waits longest is closed.
    """

    def __init__(self, most: int) -> None:
        """Takes the maximum number of connections."""
        self._most = most
        self._waiting: dict[asyncio.Transport, str] = {}
        """Address of each connection without a slot, longest wait first."""
        self._with_slot: set[asyncio.Transport] = set()

    def room(self) -> int:
        """Returns the number of connections to accept; a new one may replace a waiting one."""
        left = self._most - len(self._waiting) - len(self._with_slot)
        return max(left, int(bool(self._waiting)))

    def enter(self, transport: asyncio.Transport, address: str) -> None:
        """Adds a connection."""
        own = [other for other, name in self._waiting.items() if name == address]
        if len(own) >= MAX_WAITING:
            self._end(own[0])
        elif len(self._waiting) + len(self._with_slot) >= self._most and self._waiting:
            self._end(next(iter(self._waiting)))
        self._waiting[transport] = address

    def give_slot(self, transport: asyncio.Transport) -> None:
        """Marks a connection that has its slot."""
        self._waiting.pop(transport, None)
        self._with_slot.add(transport)

    def has_slot(self, transport: asyncio.Transport) -> bool:
        """True if a connection has its slot."""
        return transport in self._with_slot

    def leave(self, transport: asyncio.Transport) -> None:
        """Removes a connection."""
        self._waiting.pop(transport, None)
        self._with_slot.discard(transport)

    def _end(self, transport: asyncio.Transport) -> None:
        self.leave(transport)
        transport.abort()
