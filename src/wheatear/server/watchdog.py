"""Signs of life of a server: one that is alive and answers nothing is ended, and started again.

The event loop shows every few seconds that it turns and that the schedulers work. It shows that to
systemd (`WatchdogSec=`), and to a timer of the process itself (`watchdog_seconds`), which writes
where each thread is and ends the process. The timer is a thread of C: no lock of Python stops it.
"""

import asyncio
import faulthandler
import os
import socket
from collections.abc import Callable

_SIGNS = 4  # in the time after which a server without one is ended


async def watch(is_well: Callable[[], bool], seconds: float) -> None:
    """Shows signs of life until it is cancelled.

    seconds: time without a sign after which the process ends itself; 0 for never.
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
    """WatchdogSec of the unit that this process is the main one of, or 0."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return max(0, int(os.environ.get("WATCHDOG_USEC", "0"))) / 1e6
    except ValueError:
        return 0.0


def notify(state: str) -> None:
    """Sends systemd a line, as sd_notify does; nothing where there is no systemd."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)  # a full socket must not hold up the loop
            sender.sendto(state.encode(), name)
    except OSError:
        return  # no sign is what systemd then acts upon
