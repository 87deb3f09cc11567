"""Memory for what clients have sent and is not dealt with, or were sent and have not read.

Each connection has a little of its own.  What it holds beyond that comes out of one store for all
of them, of which no client may have more than half.
"""

import ctypes
import threading
from collections import Counter
from contextlib import suppress

OWN_BYTES = 1 << 16  # bytes that every connection may hold
_MUCH = 16 << 20  # bytes after which memory is given back to the system
_STEP = 1 << 18  # bytes that are taken from the store at once


def _trim() -> None:
    """Has the C library give memory back to the system, which it keeps otherwise."""
    with suppress(OSError, AttributeError):  # only glibc does that
        ctypes.CDLL(None).malloc_trim(0)


class Buffers:
    """The store."""

    def __init__(self, most: int) -> None:
        """most: bytes that all connections may hold together, beyond their own."""
        self._most = most
        self._held: Counter[str] = Counter()
        self._peak = 0
        """Bytes that were taken at the most since all had been given back."""

    def acquire(self, owner: str, size: int) -> bool:
        """Takes bytes for a client; False if there is no room, and then nothing is taken."""
        held = self._held[owner]
        if self._held.total() + size > self._most or held + size > max(self._most / 2, size):
            return False
        self._held[owner] = held + size
        self._peak = max(self._peak, self.held)
        return True

    def release_bytes(self, owner: str, size: int) -> None:
        """Gives back bytes of a client."""
        self._held[owner] -= size
        if not self._held[owner]:
            del self._held[owner]
        if not self._held and self._peak > _MUCH:
            self._peak = 0
            threading.Thread(target=_trim, daemon=True).start()

    @property
    def held(self) -> int:
        """Bytes that are taken."""
        return self._held.total()


class Share:
    """What one connection has of the store."""

    def __init__(self, buffers: Buffers, owner: str) -> None:
        self._buffers, self.owner = buffers, owner
        self._taken = 0

    def holds(self, size: int) -> bool:
        """Sets how many bytes the connection holds in all; False if there is no room for them."""
        need = max(0, size - OWN_BYTES)
        more = need - self._taken
        if more > 0:
            more += _STEP
            if not self._buffers.acquire(self.owner, more):
                return False
            self._taken += more
        elif self._taken and (need == 0 or -more > 4 * _STEP):
            self._buffers.release_bytes(self.owner, -more)
            self._taken = need
        return True

    @property
    def room(self) -> int:
        """Bytes that the connection may hold before `holds` has to be asked."""
        return OWN_BYTES + self._taken

    def release(self) -> None:
        """Gives back all of it."""
        if self._taken:
            self._buffers.release_bytes(self.owner, self._taken)
            self._taken = 0
