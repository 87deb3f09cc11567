"""`wheatear key`: makes API keys for the server."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from wheatear.cli.extras import requires_extra
from wheatear.errors import SettingsError


def key(
    name: Annotated[str, Parameter(help="Name of the client, shown in logs and errors.")],
    *,
    file: Annotated[Path, Parameter(help="Key file, made if missing.")],
    streams: Annotated[
        int | None, Parameter(help="Maximum number of streams and files at a time.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, Parameter(help="Maximum number of requests per minute.")
    ] = None,
    expires: Annotated[
        str | None, Parameter(help="Last valid day, such as 2027-01-31 (UTC).")
    ] = None,
    scope: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help='Permission: "transcribe" (files and streams), "secrets" (short-lived keys for '
            'browsers) or "metrics"; may be repeated. By default all.',
        ),
    ] = (),
) -> None:
    """Make an API key for "wheatear serve --api-key-file FILE".

    The key is printed once, on standard output; the file stores its hash.
    """
    with requires_extra("server", "making keys"):
        from wheatear.server.access.keys import make_key  # noqa: PLC0415
    print(make_key(file, name, streams, requests_per_minute, _day(expires), scope or None))


def _day(text: str | None) -> date | None:
    """Parses a day.  Raises SettingsError for a day in the past."""
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"--expires {text!r} is not a day; write it as 2027-01-31 (year-month-day)"
        ) from None
    if day < datetime.now(UTC).date():
        raise SettingsError(f"--expires {text} is in the past; the key would never be valid")
    return day
