"""`wheatear`, and `python -m wheatear`."""

import os
import signal
from types import FrameType


def main() -> None:
    """Runs the command line; Ctrl-C during its import ends the process without a traceback."""
    early = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if early:
        signal.signal(signal.SIGINT, _end)
    from wheatear.cli import main as run  # noqa: PLC0415  (takes a while)

    if early:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _end(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    main()
