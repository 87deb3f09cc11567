"""Rate limits and concurrency limits of clients: keys, or addresses without one."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wheatear.server.access.keys import Client
from wheatear.server.api_errors import ApiError
from wheatear.server.settings import Limits

LARGE_MESSAGE_BYTES = 16_384
"""Bytes of a message on a socket that count as one message more."""
FILES_PER_KEY = 8
"""Files of one client that are being transcribed."""
MESSAGES_PER_SECOND_PER_KEY = 2500.0
"""Messages on all sockets of one client together."""
_MAX_CLIENTS = 10_000
"""Clients whose rates are remembered."""
_SHARE_FACTOR = 4
"""A client has at most this multiple of the free amount: four fifths of the pool."""


class TokenBucket:
    """Token bucket: an average rate, and a burst."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._tokens, self._at = burst, time.monotonic()

    def take(self) -> float:
        """Takes one token; returns 0, or the seconds until there is one."""
        self._fill()
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._per_second

    def spend(self, count: float) -> float:
        """Takes tokens, even if they are not there; returns the seconds until none is owed."""
        self._fill()
        self._tokens -= count
        return max(0.0, -self._tokens / self._per_second)

    def _fill(self) -> None:
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now


class TokenBuckets:
    """A token bucket for each of the clients that came last."""

    def __init__(self, max_clients: int = _MAX_CLIENTS) -> None:
        self._max_clients = max_clients
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def of(self, client: Client, per_second: float, burst: float) -> TokenBucket:
        """Returns the bucket of a client, a full one if it is not remembered."""
        bucket = self._buckets.setdefault(client.name, TokenBucket(per_second, burst))
        self._buckets.move_to_end(client.name)
        if len(self._buckets) > self._max_clients:
            self._buckets.popitem(last=False)
        return bucket


class RequestRates:
    """Rate limit of requests, by client; probes are counted separately."""

    def __init__(self, limits: Limits) -> None:
        self._per_minute = limits.requests_per_minute
        self._requests, self._probes = TokenBuckets(), TokenBuckets()

    def check(self, client: Client) -> None:
        """Counts a request.  Raises ApiError if there are too many."""
        per_minute = client.requests_per_minute or self._per_minute
        if wait := self._take(self._requests, client, per_minute):
            raise ApiError(
                429, f"{client.name} has sent more than {per_minute} requests a minute",
                retry_after=int(wait) + 1, cut_off=True,
            )  # fmt: skip

    def is_frequent_probe(self, client: Client) -> bool:
        """Counts a probe; True if they are too many for the log."""
        return bool(self._take(self._probes, client, self._per_minute))

    def _take(self, buckets: TokenBuckets, client: Client, per_minute: int) -> float:
        return buckets.of(client, per_minute / 60, max(1, per_minute / 6)).take()


class SharedPool:
    """A resource pool of which no client can take the rest if several clients may come.

    A client that has a share gets more only while its share is below four times the free amount.
    """

    def __init__(self, total: int, is_shared: Callable[[], bool]) -> None:
        self.total, self._is_shared = total, is_shared
        self._taken = 0
        self._by: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """Amount taken by all clients."""
        return self._taken

    @property
    def free(self) -> int:
        """Amount that is not taken."""
        return self.total - self._taken

    def of(self, name: str) -> int:
        """Returns the amount of a client."""
        return self._by[name]

    def is_fair(self, name: str, count: int = 1) -> bool:
        """True if a client may take `count` more and leaves a share for other clients."""
        if not (has := self._by[name]) or not self._is_shared():
            return True
        return has + count <= _SHARE_FACTOR * self.free and self.free > count

    def take(self, name: str, count: int = 1) -> None:
        """Takes from the pool, without a check."""
        self._taken += count
        self._by[name] += count

    def give(self, name: str, count: int = 1) -> None:
        """Gives an amount back to the pool."""
        self._taken -= count
        self._by[name] -= count
        if not self._by[name]:
            del self._by[name]


class ConcurrencyLimits:
    """Slots for streams, files and uploads, in total and per client."""

    def __init__(self, limits: Limits, is_shared: Callable[[], bool] = lambda: False) -> None:
        """Takes the limits, and a function that is true if more than one client may come."""
        self._limits = limits
        self._pools = {
            kind: SharedPool(getattr(limits, kind), is_shared)
            for kind in ("streams", "files", "uploads")
        }
        self.spool = SharedPool(limits.spool_bytes, is_shared)
        """Bytes of uploads that are kept."""
        self._message_rates = TokenBuckets()

    def message_rate(self, client: Client) -> TokenBucket:
        """Returns the rate of messages on all sockets of a client."""
        rate = MESSAGES_PER_SECOND_PER_KEY
        return self._message_rates.of(client, rate, rate)

    def check(self, kind: str, client: Client) -> None:
        """Raises ApiError if no slot is free."""
        name, pool = client.name, self._pools[kind]
        for most, has, what in self._own_limits(kind, client):
            if has >= most:
                raise _too_many(f"{most} {what} are open for {name}, its maximum")
        if pool.free < 1:
            raise ApiError(
                503, f"{pool.total} {kind} are open, the maximum of this server; try later",
                code="overloaded", retry_after=5,
            )  # fmt: skip
        if not (kind != "uploads" and client.streams) and not pool.is_fair(name):
            raise _too_many(
                f"{pool.of(name)} {kind} are open for {name}, as many as leave room for others"
            )

    def _own_limits(self, kind: str, client: Client) -> Iterator[tuple[int, int, str]]:
        """Yields each maximum of a client, the number that it has, and the name of that."""
        streams, files, uploads = (self._pools[k] for k in ("streams", "files", "uploads"))
        name, limits = client.name, self._limits
        if kind == "uploads":
            yield limits.uploads_per_key, uploads.of(name), "uploads"
            return
        most = client.streams or limits.streams_per_key
        yield most, streams.of(name) + files.of(name), "streams and files"
        if kind == "files":
            yield FILES_PER_KEY, files.of(name), "files"

    @contextmanager
    def hold(self, kind: str, client: Client) -> Iterator[None]:
        """Holds a place for "streams", "files" or "uploads".  Raises ApiError."""
        self.check(kind, client)
        pool = self._pools[kind]
        pool.take(client.name)
        try:
            yield
        finally:
            pool.give(client.name)

    @property
    def held(self) -> int:
        """Places that are taken, of every kind."""
        return sum(pool.taken for pool in self._pools.values())


def _too_many(what: str) -> ApiError:
    return ApiError(
        429, f"{what}; wait for one of them, or end it", code="too_many_sessions", retry_after=5
    )
