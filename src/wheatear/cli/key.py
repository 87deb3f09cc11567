"""`wheatear key`: makes API keys for the service."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from wheatear.errors import MissingExtraError, SettingsError


def key(
    name: Annotated[str, Parameter(help="Whose key it is; it is told in logs and refusals.")],
    *,
    file: Annotated[Path, Parameter(help="Key file, made if it is not there.")],
    streams: Annotated[
        int | None, Parameter(help="Streams and files that it may have at a time.")
    ] = None,
    requests_per_minute: Annotated[int | None, Parameter(help="Requests that it may send.")] = None,
    expires: Annotated[
        str | None, Parameter(help="Last day on which it works, such as 2027-01-31 (UTC).")
    ] = None,
    scope: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help='Part of the server that it opens: "transcribe" (files and streams), "secrets" '
            '(short-lived ones for browsers), "metrics"; may be given several times. All if left '
            "out.",
        ),
    ] = (),
) -> None:
    """Make an API key for "wheatear serve --api-key-file FILE".

    The key is printed once, on standard output; the file has a hash of it.
    """
    try:
        from wheatear.server.access.keys import make_key  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(
            f"keys need {error.name}: pip install 'wheatear[server]'"
        ) from error
    print(make_key(file, name, streams, requests_per_minute, _day(expires), scope or None))


def _day(text: str | None) -> date | None:
    """The day that a text names.  Raises SettingsError."""
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"--expires {text!r} is no day; write it as 2027-01-31 (year-month-day)"
        ) from None
    if day < datetime.now(UTC).date():
        raise SettingsError(f"--expires {text} is over; the key would never work")
    return day
