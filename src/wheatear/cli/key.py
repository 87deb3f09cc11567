"""`wheatear key`: makes API keys for the service."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from wheatear.errors import MissingExtraError


def key(
    name: Annotated[str, Parameter(help="Whose key it is; it is told in logs and refusals.")],
    *,
    file: Annotated[Path, Parameter(help="Key file, made if it is not there.")],
    streams: Annotated[
        int | None, Parameter(help="Streams and files that it may have at a time.")
    ] = None,
    requests_per_minute: Annotated[int | None, Parameter(help="Requests that it may send.")] = None,
) -> None:
    """Make an API key for "wheatear serve --api-key-file FILE".

    The key is printed once, on standard output; the file has a hash of it.
    """
    try:
        from wheatear.server.keys import make_key  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(
            f"keys need {error.name}: pip install 'wheatear[server]'"
        ) from error
    print(make_key(file, name, streams, requests_per_minute))
