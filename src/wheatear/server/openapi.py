"""The OpenAPI document of the HTTP routes."""

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from wheatear import __version__

_PAGE = ("/", "/favicon.ico", "/page/{path}")


@cache
def describe(page: bool = True) -> dict[str, Any]:
    """The document; sockets are told of in docs/serving.md, since OpenAPI has no words for them.

    page: whether the page is served.
    """
    document = msgspec.json.decode((files("wheatear") / "server" / "openapi.json").read_bytes())
    document["info"]["version"] = __version__
    if not page:
        for path in _PAGE:
            del document["paths"][path]
    return document
