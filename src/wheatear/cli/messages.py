"""Lines on standard error."""

import contextlib
import sys

from wheatear.common.terminal_text import printable

BAD_INPUT = 2
"""Exit code after an error that the user can fix."""


def print_error(message: object) -> None:
    """Writes a line to standard error, without control characters."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # it is closed, or its reader is gone
            print("wheatear:", printable(message), file=sys.stderr)


def print_note(sentence: str) -> None:
    """Writes a line to standard error unless it is empty."""
    if sentence:
        print_error(sentence)
