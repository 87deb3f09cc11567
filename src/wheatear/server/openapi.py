"""The OpenAPI document of the HTTP routes."""

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from wheatear import __version__


@cache
def describe() -> dict[str, Any]:
    """The document; sockets are told of in docs/serving.md, since OpenAPI has no words for them."""
    document = msgspec.json.decode((files("wheatear") / "server" / "openapi.json").read_bytes())
    document["info"]["version"] = __version__
    return document
