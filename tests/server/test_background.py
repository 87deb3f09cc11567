"""Background work takes turns: the client with the least use comes first."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from wheatear.server import background as module
from wheatear.server.background import (
    BackgroundThread,
    Caller,
    Use,
    current_caller,
    run_in_background,
    set_caller,
)


def burn(seconds: float) -> None:
    """Uses the processor for some seconds."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class Line:
    """Jobs that record their order, submitted while the thread is busy."""

    def __init__(self) -> None:
        self.thread = BackgroundThread()
        self.order: list[str] = []
        self._open = threading.Event()
        self._jobs = [self.thread.submit(Caller("first"), self._open.wait)]

    def put(self, caller: Caller, name: str, seconds: float = 0.0) -> None:
        def work() -> None:
            self.order.append(name)
            burn(seconds)

        self._jobs.append(self.thread.submit(caller, work))

    def served(self) -> list[str]:
        """Returns the order in which the jobs ran."""
        self._open.set()
        for job in self._jobs:
            job.result(60)
        return self.order


def test_client_without_use_comes_before_a_busy_one():
    line = Line()
    flooders = [Caller("flood") for _ in range(20)]
    for number, flooder in enumerate(flooders * 5):
        line.put(flooder, f"flood {number}", 0.002)
    line.put(Caller("other"), "other")
    order = line.served()
    assert order.index("other") <= 1, order  # the first of the flood came before it was known


def test_caller_without_use_comes_before_others_of_its_client():
    line = Line()
    flooders = [Caller("same") for _ in range(5)]
    for flooder in flooders:
        flooder.use.add(1.0, time.monotonic())
        for number in range(10):
            line.put(flooder, f"flood {number}")
    line.put(Caller("same"), "file")
    assert line.served()[0] == "file"


def test_equal_clients_take_turns():
    line = Line()
    for _ in range(20):
        line.put(one := Caller("one"), "one", 0.005)
    for _ in range(20):
        line.put(Caller("two"), "two", 0.005)
    assert one.client == "one"
    order = line.served()
    assert 5 <= order[:20].count("two") <= 15, order


def test_busy_client_gets_a_quarter_of_the_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_USE", 0.05)
    monkeypatch.setattr(module, "FREE_USE", 0.01)
    monkeypatch.setattr(module, "HALF_LIFE", 0.2)
    monkeypatch.setattr(module, "PAUSE", 0.01)
    line = Line()
    flooder = Caller("flood")
    for _ in range(10):
        line.put(flooder, "flood", 0.05)
    began, computed = time.monotonic(), time.process_time()
    order = line.served()
    assert len(order) == 10
    # Half a second of work in fifths of a second that it halves in: as long again, at the least.
    assert time.monotonic() - began > 0.7
    assert time.process_time() - computed < time.monotonic() - began


def test_canceled_work_does_not_run():
    line = Line()
    client, done = Caller("gone"), []
    waiting: list[Callable[[], bool]] = [
        line.thread.submit(client, lambda: done.append(1)).cancel for _ in range(5)
    ]
    assert all(cancel() for cancel in waiting)
    line.put(client, "last")
    assert line.served() == ["last"]
    assert done == []


def test_results_and_exceptions_are_returned():
    async def main() -> int:
        set_caller("one")
        with pytest.raises(ZeroDivisionError):
            await run_in_background(lambda: 1 // 0)
        return await run_in_background(pow, 2, 10)

    assert asyncio.run(main()) == 1024


def test_task_counts_for_the_caller_that_started_it():
    async def main() -> tuple[Caller, Caller, Caller]:
        async def task(name: str | None = None) -> Caller:
            if name:
                set_caller(name)
            return current_caller()

        set_caller("one")
        inner = await asyncio.create_task(task())
        other = await asyncio.create_task(task("two"))
        return current_caller(), inner, other

    mine, inner, other = asyncio.run(main())
    assert mine is inner
    assert (mine.client, other.client) == ("one", "two")


def test_use_fades():
    use = Use()
    use.add(2.0, 100.0)
    assert use.now(100.0) == 2.0
    assert use.now(100.0 + module.HALF_LIFE) == pytest.approx(1.0)
    use.add(1.0, 100.0 + module.HALF_LIFE)
    assert use.now(100.0 + 2 * module.HALF_LIFE) == pytest.approx(1.0)
