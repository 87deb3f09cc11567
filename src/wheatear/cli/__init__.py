"""The `wheatear` command: one file a subcommand, imported when it is called.

Exit codes: 0 done, 2 bad input (one line on standard error says what and what to do),
130 interrupted; anything else is a bug and shows its traceback.
"""

import io
import sys
import warnings
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from wheatear import __version__
from wheatear.errors import WheatearError
from wheatear.printable import printable

BAD_INPUT, INTERRUPTED = 2, 130

app = App(
    name="wheatear",
    help="Streaming speech recognition on any CPU.",
    version=__version__,
    version_flags=["--version"],
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
    "info": "Show what a model can do: latencies, locales, sizes, licence.",
}.items():
    app.command(f"wheatear.cli.{_name}:{_name}", help=_help)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits."""
    warnings.showwarning = _show_warning
    if sys.stdout is None:
        complain("there is no standard output to write to")
        sys.exit(BAD_INPUT)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that know few letters
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        complain(f"{error}; see 'wheatear --help'")
        code = BAD_INPUT
    except WheatearError as error:
        complain(error)
        code = BAD_INPUT
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away: nothing to say, and nobody to
        code = 0
    except OSError as error:  # a full disk, a device that is gone
        complain(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        code = BAD_INPUT
    sys.exit(code if isinstance(code, int) else 0)


def _show_warning(message: Warning | str, *_where: object, **_more: object) -> None:
    complain(message)


def complain(message: object) -> None:
    """One line on standard error, without anything that a terminal would obey."""
    print("wheatear:", printable(message), file=sys.stderr)
