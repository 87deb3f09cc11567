"""The OpenAPI document of the HTTP routes."""

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from wheatear import __version__

_PAGE = ("/", "/favicon.ico", "/page/{path}")


@cache
def describe(page: bool = True) -> dict[str, Any]:
    """Returns the document; WebSockets, which OpenAPI cannot describe, are in docs/serving.md.

    Args:
        page: True if the page is served.
    """
    document = msgspec.json.decode((files("wheatear") / "server" / "openapi.json").read_bytes())
    document["info"]["version"] = __version__
    if not page:
        for path in _PAGE:
            del document["paths"][path]
    return document
