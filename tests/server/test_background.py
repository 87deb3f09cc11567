"""Work beside the event loop is done in turns: whoever has had least of it goes first."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from wheatear.server import background as module
from wheatear.server.background import BackgroundThread, Client, Use, run_in_background, set_caller


def burn(seconds: float) -> None:
    """Computes for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class Line:
    """Work that notes its order, all of it submitted while the thread is busy."""

    def __init__(self) -> None:
        self.run_in_background = BackgroundThread()
        self.order: list[str] = []
        self._open = threading.Event()
        self._last = self.run_in_background.submit(Client("nobody"), self._open.wait)

    def put(self, client: Client, name: str, seconds: float = 0.0) -> None:
        def work() -> None:
            self.order.append(name)
            burn(seconds)

        self._last = self.run_in_background.submit(client, work)

    def served(self) -> list[str]:
        """The order in which all of it was done."""
        self._open.set()
        end = time.monotonic() + 60
        while self.run_in_background._waiting:
            assert time.monotonic() < end
            time.sleep(0.01)
        self._last.result(60)
        return self.order


def test_who_has_had_nothing_goes_before_who_has_had_much():
    line = Line()
    flooders = [Client("flood") for _ in range(20)]
    for number, flooder in enumerate(flooders * 5):
        line.put(flooder, f"flood {number}", 0.002)
    line.put(Client("other"), "other")
    order = line.served()
    assert order.index("other") <= 1, order  # the first of the flood came before it was known


def test_so_it_is_among_connections_of_one_client():
    line = Line()
    flooders = [Client("same") for _ in range(5)]
    for flooder in flooders:
        flooder.use.add(1.0, time.monotonic())
        for number in range(10):
            line.put(flooder, f"flood {number}")
    line.put(Client("same"), "file")
    assert line.served()[0] == "file"


def test_equals_take_turns():
    line = Line()
    for _ in range(20):
        line.put(one := Client("one"), "one", 0.005)
    for _ in range(20):
        line.put(Client("two"), "two", 0.005)
    assert one.owner == "one"
    order = line.served()
    assert 5 <= order[:20].count("two") <= 15, order


def test_who_keeps_it_busy_for_long_leaves_most_of_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_MUCH", 0.05)
    monkeypatch.setattr(module, "_LITTLE", 0.01)
    monkeypatch.setattr(module, "_HALF", 0.2)
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    line = Line()
    flooder = Client("flood")
    for _ in range(10):
        line.put(flooder, "flood", 0.05)
    began, computed = time.monotonic(), time.process_time()
    order = line.served()
    assert len(order) == 10
    # Half a second of work in fifths of a second that it halves in: as long again, at the least.
    assert time.monotonic() - began > 0.7
    assert time.process_time() - computed < time.monotonic() - began


def test_what_nobody_waits_for_is_not_done():
    line = Line()
    client, done = Client("gone"), []
    waiting: list[Callable[[], bool]] = [
        line.run_in_background.submit(client, lambda: done.append(1)).cancel for _ in range(5)
    ]
    assert all(cancel() for cancel in waiting)
    line.put(client, "last")
    assert line.served() == ["last"]
    assert done == []


def test_results_and_faults_come_back():
    async def main() -> int:
        set_caller("somebody")
        with pytest.raises(ZeroDivisionError):
            await run_in_background(lambda: 1 // 0)
        return await run_in_background(pow, 2, 10)

    assert asyncio.run(main()) == 1024


def test_tasks_count_for_whoever_started_them():
    async def main() -> tuple[Client | None, Client | None, Client | None]:
        async def task(name: str | None = None) -> Client | None:
            if name:
                set_caller(name)
            return module._client.get()

        set_caller("one")
        inner = await asyncio.create_task(task())
        other = await asyncio.create_task(task("two"))
        return module._client.get(), inner, other

    mine, inner, other = asyncio.run(main())
    assert mine is inner
    assert mine is not None
    assert other is not None
    assert (mine.owner, other.owner) == ("one", "two")


def test_use_fades():
    use = Use()
    use.add(2.0, 100.0)
    assert use.now(100.0) == 2.0
    assert use.now(100.0 + module._HALF) == pytest.approx(1.0)
    use.add(1.0, 100.0 + module._HALF)
    assert use.now(100.0 + 2 * module._HALF) == pytest.approx(1.0)
