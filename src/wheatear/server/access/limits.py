"""Rate limits and concurrency limits of clients: keys, or addresses without one."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wheatear.server.access.keys import Client
from wheatear.server.api_errors import ApiError
from wheatear.server.settings import Limits

_MOST_KNOWN = 10_000
_TIMES_FREE = 4
"""One client has at most this many times what is left, which is four fifths of all."""


class TokenBucket:
    """So many a second on the average, and at first so many at once."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._left, self._at = burst, time.monotonic()

    def take(self) -> float:
        """Takes one; 0, or the seconds until there is one to be had."""
        self._fill()
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._per_second

    def spend(self, count: float) -> float:
        """Takes so many, whether or not they are there; the seconds until none is owed."""
        self._fill()
        self._left -= count
        return max(0.0, -self._left / self._per_second)

    def _fill(self) -> None:
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now


class TokenBuckets:
    """A rate for each client, of those that came last."""

    def __init__(self) -> None:
        self._rates: OrderedDict[str, TokenBucket] = OrderedDict()

    def of(self, client: Client, per_second: float, burst: float) -> TokenBucket:
        """The rate of a client, which is new if it has not been here for a long time."""
        rate = self._rates.setdefault(client.name, TokenBucket(per_second, burst))
        self._rates.move_to_end(client.name)
        if len(self._rates) > _MOST_KNOWN:
            self._rates.popitem(last=False)
        return rate


class Stock:
    """A stock from which clients take; where they are several, none of them takes the last of it.

    A client that has some already gets more only while it has less than four times what is left.
    """

    def __init__(self, total: int, several: Callable[[], bool]) -> None:
        self.total, self._several = total, several
        self._taken = 0
        self._by: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """The sum over all clients."""
        return self._taken

    @property
    def left(self) -> int:
        """The part that no client has."""
        return self.total - self._taken

    def of(self, name: str) -> int:
        """The amount that a client has."""
        return self._by[name]

    def is_fair(self, name: str, count: int = 1) -> bool:
        """True if a client may have this much more, where others may come for theirs."""
        if not (has := self._by[name]) or not self._several():
            return True
        return has + count <= _TIMES_FREE * self.left and self.left > count

    def take(self, name: str, count: int = 1) -> None:
        """Takes from the stock, without looking at what is left."""
        self._taken += count
        self._by[name] += count

    def give(self, name: str, count: int = 1) -> None:
        """Gives back what was taken."""
        self._taken -= count
        self._by[name] -= count
        if not self._by[name]:
            del self._by[name]


class ConcurrencyLimits:
    """Places for what goes on at a time, in all and of each client."""

    def __init__(self, limits: Limits, several: Callable[[], bool] = lambda: False) -> None:
        """several: True while clients other than one may come, so that places are shared."""
        self._limits = limits
        self._shares = {
            kind: Stock(getattr(limits, kind), several) for kind in ("streams", "files", "uploads")
        }
        self.spool = Stock(limits.spool_bytes, several)
        """Bytes of uploads that are kept."""
        self._paces = TokenBuckets()

    def pace(self, client: Client) -> TokenBucket:
        """How fast messages may come on all sockets of a client."""
        most = self._limits.messages_per_second_per_key
        return self._paces.of(client, most, most)

    def check(self, kind: str, client: Client) -> None:
        """Raises ApiError if there is no place now."""
        name, share = client.name, self._shares[kind]
        for most, has, what in self._own_limits(kind, client):
            if has >= most:
                raise _of_one(f"{most} {what} are going on for {name}, as many as it may have at a "
                              f"time")  # fmt: skip
        if share.left < 1:
            raise ApiError(
                503, f"{share.total} {kind} are going on, as many as this server takes; try later",
                code="overloaded", retry_after=5,
            )  # fmt: skip
        if not (kind != "uploads" and client.streams) and not share.is_fair(name):
            raise _of_one(f"{share.of(name)} {kind} are going on for {name}, as many as leave room "
                          f"for others")  # fmt: skip

    def _own_limits(self, kind: str, client: Client) -> Iterator[tuple[int, int, str]]:
        """The most that a client may have, and what it has, each with its name."""
        streams, files, uploads = (self._shares[k] for k in ("streams", "files", "uploads"))
        name, limits = client.name, self._limits
        if kind == "uploads":
            yield limits.uploads_per_key, uploads.of(name), "uploads"
            return
        most = client.streams or limits.streams_per_key
        yield most, streams.of(name) + files.of(name), "streams and files"
        if kind == "files":
            yield limits.files_per_key, files.of(name), "files"

    @contextmanager
    def hold(self, kind: str, client: Client) -> Iterator[None]:
        """Holds a place for "streams", "files" or "uploads".  Raises ApiError."""
        self.check(kind, client)
        share = self._shares[kind]
        share.take(client.name)
        try:
            yield
        finally:
            share.give(client.name)

    @property
    def held(self) -> int:
        """Places that are taken, of every kind."""
        return sum(share.taken for share in self._shares.values())


def _of_one(what: str) -> ApiError:
    """Refuses a client that has its part."""
    return ApiError(
        429, f"{what}; wait for one of them, or end it", code="too_many_sessions", retry_after=5
    )
