"""Ctrl-C, SIGTERM and SIGHUP in commands that must not lose results.

A KeyboardInterrupt is raised at any point of a program.  In a callback of a C library it is
swallowed: the library takes it for the end of the file, and half a transcript looks complete.  So a
command defers signals while it works and checks for them between two chunks.  A second signal ends
the process at once.
"""

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, SimpleNamespace
from typing import Any

_ENDING = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]


class Interrupts:
    """Signals received since `installed` began."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The first signal."""
        self._deferred = False
        self._interruptible = False

    @property
    def code(self) -> int:
        """Exit code of a command that was ended by a signal."""
        return 128 + (self.number or signal.SIGINT)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Makes Ctrl-C raise KeyboardInterrupt, and keeps its number if the error is lost."""
        self.number, self._deferred = None, False
        hook, sys.unraisablehook = sys.unraisablehook, _ignore_interrupt
        try:
            with self._handling([signal.SIGINT]):
                yield
        finally:
            sys.unraisablehook = hook

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Defers signals, SIGTERM and SIGHUP included, to the next `check`."""
        self._deferred = True
        try:
            with self._handling(_ENDING):
                yield
        finally:
            self._deferred = False

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Makes signals raise KeyboardInterrupt even while they are deferred."""
        self._interruptible = True
        try:
            self.check()
            yield
        finally:
            self._interruptible = False

    def check(self) -> None:
        """Raises KeyboardInterrupt after a signal.  May be called from any thread."""
        if self.number is not None:
            raise KeyboardInterrupt

    @contextmanager
    def interruptible_stdin(self) -> Iterator[None]:
        """Makes reads of standard input raise KeyboardInterrupt on a signal."""
        before = sys.stdin
        raw = getattr(getattr(before, "buffer", None), "raw", None)
        if raw is not None:
            buffer = io.BufferedReader(_InterruptibleFile(raw, self))
            sys.stdin = SimpleNamespace(buffer=buffer)  # type: ignore[assignment]
        try:
            yield
        finally:
            sys.stdin = before

    @contextmanager
    def _handling(self, numbers: list[int]) -> Iterator[None]:
        """Handles signals in the main thread, except ignored ones, such as SIGHUP under nohup."""
        before = {}
        if threading.current_thread() is threading.main_thread():
            wanted = [n for n in numbers if signal.getsignal(n) != signal.SIG_IGN]
            before = {n: signal.signal(n, self._handle) for n in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.number = number
        if self._interruptible or not self._deferred:
            if _is_importing(frame):
                os._exit(128 + number)
            raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    """True in an import, where C modules abort on a signal or raise ImportError."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _ignore_interrupt(unraisable: Any) -> None:
    """Hides a swallowed KeyboardInterrupt, which is remembered."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


class _InterruptibleFile(io.RawIOBase):
    """File whose reads raise KeyboardInterrupt on a signal."""

    def __init__(self, file: io.RawIOBase, interrupts: Interrupts) -> None:
        self._file, self._interrupts = file, interrupts

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        with self._interrupts.interruptible():
            return self._file.readinto(buffer)


interrupts = Interrupts()
"""Signals of this process."""
