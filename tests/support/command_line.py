"""The `wheatear` command in processes of its own, and on a terminal."""

import os
import pty
import subprocess
import sys
import time

from checkpoints import speech

import wheatear

RUN = [sys.executable, "-m", "wheatear"]
SAMPLE = "src/wheatear/data/samples/en-US.flac"
PCM = (speech("tiny-multi") * 32768).astype("<i2").tobytes()


def lines_of(recognizer, **options):
    """The text format: a line for each turn."""
    finals = []
    recognizer.transcribe(
        speech("tiny-multi"),
        on_event=lambda e: finals.append(e.text) if isinstance(e, wheatear.Final) else None,
        **options,
    )
    return "".join(text + "\n" for text in finals if text)


def start(*arguments, **options):
    return subprocess.Popen(
        [*RUN, "transcribe", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options
    )


def read_until(process, text, seconds=20):
    """Reads standard output until it has `text`."""
    os.set_blocking(process.stdout.fileno(), False)
    seen, end = b"", time.monotonic() + seconds
    while text not in seen:
        assert time.monotonic() < end, seen
        assert process.poll() is None, seen
        seen += process.stdout.read() or b""
        time.sleep(0.02)
    os.set_blocking(process.stdout.fileno(), True)
    return seen


def on_terminal(command, **environment):
    """Runs a program on a terminal; returns its output and exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({"COLUMNS": "60", "TERM": "xterm", **environment})
        os.execv(command[0], command)
    seen = b""
    try:
        while part := os.read(terminal, 4096):
            seen += part
    except OSError:
        pass  # raised when the program has ended
    os.close(terminal)
    return seen, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
