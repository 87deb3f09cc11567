"""Several processes that train one network together, on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

MEETING = "WHEATEAR_TRAIN_MEETING"
"""Variable with the path of the file by which processes of one run find each other."""
_GRACE = 10.0  # seconds from one process's failure to the others' end


def launch(arguments: Sequence[str], processes: int) -> int:
    """Runs `python -m wheatear ARGUMENTS` so many times; the worst exit code of them.

    Each finds its number in RANK, of WORLD_SIZE, and the others by the file of MEETING.
    A request to stop is handed on, and when one fails the others are stopped.
    """
    with TemporaryDirectory(prefix="wheatear-train-") as folder:
        return _launch(arguments, processes, Path(folder) / "meeting")


def _launch(arguments: Sequence[str], processes: int, meeting: Path) -> int:
    # By a file, over loopback: torch's server of addresses asks DNS for the name of this machine.
    shared = {"WORLD_SIZE": str(processes), MEETING: str(meeting)}
    if sys.platform == "linux":
        shared["GLOO_SOCKET_IFNAME"] = "lo"
    command = [sys.executable, "-m", "wheatear", *arguments]
    children = [
        subprocess.Popen(  # noqa: S603  (our own command)
            command,
            env={**os.environ, **shared, "RANK": str(rank)},
            start_new_session=True,  # or the terminal's Ctrl-C would reach them twice
        )
        for rank in range(processes)
    ]

    def hand_on(number: int, _frame: object) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    before = {n: signal.signal(n, hand_on) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        return _wait(children)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for child in children:
            if child.poll() is None:
                child.kill()


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> int:
    """The worst exit code; what is left a while after a failure is the caller's to end."""
    deadline = None
    while True:
        codes = [child.poll() for child in children]
        failed = [abs(code) for code in codes if code]
        if None not in codes or (deadline is not None and time.monotonic() > deadline):
            return max(failed, default=0)
        if failed and deadline is None:
            deadline = time.monotonic() + _GRACE
            for child in children:
                if child.poll() is None:
                    child.terminate()
        time.sleep(0.1)
