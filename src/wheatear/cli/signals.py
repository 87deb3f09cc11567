"""Ctrl-C, SIGTERM and SIGHUP, for commands that must not lose what they have done.

A KeyboardInterrupt comes wherever the program happens to be. In a callback of a C library it is
swallowed, the library takes it for the end of the file, and half a transcript looks like a whole
one. So a command holds signals back while it works, and looks between two chunks whether one came.
A second signal ends the process at once.
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
    """The signals that came since `caught` began."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The first signal that came."""
        self._held = False
        self._waiting = False

    @property
    def code(self) -> int:
        """The exit code of a command that a signal ended."""
        return 128 + (self.number or signal.SIGINT)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Ctrl-C raises KeyboardInterrupt and is remembered, in case that it is swallowed."""
        self.number, self._held = None, False
        hook, sys.unraisablehook = sys.unraisablehook, _quiet
        try:
            with self._handling([signal.SIGINT]):
                yield
        finally:
            sys.unraisablehook = hook

    @contextmanager
    def held(self) -> Iterator[None]:
        """Signals raise nothing but are found by `check`, SIGTERM and SIGHUP too."""
        self._held = True
        try:
            with self._handling(_ENDING):
                yield
        finally:
            self._held = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Signals raise KeyboardInterrupt even while they are held: nothing can be lost here."""
        self._waiting = True
        try:
            self.check()
            yield
        finally:
            self._waiting = False

    def check(self) -> None:
        """Raises KeyboardInterrupt if a signal came; from any thread."""
        if self.number is not None:
            raise KeyboardInterrupt

    @contextmanager
    def breakable_input(self) -> Iterator[None]:
        """Standard input that a signal interrupts while it waits for more."""
        before = sys.stdin
        raw = getattr(getattr(before, "buffer", None), "raw", None)
        if raw is not None:
            buffer = io.BufferedReader(_Breakable(raw, self))
            sys.stdin = SimpleNamespace(buffer=buffer)  # type: ignore[assignment]
        try:
            yield
        finally:
            sys.stdin = before

    @contextmanager
    def _handling(self, numbers: list[int]) -> Iterator[None]:
        """Leaves signals alone that are ignored, as by nohup, and other threads than the first."""
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
        if self._waiting or not self._held:
            if _is_importing(frame):
                os._exit(128 + number)
            raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    """True inside an import: modules in C abort the process, or make an ImportError of a signal."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _quiet(unraisable: Any) -> None:
    """Leaves out a KeyboardInterrupt that was swallowed: it is remembered."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


class _Breakable(io.RawIOBase):
    """A file whose reads raise KeyboardInterrupt when a signal comes."""

    def __init__(self, file: io.RawIOBase, interrupts: Interrupts) -> None:
        self._file, self._interrupts = file, interrupts

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        with self._interrupts.waiting():
            return self._file.readinto(buffer)


interrupts = Interrupts()
"""Of this process, as signals are."""
