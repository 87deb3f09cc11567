"""The gate that every request and every socket passes, or is turned away at.

Checked in this order: that the server is meant at all (Host, Origin) and the request has one end,
the key, how much its client asks for, how much the body brings.  Who is turned away uses up the
requests of its address.  Every answer leaves with headers that keep a browser from doing what
nobody asked it to.
"""

import asyncio
import ipaddress
import json
import logging
import re
import time
import uuid
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from wheatear.server.access.keys import Client, Keyring, short_lived
from wheatear.server.access.limits import ConcurrencyLimits, TokenBuckets
from wheatear.server.api_errors import SOCKET_CODES, ApiError, of_system, shutting_down
from wheatear.server.background import set_caller
from wheatear.server.metrics import Metrics
from wheatear.server.settings import Limits, Settings

_log = logging.getLogger("wheatear.access")

PROBES = ("/health", "/ready")
"""Paths that have no rate: one client must not make another's probe fail."""
OPEN = ("/", *PROBES, "/favicon.ico", "*")
"""Paths that need no key: whether the server is there, and the page, which knows nothing."""
OPEN_FOLDER = "/page/"
FOR_KEYS = ("/metrics", "/v1/realtime/client_secrets")
"""Paths that a short-lived secret does not open: it makes no others."""
_SCOPES = {"/metrics": "metrics", "/v1/realtime/client_secrets": "secrets"}
_FOR_EVERY_SCOPE = ("/v1/models", "/openapi.json")
_ABSOLUTE = re.compile(rb"(?:https?|wss?)://([^/?#]*)(/[^?#]*)?", re.IGNORECASE)
_GRACE = 20.0  # seconds before a body's pace counts
_METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "SOCKET")
_SUBPROTOCOLS = ("openai-insecure-api-key.", "key.")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
LARGE_MESSAGE_BYTES = 16_384
"""Bytes of a message on a socket that count as one message more."""
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data: blob:; media-src blob:; worker-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
}


