"""Authentication: the API key of a request, the client that it belongs to, and its scopes."""

import ipaddress

from starlette.datastructures import Headers

from wheatear.server.access.keys import Client, Keyring, is_short_lived
from wheatear.server.api_errors import ApiError

OPEN = ("/", "/health", "/ready", "/favicon.ico", "*")
"""Paths that need no key: probes, and the page, which holds no data."""
OPEN_FOLDER = "/page/"
FOR_KEYS = ("/metrics", "/v1/realtime/client_secrets")
"""Paths that a short-lived secret does not open: it makes no others."""
_SCOPES = {"/metrics": "metrics", "/v1/realtime/client_secrets": "secrets"}
_FOR_EVERY_SCOPE = ("/v1/models", "/openapi.json")
_SUBPROTOCOLS = ("openai-insecure-api-key.", "key.")


def authenticate(path: str, headers: Headers, keyring: Keyring) -> Client | None:
    """Returns the client of the key in a request; None where no key is needed.

    Raises:
        ApiError: If the key is missing, unknown or expired, or has no scope for the path.
    """
    if not keyring.clients or path in OPEN or path.startswith(OPEN_FOLDER):
        return None
    if (key := key_of(headers)) is None:
        raise ApiError(401, "this server needs an API key: send it as 'Authorization: Bearer KEY'")
    if (client := keyring.client(key)) is None:
        raise ApiError(401, "this API key is not known here")
    if client.expired:
        raise ApiError(401, f"this API key worked up to {client.expires}, and no longer does")
    if is_short_lived(key) and path in FOR_KEYS:
        raise ApiError(403, "a short-lived secret does not open this; the API key does")
    if (scope := _scope_of(path)) and not client.may(scope, is_short_lived(key)):
        raise ApiError(403, f"the key of {client.name} has no scope {scope!r}", code="no_scope")
    return client


def key_of(headers: Headers) -> str | None:
    """Returns the API key of a request, in any of the forms that clients of other services use."""
    if value := headers.get("authorization"):
        scheme, _, key = value.partition(" ")
        if scheme.lower() in ("bearer", "token") and key.strip():
            return key.strip()
    for name in ("api-key", "x-api-key"):
        if value := headers.get(name):
            return value.strip()
    offered = [part.strip() for part in headers.get("sec-websocket-protocol", "").split(",")]
    for prefix in _SUBPROTOCOLS:
        for part in offered:
            if part.startswith(prefix):
                return part.removeprefix(prefix)
    if len(offered) == 2 and offered[0].lower() in ("token", "bearer"):  # Deepgram's browser SDK
        return offered[1]
    return None


def anonymous_client(address: str) -> Client:
    """Returns the client of an address, for requests without a key.

    A client is an IPv4 address, or the 2^64 IPv6 addresses that one line is given.
    """
    return Client(name=_network_of(address), sha256="0" * 64)


def _network_of(address: str) -> str:
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return ascii(address[:100])  # as a proxy sent it
    if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(known), 64), strict=False))
    return str(getattr(known, "ipv4_mapped", None) or known)


def _scope_of(path: str) -> str | None:
    """Returns the scope that opens a path; None if each of them does."""
    if path in _FOR_EVERY_SCOPE or path.startswith("/v1/models/"):
        return None
    return _SCOPES.get(path, "transcribe")
