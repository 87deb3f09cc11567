"""Watchdog: a server that no longer works is ended, so that it is started again.

The event loop reports every few seconds that it runs and that the schedulers work: to systemd
(`WatchdogSec=`), and to a timer of the process itself (`watchdog_seconds`), which logs the stack of
each thread and ends the process.  The timer is a C thread, which no lock of Python stops.
"""

import asyncio
import faulthandler
import os
import socket
from collections.abc import Callable

_SIGNS = 4  # in the time after which a server without one is ended


async def watch(is_well: Callable[[], bool], seconds: float) -> None:
    """Reports signs of life until the task is canceled.

    Args:
        is_well: True if the server works.
        seconds: Time without a sign after which the process ends itself; 0 for never.
    """
    notify("READY=1")
    spans = [span for span in (seconds, systemd_seconds()) if span]
    if not spans:
        return
    try:
        while True:
            if is_well():
                notify("WATCHDOG=1")
                if seconds:
                    faulthandler.dump_traceback_later(seconds, exit=True)
            await asyncio.sleep(min(spans) / _SIGNS)
    finally:
        faulthandler.cancel_dump_traceback_later()


def systemd_seconds() -> float:
    """Returns WatchdogSec of the unit whose main process this is, or 0."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return max(0, int(os.environ.get("WATCHDOG_USEC", "0"))) / 1e6
    except ValueError:
        return 0.0


def notify(state: str) -> None:
    """Sends a line to systemd, as sd_notify does; does nothing without systemd."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)  # a full socket must not block the loop
            sender.sendto(state.encode(), name)
    except OSError:
        return  # systemd acts on the missing sign
