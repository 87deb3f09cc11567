"""The `wheatear` command: one file a subcommand, imported when it is called.

Exit codes: 0 done, 2 bad input (one line on standard error says what and what to do), 130 ended by
Ctrl-C (128 and the number of another signal); anything else is a bug and shows its traceback.
Files and pipes are written in UTF-8 whatever the locale is, terminals in their own encoding.
"""

import contextlib
import difflib
import io
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from cyclopts import App, CycloptsError, Parameter, UnknownCommandError, UnusedCliTokensError

from wheatear import __version__
from wheatear.cli.signals import interrupts
from wheatear.common.terminal_text import printable
from wheatear.errors import AudioTruncatedWarning, WheatearError

BAD_INPUT = 2


def _shown_default(value: Any) -> str | None:
    """A default as --help shows it; None for what "nothing was given" is."""
    if value is None or value is False or value == ():
        return None
    if value is True:
        return "yes"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


app = App(
    name="wheatear",
    help="Streaming speech recognition on any CPU.",
    version=__version__,
    version_flags=["--version"],
    default_parameter=Parameter(show_default=_shown_default),
    suppress_keyboard_interrupt=False,
)
for _name, _help in {
    "transcribe": "Transcribe audio files, folders of them, or standard input.",
    "listen": "Show captions of what a microphone hears.",
    "serve": "Serve files, live streams and a page over HTTP.",
    "key": "Make an API key for the service.",
    "models": "List the models that are here, and those that can be fetched.",
    "pull": "Fetch a model by name, from the hub or from a URL.",
    "convert": "Convert a checkpoint into a bundle that Wheatear runs.",
    "train": "Train a model from a plan, or go on where the run stopped.",
    "finetune": "Fine-tune a checkpoint on a manifest of recordings.",
    "bench": "Measure how fast a model runs on this machine.",
    "evaluate": "Measure models on recordings: error rates, latencies, speed.",
    "reproduce": "Make a published table of error rates again, and compare.",
    "locales": "Show the locales that a model can be asked for.",
    "info": "Show what a model can do: latencies, locales, sizes, license.",
}.items():
    app.command(f"wheatear.cli.{_name}:{_name}", help=_help)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits."""
    warnings.showwarning = _show_warning
    warnings.simplefilter("default", AudioTruncatedWarning)  # whatever PYTHONWARNINGS has
    if sys.stdout is None:
        complain("there is no standard output to write to")
        sys.exit(BAD_INPUT)
    for stream in (sys.stdout, sys.stderr):
        _set_encoding(stream)
    with interrupts.caught():
        code = _run(arguments)
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    """Runs a command and returns its exit code."""
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()  # or Python would do it at its end, and fail beyond help
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # what rich makes of one
            return 0
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (bugs are raised again)
        if isinstance(error, KeyboardInterrupt) or interrupts.number is not None:
            return interrupts.code  # C code makes other errors of a KeyboardInterrupt
        return _failed(error)
    if isinstance(code, int):
        return code
    return 0 if interrupts.number is None else interrupts.code  # a swallowed KeyboardInterrupt


def _failed(error: Exception) -> int:
    """Writes what ended a command and returns its exit code.  Raises what is a bug."""
    match error:
        case BrokenPipeError():  # the reader of our output went away, as head does
            _discard_output()
            return 0
        case CycloptsError() | WheatearError() | OSError():
            complain(_fault(error))
            try:
                sys.stdout.flush()
            except OSError:
                _discard_output()
            return BAD_INPUT
    raise error


def _fault(error: CycloptsError | WheatearError | OSError) -> str:
    """A sentence about what ended a command."""
    match error:
        case WheatearError():
            return str(error)
        case OSError():  # a full disk, a device that is gone
            return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    command = " ".join(["wheatear", *(error.command_chain or ())])
    return f"{_usage(error)}; see '{command} --help'"


def _set_encoding(stream: Any) -> None:
    """UTF-8 for files and pipes; a terminal gets replacements for characters that it lacks."""
    if isinstance(stream, io.TextIOWrapper):
        encoding = stream.encoding if stream.isatty() else "utf-8"
        stream.reconfigure(encoding=encoding, errors="replace")


def _discard_output() -> None:
    """Sends what is still unwritten nowhere, or Python would complain about it at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _usage(error: CycloptsError) -> str:
    """The fault of a command line, in words."""
    if not isinstance(error, UnknownCommandError | UnusedCliTokensError) or not error.unused_tokens:
        return str(error).strip()
    inner = app
    for name in error.command_chain or ():
        inner = inner[name]
    word = error.unused_tokens[0]
    is_option = word.startswith("-")
    known = [name for name in inner if name.startswith("-") == is_option]
    hint = suggestion(word, known)
    if isinstance(error, UnknownCommandError):
        hint = hint or f". There are {', '.join(known)}"
        return f"unknown {'option' if is_option else 'command'} {word!r}{hint}"
    return f"unexpected argument {word!r}{hint}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """A sentence with the known word that is nearest to one; empty if none is near."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f". Did you mean {close[0]}?" if close else ""


def _show_warning(message: Warning | str, *_where: object, **_more: object) -> None:
    complain(message)


def complain(message: object) -> None:
    """Writes a line to standard error, without anything that a terminal would obey."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # it is closed, or its reader went away
            print("wheatear:", printable(message), file=sys.stderr)


def note(sentence: str) -> None:
    """Writes a line to standard error if there is anything in it."""
    if sentence:
        complain(sentence)