class AccessMiddleware:
    """ASGI middleware around everything."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        keyring: Keyring,
        metrics: Metrics,
        slots: ConcurrencyLimits,
    ) -> None:
        self._app, self._settings, self._keyring = app, settings, keyring
        self._metrics, self._slots = metrics, slots
        self._rates, self._probes = TokenBuckets(), TokenBuckets()
        self._inside: ASGIApp = self._let_in
        if settings.cors_origins:
            # No cookie counts here, so that other pages may send and read what they like.
            self._inside = CORSMiddleware(
                self._let_in, allow_origins=settings.cors_origins, allow_methods=("GET", "POST"),
                allow_headers=("*",),
                expose_headers=("x-request-id", "retry-after", "x-wheatear-warning"),
            )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        _make_relative(scope)
        passage = _RequestContext(scope, receive, send, self._settings.limits)
        scope.setdefault("state", {})["request_id"] = passage.id
        scope["state"]["passage"] = passage
        try:
            await self._inside(scope, passage.receive, passage.send)
        finally:
            seconds = time.perf_counter() - began
            self._note(scope, passage, seconds)
            del scope["state"]["passage"]  # which leads back to the connection and all it holds

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, or a refusal."""
        passage: _RequestContext = scope["state"]["passage"]
        try:
            client = self._admit(scope, Headers(scope=scope))
            scope["state"]["client"] = client
            set_caller(client.name)
            if scope["path"] == "*":
                await _answer_options(send)
            elif scope["type"] == "websocket":
                scope["state"]["pace"] = self._slots.pace(client)
                with self._slots.hold("streams", client):
                    await self._app(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        except ApiError as refusal:
            self._metrics.refused.labels(refusal.reason).inc()
            await passage.refuse(refusal, send)
        except HTTPException as error:
            await passage.refuse(_unrouted(error, scope), send)
        except (ClientDisconnect, WebSocketDisconnect):
            passage.status = 499
        except asyncio.CancelledError:  # by the server, which can wait no longer
            await passage.refuse(shutting_down(cut_off=True), send)
        except Exception as error:  # noqa: BLE001  logged, and told without saying more
            if (full := of_system(error)) is not None:
                self._metrics.refused.labels(full.reason).inc()
                await passage.refuse(full, send)
                return
            _log.exception("a fault in %s, request %s", scope["path"], passage.id)
            self._metrics.errors.labels("request").inc()
            refusal = ApiError(500, f"the server failed; its log says how: {passage.id}")
            await passage.refuse(refusal, send)

    def _admit(self, scope: Scope, headers: Headers) -> Client:
        """Whoever this is, if it may come in.  Raises ApiError."""
        if not (scope["path"].startswith("/") or _is_for_all(scope)):
            raise ApiError(400, "the target of the request is no path", code="bad_target")
        nobody = anonymous_client((scope.get("client") or ("nobody", 0))[0])
        try:
            self._check_host(headers, scope["http_version"])
            self._check_origin(headers)
            _check_end(headers)
            client = self._client(scope["path"], headers) or nobody
        except ApiError:
            self._check_rate(nobody)
            raise
        if scope["path"] in PROBES:
            per_minute = self._settings.limits.requests_per_minute
            rate = self._probes.of(client, per_minute / 60, max(1, per_minute / 6))
            scope["state"]["quiet"] = bool(rate.take())
        else:
            self._check_rate(client)
        return client

    def _client(self, path: str, headers: Headers) -> Client | None:
        """Whose key has come, where one is needed.  Raises ApiError."""
        if not self._keyring.clients or path in OPEN or path.startswith(OPEN_FOLDER):
            return None
        if (key := key_of(headers)) is None:
            raise ApiError(
                401, "this server wants an API key: send it as 'Authorization: Bearer KEY'"
            )
        if (client := self._keyring.client(key)) is None:
            raise ApiError(401, "this API key is not known here")
        if client.expired:
            raise ApiError(401, f"this API key worked up to {client.expires}, and no longer does")
        if short_lived(key) and path in FOR_KEYS:
            raise ApiError(403, "a short-lived secret does not open this; the API key does")
        if (scope := _scope_of(path)) and not client.may(scope, short_lived(key)):
            raise ApiError(403, f"the key of {client.name} has no scope {scope!r}", code="no_scope")
        return client

    def _check_host(self, headers: Headers, version: str) -> None:
        """Names that lead here by mistake or by malice (DNS rebinding) are not answered to."""
        hosts = headers.getlist("host")
        if not hosts and version == "1.0":
            return  # which may leave it out; no browser does
        if len(hosts) != 1 or not (name := _hostname(f"//{hosts[0]}")):
            raise ApiError(400, "the request has no Host header that makes sense", code="bad_host")
        if not self._settings.answers_to(name):
            raise ApiError(
                403, f"this server does not answer to {name!r}; its setting allowed_hosts says to "
                f"which names it does", code="bad_host",
            )  # fmt: skip

    def _check_origin(self, headers: Headers) -> None:
        """Pages of other origins may not use the server, unless they were allowed to."""
        origin = headers.get("origin")
        allowed = self._settings.cors_origins
        if origin is None or origin in allowed or "*" in allowed:
            return
        if urlsplit_safe(origin).netloc.lower() != headers.get("host", "").lower():
            raise ApiError(
                403, f"pages of {origin[:200]} may not use this server; its setting cors_origins "
                f"says whose may", code="bad_origin",
            )  # fmt: skip

    def _check_rate(self, client: Client) -> None:
        per_minute = client.requests_per_minute or self._settings.limits.requests_per_minute
        rate = self._rates.of(client, per_minute / 60, max(1, per_minute / 6))
        if wait := rate.take():
            raise ApiError(
                429, f"{client.name} has sent more than {per_minute} requests a minute",
                retry_after=int(wait) + 1, cut_off=True,
            )  # fmt: skip

    def _note(self, scope: Scope, passage: "_RequestContext", seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = scope.get("method", "SOCKET")
        known = method if method in _METHODS else "other"
        self._metrics.requests.labels(known, route, str(passage.status)).inc()
        if scope["type"] == "http":
            self._metrics.request_seconds.labels(route).observe(seconds)
        client = scope["state"].get("client")
        many = passage.status == 429 or scope["state"].get("quiet")
        _log.log(
            logging.DEBUG if many else logging.INFO,
            "%s %s %s", method, scope["path"][:200].encode("ascii", "backslashreplace").decode(),
            passage.status,
            extra={
                "request_id": passage.id, "seconds": round(seconds, 4),
                "holder": client.name if client else None,
            },
        )  # fmt: skip


class _RequestContext:
    """One request or socket on its way through the gate."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits) -> None:
        self._scope, self._receive, self._send, self._limits = scope, receive, send, limits
        given = Headers(scope=scope).get("x-request-id", "")
        self.id = given if _REQUEST_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        self.status = 0
        self._until = time.monotonic() + limits.upload_seconds
        self._body = 0
        self._waited = 0.0
        """Seconds in which the client could have sent more."""
        self._begun = self._closed = False
        self._whole = scope["type"] != "http"
        """Whether all of the request has come."""

    async def receive(self) -> Message:
        """Counts what a request brings, and does not wait for ever for more of it."""
        if self._whole:
            return await self._receive()
        self._check_size(int(_number(Headers(scope=self._scope).get("content-length"))))
        began, limits = time.monotonic(), self._limits
        least = _GRACE + self._body / limits.upload_bytes_per_second - self._waited
        patience = min(limits.idle_seconds, self._until - began, least)
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, patience))
        except TimeoutError:
            slow = least <= patience
            raise ApiError(
                408, f"the request came at less than {limits.upload_bytes_per_second:g} bytes a "
                f"second" if slow else "the rest of the request did not come", cut_off=True,
            ) from None  # fmt: skip
        self._waited += time.monotonic() - began
        self._body += len(message.get("body", b""))
        self._check_size(self._body)
        self._whole = not message.get("more_body", False)
        return message

    def _check_size(self, size: int) -> None:
        most = self._limits.upload_bytes
        if size > most:
            raise ApiError(
                413, f"the request has more than {most} bytes, the most this server takes"
            )

    async def send(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self._begun, self.status = True, message["status"]
            self._add_headers(message)
        elif message["type"] == "websocket.accept":
            self._begun, self.status = True, 101
            self._add_headers(message)
        elif message["type"] == "websocket.close":
            self._closed = True
        await self._send(message)

    def _add_headers(self, message: Message) -> None:
        headers = list(message.get("headers", ()))
        known = {name.lower() for name, _ in headers}
        more = {**HEADERS, "x-request-id": self.id}
        page = self._scope["path"].startswith(OPEN_FOLDER) or self._scope["path"] == "/"
        # A browser asks whether the page has changed, so that no two versions of it are mixed.
        more["cache-control"] = "no-cache" if page else "no-store"
        headers += [(k.encode(), v.encode()) for k, v in more.items() if k.encode() not in known]
        message["headers"] = headers

    async def refuse(self, refusal: ApiError, send: Send) -> None:
        """Answers with an error, as far as an answer has not begun; one that has is cut off."""
        socket = self._scope["type"] == "websocket"
        if socket and (self._begun or not self._can_answer):
            if not self._closed:
                await send(_close(refusal))
        elif not self._begun:
            prefix = "websocket." if socket else ""
            headers, body = answer(refusal)
            start = {"type": f"{prefix}http.response.start", "status": refusal.status}
            await send({**start, "headers": headers})
            await send({"type": f"{prefix}http.response.body", "body": body})

    @property
    def _can_answer(self) -> bool:
        return "websocket.http.response" in self._scope.get("extensions", {})


def _make_relative(scope: Scope) -> None:
    """Takes the host of a target in absolute form for the request's own (RFC 9112, 3.2.2)."""
    if not (absolute := _ABSOLUTE.fullmatch(scope.get("raw_path") or b"")):
        return
    authority, path = absolute[1], absolute[2] or b"/"
    scope["raw_path"], scope["path"] = path, unquote(path.decode("ascii"))
    others = [(name, value) for name, value in scope["headers"] if name.lower() != b"host"]
    scope["headers"] = [(b"host", authority), *others]


def _is_for_all(scope: Scope) -> bool:
    """True if a request is about the server as a whole: OPTIONS *."""
    return scope["path"] == "*" and scope.get("method") == "OPTIONS"


async def _answer_options(send: Send) -> None:
    """The answer to OPTIONS of the server as a whole."""
    headers = [(b"allow", b"GET, HEAD, POST, OPTIONS"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _scope_of(path: str) -> str | None:
    """The scope that opens a path; None if each of them does."""
    if path in _FOR_EVERY_SCOPE or path.startswith("/v1/models/"):
        return None
    return _SCOPES.get(path, "transcribe")


def answer(refusal: ApiError) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body of a response that refuses."""
    body = json.dumps(refusal.body).encode()
    fields = {"content-type": "application/json", "content-length": str(len(body))}
    return [(k.encode(), v.encode()) for k, v in (fields | refusal.headers).items()], body


def key_of(headers: Headers) -> str | None:
    """The API key that a request brings, in any of the ways that clients know of."""
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
    if len(offered) == 2 and offered[0].lower() in ("token", "bearer"):  # as Deepgram's pages do
        return offered[1]
    return None


def _check_end(headers: Headers) -> None:
    """A request that ends in two ways is two requests to a proxy that sees another end."""
    if "transfer-encoding" in headers and "content-length" in headers:
        raise ApiError(
            400, "the request has both a Content-Length and a Transfer-Encoding; send one",
            code="bad_framing", cut_off=True,
        )  # fmt: skip


def anonymous_client(client: str) -> Client:
    """Whoever comes from an address without a key."""
    return Client(name=_address(client), sha256="0" * 64)


def _address(client: str) -> str:
    """Who counts as one: an IPv4 address, or the 2^64 IPv6 addresses that one line is given."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return ascii(client[:100])  # what a proxy said
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(getattr(address, "ipv4_mapped", None) or address)


def _unrouted(error: HTTPException, scope: Scope) -> ApiError:
    """What Starlette raises for what is not there."""
    path = scope["path"][:200]
    allow = None
    match error.status_code:
        case 404:
            message = f"there is nothing at {path} here; /openapi.json lists what there is"
        case 405:
            allow = (error.headers or {}).get("Allow", "GET")
            message = f"{path} takes {allow}, not {scope['method'][:20]}"
        case _:
            message = error.detail
    return ApiError(error.status_code, message, allow=allow)


def _close(refusal: ApiError) -> dict[str, Any]:
    reason = refusal.message.encode()[:120].decode("utf-8", "ignore")
    code = SOCKET_CODES.get(refusal.status, 1008)
    return {"type": "websocket.close", "code": code, "reason": reason}


def _number(text: str | None) -> float:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else 0


def _hostname(url: str) -> str:
    return urlsplit_safe(url).hostname or ""


def urlsplit_safe(url: str) -> Any:
    """The parts of an address; of one that is none, nothing."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
