"""Runs slow Python work on one background thread, so that it does not block the event loop.

More threads would only compete with the event loop and the schedulers for the interpreter.  The
thread serves the client that used it least lately, so that a busy client waits and others do not.
Clients that use it for long get a quarter of its time.
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
HALF_LIFE = 10.0
"""Seconds in which the use of a client fades by half."""
FREE_USE = 0.5
"""Seconds of one caller that do not wait for its client's share."""
MAX_USE = 0.25 * HALF_LIFE / log(2)
"""Faded seconds of a client that uses a quarter of the time."""
PAUSE = 0.05
"""Seconds between checks, while only clients above their share wait."""
_MAX_CLIENTS = 1000  # that are remembered


@dataclass(slots=True)
class Use:
    """Seconds of the thread that a client used; older ones fade."""

    _seconds: float = 0.0
    _at: float = 0.0

    def now(self, at: float) -> float:
        """Returns the faded seconds at a time."""
        return self._seconds * 0.5 ** ((at - self._at) / HALF_LIFE)

    def add(self, seconds: float, at: float) -> None:
        """Adds seconds that end at a time."""
        self._seconds, self._at = self.now(at) + seconds, at


@dataclass(slots=True, eq=False)
class Caller:
    """A connection or request, and the name of its client."""

    client: str = ""
    use: Use = field(default_factory=Use)


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


def set_caller(client: str) -> None:
    """Makes this task, and tasks that it starts, a new caller of a client."""
    _caller.set(Caller(client))


def current_caller() -> Caller:
    """Returns the caller of this task; a new one if none was set."""
    return _caller.get() or Caller()


@dataclass(slots=True, eq=False)
class _Job:
    caller: Caller
    number: int
    work: Callable[[], Any]
    future: "Future[Any]"


class BackgroundThread:
    """The thread, which starts with the first job."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[_Job] = []
        self._clients: dict[str, Use] = {}
        self._numbers = count()
        self._thread: threading.Thread | None = None

    def submit(self, caller: Caller, work: Callable[[], Result]) -> "Future[Result]":
        """Runs work when it is the caller's turn."""
        future: Future[Result] = Future()
        with self._changed:
            self._waiting.append(_Job(caller, next(self._numbers), work, future))
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
                if (job := self._next()) is None:
                    self._changed.wait(PAUSE)
                    continue
            if not job.future.set_running_or_notify_cancel():
                continue  # canceled
            began = time.thread_time()
            try:
                result = job.work()
            except BaseException as error:  # noqa: BLE001  raised in the task that waits
                job.future.set_exception(error)
            else:
                job.future.set_result(result)
                del result
            self._count(job.caller, time.thread_time() - began)
            del job  # frees its data before the next one comes

    def _next(self) -> _Job | None:
        """Removes and returns the job of the client, and of its callers, with the least use.

        Returns None if all that wait are above their share.
        """
        now = time.monotonic()
        used = {name: use.now(now) for name, use in self._clients.items()}

        def place(job: _Job) -> tuple[float, float, int]:
            caller = job.caller
            return used.get(caller.client, 0.0), caller.use.now(now), job.number

        job = min(self._waiting, key=place)
        by_client, by_caller, _ = place(job)
        if by_client > MAX_USE and by_caller > FREE_USE and not job.future.cancelled():
            return None
        self._waiting.remove(job)
        return job

    def _count(self, caller: Caller, seconds: float) -> None:
        now = time.monotonic()
        caller.use.add(seconds, now)
        self._clients.setdefault(caller.client, Use()).add(seconds, now)
        if len(self._clients) > _MAX_CLIENTS:
            self._clients.pop(min(self._clients, key=lambda name: self._clients[name].now(now)))


_background = BackgroundThread()


async def run_in_background(work: Callable[..., Result], *arguments: object) -> Result:
    """Runs work on the background thread; returns its result, or raises its exception."""
    caller = current_caller()
    return await asyncio.wrap_future(_background.submit(caller, lambda: work(*arguments)))
