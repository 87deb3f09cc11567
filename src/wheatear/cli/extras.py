"""Optional packages of commands."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from wheatear.errors import MissingExtraError


@contextmanager
def requires_extra(extra: str, subject: str = "this") -> Iterator[None]:
    """Turns a failed import into a MissingExtraError that names the extra to install."""
    try:
        yield
    except ImportError as error:
        raise _missing(extra, subject, error.name) from error


def check_extra(extra: str, subject: str, modules: Sequence[str]) -> None:
    """Raises MissingExtraError if one of the modules of an extra is not installed."""
    for module in modules:
        try:
            found = find_spec(module)
        except ModuleNotFoundError:  # raised for a missing parent package
            found = None
        if found is None:
            raise _missing(extra, subject, module)


def _missing(extra: str, subject: str, module: str | None) -> MissingExtraError:
    return MissingExtraError(f"{subject} needs {module}: pip install 'wheatear[{extra}]'")
