"""Devices, and several processes on this machine that train one network together.

torch's own launcher does not serve here: it signals processes that the terminal has already
signaled, kills them 30 s later, and looks up the name of this machine in DNS.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist

from wheatear.errors import PlanError

RENDEZVOUS = "WHEATEAR_TRAIN_RENDEZVOUS"
"""Environment variable with the path of the file by which processes of a run find each other."""
_GRACE_S = 10.0  # from the failure of one process to the end of the others


def launch(arguments: Sequence[str], processes: int) -> int:
    """Runs `python -m wheatear ARGUMENTS` in several processes; returns the worst exit code.

    Each process gets RANK, WORLD_SIZE and RENDEZVOUS in its environment.  SIGTERM and SIGINT are
    forwarded to all, and when one process fails the others are stopped.
    """
    command = [sys.executable, "-m", "wheatear", *arguments]
    with TemporaryDirectory(prefix="wheatear-train-") as folder:
        shared = {"WORLD_SIZE": str(processes), RENDEZVOUS: str(Path(folder) / "rendezvous")}
        if sys.platform == "linux":
            shared["GLOO_SOCKET_IFNAME"] = "lo"
        children = [
            subprocess.Popen(  # noqa: S603  (our own command)
                command,
                env={**os.environ, **shared, "RANK": str(rank)},
                start_new_session=True,  # or the terminal's Ctrl-C would reach them twice
            )
            for rank in range(processes)
        ]

        def forward(number: int, _frame: object) -> None:
            for child in children:
                if child.poll() is None:
                    child.send_signal(number)

        before = {n: signal.signal(n, forward) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            return _wait(children)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for child in children:
                if child.poll() is None:
                    child.kill()


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> int:
    """Returns the worst exit code; gives up some seconds after a failure."""
    deadline = None
    while True:
        codes = [child.poll() for child in children]
        failed = [abs(code) for code in codes if code]
        if None not in codes or (deadline is not None and time.monotonic() > deadline):
            return max(failed, default=0)
        if failed and deadline is None:
            deadline = time.monotonic() + _GRACE_S
            for child in children:
                if child.poll() is None:
                    child.terminate()
        time.sleep(0.1)


def join_processes(backend: str, rank: int) -> None:
    """Connects to the other processes: by a file if `launch` started them, else like torchrun."""
    if path := os.environ.get(RENDEZVOUS):
        size = int(os.environ["WORLD_SIZE"])
        dist.init_process_group(backend, f"file://{path}", rank=rank, world_size=size)
    else:
        dist.init_process_group(backend)


def check_device(device: str) -> str:
    """Returns `cpu` or `cuda` for a device or `auto`.  Raises PlanError if there is no CUDA."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise PlanError("torch finds no CUDA device here: give --device cpu")
    return device
