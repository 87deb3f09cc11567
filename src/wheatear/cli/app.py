"""Command line: subcommands, exit codes, errors.

Exit codes: 0 for success; 2 for an error of the user, with one line on standard error that has
cause and remedy; 128 plus the number of a signal, such as 130 for Ctrl-C. A bug shows its
traceback. Files and pipes are written in UTF-8 in any locale, terminals in their own encoding.
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
from wheatear.cli.messages import BAD_INPUT, print_error
from wheatear.cli.signals import interrupts
from wheatear.errors import AudioTruncatedWarning, WheatearError


def _shown_default(value: Any) -> str | None:
    """Formats a default for --help; None hides it."""
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
    "listen": "Show captions of speech from a microphone.",
    "serve": "Serve files, live streams and a web page over HTTP.",
    "key": "Make an API key for the server.",
    "models": "List the models on this machine, and those that can be fetched.",
    "pull": "Fetch a model by name, from the hub or from a URL.",
    "convert": "Convert a checkpoint into a bundle that Wheatear runs.",
    "train": "Train a model from a plan, or resume a stopped run.",
    "finetune": "Fine-tune a checkpoint on a manifest of recordings.",
    "bench": "Measure how fast a model runs on this machine.",
    "evaluate": "Measure models on recordings: error rates, latencies, speed.",
    "reproduce": "Reproduce a published table of error rates.",
    "locales": "Show the locales of a model.",
    "info": "Show latencies, locales, sizes and license of a model.",
}.items():
    app.command(f"wheatear.cli.{_name}:{_name}", help=_help)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits."""
    warnings.showwarning = _show_warning
    warnings.simplefilter("default", AudioTruncatedWarning)  # independent of PYTHONWARNINGS
    if sys.stdout is None:
        print_error("there is no standard output to write to")
        sys.exit(BAD_INPUT)
    for stream in (sys.stdout, sys.stderr):
        _set_encoding(stream)
    with interrupts.installed():
        code = _run(arguments)
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    """Runs a command and returns its exit code."""
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()  # before Python does at its end, where errors cannot be handled
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # rich raises this for a closed pipe
            return 0
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (bugs are raised again)
        if isinstance(error, KeyboardInterrupt) or interrupts.number is not None:
            return interrupts.code  # C code turns a KeyboardInterrupt into other errors
        return _handle_error(error)
    if isinstance(code, int):
        return code
    return 0 if interrupts.number is None else interrupts.code  # a swallowed KeyboardInterrupt


def _handle_error(error: Exception) -> int:
    """Prints the error of a command and returns its exit code.  Raises bugs again."""
    match error:
        case BrokenPipeError():  # the reader of the output is gone, like head
            _discard_output()
            return 0
        case CycloptsError() | WheatearError() | OSError():
            print_error(_error_message(error))
            try:
                sys.stdout.flush()
            except OSError:
                _discard_output()
            return BAD_INPUT
    raise error


def _error_message(error: CycloptsError | WheatearError | OSError) -> str:
    """Returns the message of an error."""
    match error:
        case WheatearError():
            return str(error)
        case OSError():  # a full disk, a removed device
            return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    command = " ".join(["wheatear", *(error.command_chain or ())])
    usage = _usage(error).rstrip(".")
    return f"{usage}; see '{command} --help'"


def _set_encoding(stream: Any) -> None:
    """Sets UTF-8 for files and pipes; terminals replace characters that they lack."""
    if isinstance(stream, io.TextIOWrapper):
        encoding = stream.encoding if stream.isatty() else "utf-8"
        stream.reconfigure(encoding=encoding, errors="replace")


def _discard_output() -> None:
    """Discards unwritten output, for which Python would report an error at its end."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _usage(error: CycloptsError) -> str:
    """Describes an invalid command line."""
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
    """Returns a sentence with the closest known word, or nothing."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f". Did you mean {close[0]}?" if close else ""


def _show_warning(message: Warning | str, *_where: object, **_more: object) -> None:
    print_error(message)
