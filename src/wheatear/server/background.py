"""Work in Python that takes a moment: beside the event loop, and never two pieces at a time.

More threads at it would only take turns with the event loop and the schedulers.  The one there is
goes to whoever has had least of it lately: a client that keeps it busy waits, and others do not.
Those that keep it busy for long get a quarter of it, or the event loop would feel it.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from math import log
from typing import Any, TypeVar

Result = TypeVar("Result")
_HALF = 10.0  # seconds in which half of what somebody has had is forgotten
_LITTLE = 0.5  # seconds of a client's, up to which it need not wait for its owner
_MUCH = 0.25 * _HALF / log(2)  # seconds of an owner's that a quarter of all time comes to
_PAUSE = 0.05  # seconds between looks, when only those are waiting that have had much
_MOST_KNOWN = 1000  # owners that are remembered


@dataclass(slots=True)
class Use:
    """Seconds of the thread that somebody has had, older ones fading."""

    _seconds: float = 0.0
    _at: float = 0.0

    def now(self, at: float) -> float:
        return self._seconds * 0.5 ** ((at - self._at) / _HALF)

    def add(self, seconds: float, at: float) -> None:
        self._seconds, self._at = self.now(at) + seconds, at


@dataclass(slots=True, eq=False)
class Client:
    """A connection or request, and whose it is."""

    owner: str = ""
    use: Use = field(default_factory=Use)


_client: ContextVar[Client | None] = ContextVar("client", default=None)


def set_caller(owner: str) -> None:
    """From now on, work of this task and those that it starts counts as a new client's."""
    _client.set(Client(owner))


@dataclass(slots=True, eq=False)
class _Piece:
    client: Client
    number: int
    work: Callable[[], Any]
    future: "Future[Any]"


class BackgroundThread:
    """The thread, which begins when there is work for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[_Piece] = []
        self._owners: dict[str, Use] = {}
        self._numbers = count()
        self._thread: threading.Thread | None = None

    def submit(self, client: Client, work: Callable[[], Result]) -> "Future[Result]":
        """Has work done when it is the client's turn."""
        future: Future[Result] = Future()
        with self._changed:
            self._waiting.append(_Piece(client, next(self._numbers), work, future))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="wheatear-background", daemon=True
                )
                self._thread.start()
            self._changed.notify()
        return future

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                if (piece := self._next()) is None:
                    self._changed.wait(_PAUSE)
                    continue
            if not piece.future.set_running_or_notify_cancel():
                continue  # the client has gone
            began = time.thread_time()
            try:
                result = piece.work()
            except BaseException as error:  # noqa: BLE001  whoever waits for it gets it
                piece.future.set_exception(error)
            else:
                piece.future.set_result(result)
                del result
            self._count(piece.client, time.thread_time() - began)
            del piece  # it may be long until there is another

    def _next(self) -> _Piece | None:
        """Takes the piece of the owner that has had least, and of its clients likewise; None if
        all that wait have had much."""
        now = time.monotonic()
        owners = {name: use.now(now) for name, use in self._owners.items()}

        def place(piece: _Piece) -> tuple[float, float, int]:
            client = piece.client
            return owners.get(client.owner, 0.0), client.use.now(now), piece.number

        piece = min(self._waiting, key=place)
        had, own, _ = place(piece)
        if had > _MUCH and own > _LITTLE and not piece.future.cancelled():
            return None
        self._waiting.remove(piece)
        return piece

    def _count(self, client: Client, seconds: float) -> None:
        now = time.monotonic()
        client.use.add(seconds, now)
        self._owners.setdefault(client.owner, Use()).add(seconds, now)
        if len(self._owners) > _MOST_KNOWN:
            self._owners.pop(min(self._owners, key=lambda name: self._owners[name].now(now)))


_background = BackgroundThread()


async def run_in_background(work: Callable[..., Result], *arguments: object) -> Result:
    """Returns what the work returns, or raises what it raises; others go on meanwhile."""
    client = _client.get() or Client()
    return await asyncio.wrap_future(_background.submit(client, lambda: work(*arguments)))
