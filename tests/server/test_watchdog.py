"""A server that is alive and answers nothing is ended."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress

import pytest
from server_process import running

from wheatear.errors import SettingsError
from wheatear.server.settings import read_settings
from wheatear.server.watchdog import systemd_seconds, watch


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """The socket that systemd listens on."""
    path = tmp_path / "notify"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.bind(str(path))
        listener.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        yield listener


def test_signs_of_life_end_with_life(systemd):
    well = [True]

    async def lives() -> None:
        task = asyncio.create_task(watch(lambda: well[0], 0))
        seen = [await asyncio.to_thread(systemd.recv, 100) for _ in range(4)]
        assert seen == [b"READY=1"] + 3 * [b"WATCHDOG=1"]
        well[0] = False
        await asyncio.sleep(0.2)  # for one that was on its way
        systemd.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                systemd.recv(100)
        await asyncio.sleep(0.5)
        with pytest.raises(BlockingIOError):
            systemd.recv(100)
        task.cancel()

    asyncio.run(lives())


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, 0), ({"WATCHDOG_USEC": "60000000"}, 60), ({"WATCHDOG_USEC": "soon"}, 0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, 0),
    ],
)  # fmt: skip
def test_the_units_time_is_for_its_main_process(monkeypatch, variables, seconds):
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert systemd_seconds() == seconds


@pytest.mark.parametrize("stuck", ["time.sleep(600)", "well[0] = False; await asyncio.sleep(600)"])
def test_a_process_that_is_stuck_ends_itself(stuck):
    """A loop that does not turn, and a scheduler that does not work."""
    program = f"""
import asyncio, time
from wheatear.server.watchdog import watch
well = [True]
async def serve():
    task = asyncio.create_task(watch(lambda: well[0], 1.0))
    await asyncio.sleep(2.5)
    print("alive", flush=True)
    {stuck}
asyncio.run(serve())
"""
    environment = {
        n: v for n, v in os.environ.items() if n not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")
    }
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == "alive\n"
    assert "Timeout" in done.stderr
    assert "most recent call first" in done.stderr


def test_a_server_shows_that_it_lives(systemd):
    """From the moment at which it takes requests; and that it goes."""
    with running(WHEATEAR_SERVE_WATCHDOG_SECONDS="60") as server:
        assert systemd.recv(100) == b"READY=1"
        assert [systemd.recv(100) for _ in range(3)] == 3 * [b"WATCHDOG=1"]
        server.process.terminate()
        until = time.monotonic() + 60
        while systemd.recv(100) != b"STOPPING=1":
            assert time.monotonic() < until
        assert server.process.wait(60) == 0


def test_a_time_that_makes_no_sense():
    for value in ("-1", "nan", "1e9"):
        with pytest.raises(SettingsError, match="watchdog_seconds"):
            read_settings(None, {"WHEATEAR_SERVE_WATCHDOG_SECONDS": value}, {})
