"""Rules for Host, Origin and framing: protection from DNS rebinding, other pages and smuggling."""

import re
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from wheatear.server.api_errors import ApiError
from wheatear.server.settings import Settings

_ABSOLUTE = re.compile(rb"(?:https?|wss?)://([^/?#]*)(/[^?#]*)?", re.IGNORECASE)


def use_host_of_target(scope: Scope) -> None:
    """Replaces the Host header by the host of a target in absolute form (RFC 9112, 3.2.2)."""
    if not (absolute := _ABSOLUTE.fullmatch(scope.get("raw_path") or b"")):
        return
    authority, path = absolute[1], absolute[2] or b"/"
    scope["raw_path"], scope["path"] = path, unquote(path.decode("ascii"))
    others = [(name, value) for name, value in scope["headers"] if name.lower() != b"host"]
    scope["headers"] = [(b"host", authority), *others]


def check_host(headers: Headers, http_version: str, settings: Settings) -> None:
    """Raises ApiError for a host name that is not the server's (DNS rebinding)."""
    hosts = headers.getlist("host")
    if not hosts and http_version == "1.0":
        return  # which may leave it out; browsers do not use it
    if len(hosts) != 1 or not (name := _split(f"//{hosts[0]}").hostname or ""):
        raise ApiError(400, "the request has no Host header that makes sense", code="bad_host")
    if not settings.answers_to(name):
        raise ApiError(
            403, f"this server does not answer to {name!r}; its setting allowed_hosts lists the "
            f"names that it does answer to", code="bad_host",
        )  # fmt: skip


def check_origin(headers: Headers, settings: Settings) -> None:
    """Raises ApiError for a page of another origin, unless `cors_origins` lists it."""
    origin, allowed = headers.get("origin"), settings.cors_origins
    if origin is None or origin in allowed or "*" in allowed:
        return
    if _split(origin).netloc.lower() != headers.get("host", "").lower():
        raise ApiError(
            403, f"pages of {origin[:200]} may not use this server; its setting cors_origins lists "
            f"the origins that may", code="bad_origin",
        )  # fmt: skip


def check_framing(headers: Headers) -> None:
    """Raises ApiError for a request with two lengths, which a proxy may read as two requests."""
    if "transfer-encoding" in headers and "content-length" in headers:
        raise ApiError(
            400, "the request has both a Content-Length and a Transfer-Encoding; send one",
            code="bad_framing", cut_off=True,
        )  # fmt: skip


def _split(url: str) -> Any:
    """Returns the parts of a URL; empty ones for text that is not a URL."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
