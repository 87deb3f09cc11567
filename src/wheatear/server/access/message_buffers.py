"""Memory for unprocessed messages of clients, and for messages that they have not read.

Each connection has a small fixed amount.  Beyond that its memory comes from one pool, of which no
client may have more than half.
"""

import ctypes
import threading
from collections import Counter
from contextlib import suppress

OWN_BYTES = 1 << 16  # bytes that every connection may hold
_TRIM_BYTES = 16 << 20  # peak after which free memory is returned to the system
_STEP = 1 << 18  # bytes that are taken from the pool at once


def _trim() -> None:
    """Returns free memory of the C library to the system."""
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


class Buffers:
    """Pool of memory."""

    def __init__(self, most: int) -> None:
        """Takes the maximum size in bytes, without the memory that every connection has."""
        self._most = most
        self._held: Counter[str] = Counter()
        self._peak = 0
        """Maximum of the taken bytes since the pool was last unused."""

    def acquire(self, owner: str, size: int) -> bool:
        """Takes bytes for a client; returns False, without taking any, if the pool is full."""
        held = self._held[owner]
        if self._held.total() + size > self._most or held + size > max(self._most / 2, size):
            return False
        self._held[owner] = held + size
        self._peak = max(self._peak, self.held)
        return True

    def release(self, owner: str, size: int) -> None:
        """Returns bytes of a client."""
        self._held[owner] -= size
        if not self._held[owner]:
            del self._held[owner]
        if not self._held and self._peak > _TRIM_BYTES:
            self._peak = 0
            threading.Thread(target=_trim, daemon=True).start()

    @property
    def held(self) -> int:
        """Taken bytes."""
        return self._held.total()


class Share:
    """Part of the pool that one connection uses."""

    def __init__(self, buffers: Buffers, owner: str) -> None:
        self._buffers, self.owner = buffers, owner
        self._taken = 0

    def holds(self, size: int) -> bool:
        """Sets the bytes that the connection holds; returns False if the pool is full."""
        need = max(0, size - OWN_BYTES)
        more = need - self._taken
        if more > 0:
            more += _STEP
            if not self._buffers.acquire(self.owner, more):
                return False
            self._taken += more
        elif self._taken and (need == 0 or -more > 4 * _STEP):
            self._buffers.release(self.owner, -more)
            self._taken = need
        return True

    @property
    def room(self) -> int:
        """Bytes that the connection may hold without a call of `holds`."""
        return OWN_BYTES + self._taken

    def release(self) -> None:
        """Returns all of it."""
        if self._taken:
            self._buffers.release(self.owner, self._taken)
            self._taken = 0
