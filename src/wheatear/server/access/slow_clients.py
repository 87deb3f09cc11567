"""Protocol mix-in that closes the connection of a client that does not read."""

import asyncio
from typing import Any

import uvicorn

from wheatear.server.access.message_buffers import Buffers

CONNECTIONS = 1000
"""Connections at a time; beyond it, connections that wait longest for a request are closed."""
MESSAGES_PER_SECOND = 400.0
"""Messages on one socket; those sent faster wait."""
SEND_SECONDS = 30.0
"""Maximum time for which a client may leave data unread."""
_MIN_READ_BYTES = 16_384
"""Bytes that a client reads in `SEND_SECONDS`."""


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration, and the limits of our protocols."""

    def __init__(
        self,
        app: Any,
        buffers: Buffers,
        *,
        max_connections: int = CONNECTIONS,
        messages_per_second: float = MESSAGES_PER_SECOND,
        send_seconds: float = SEND_SECONDS,
        **options: Any,
    ) -> None:
        """Takes the memory that all connections share, and options of uvicorn."""
        super().__init__(app, **options)
        self.buffers = buffers
        self.max_connections = max_connections
        self.messages_per_second, self.send_seconds = messages_per_second, send_seconds
        self.waiting: dict[Any, None] = {}
        """HTTP connections without a request, longest wait first."""


class SlowClientProtocol(asyncio.Protocol):
    """Closes the connection of a client that does not read its data."""

    config: Any
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=0)  # reports all that is not read at once
        if self.transport.get_write_buffer_size():
            self.pause_writing()

    @property
    def settings(self) -> ServerConfig:
        """Our configuration."""
        return self.config

    def pause_writing(self) -> None:
        super().pause_writing()
        self._check_later(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self.stop_unread_timer()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_unread_timer()
        super().connection_lost(exc)

    def stop_unread_timer(self) -> None:
        """Stops the check, as everything has been read or the connection is over."""
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _check_later(self, size: int) -> None:
        self.stop_unread_timer()
        self._unread_timer = self.loop.call_later(self.settings.send_seconds, self._check, size)

    def _check(self, before: int) -> None:
        size = self.transport.get_write_buffer_size()
        if before - size < _MIN_READ_BYTES:
            self.transport.abort()
        else:
            self._check_later(size)
