"""ASGI middleware in front of all routes: checks, error responses, metrics and the access log.

Checked in this order: Host and Origin, the framing of the request, the API key, the request rate,
and while the body arrives its size and pace.  A rejected request counts against the rate limit of
its client address.
"""

import asyncio
import logging
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from wheatear.server.access.credentials import anonymous_client, authenticate
from wheatear.server.access.host_rules import (
    check_framing,
    check_host,
    check_origin,
    use_host_of_target,
)
from wheatear.server.access.keys import Client, Keyring
from wheatear.server.access.limits import ConcurrencyLimits, RequestRates
from wheatear.server.access.request_context import RequestContext
from wheatear.server.api_errors import ApiError, resource_error, shutting_down
from wheatear.server.background import set_caller
from wheatear.server.metrics import Metrics
from wheatear.server.settings import Settings

_log = logging.getLogger("wheatear.access")

PROBES = ("/health", "/ready")
"""Paths without a common rate limit: one client must not make the probe of another fail."""
_METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "SOCKET")


class AccessMiddleware:
    """Admits, rejects, counts and logs every request and WebSocket."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        keyring: Keyring,
        metrics: Metrics,
        concurrency: ConcurrencyLimits,
    ) -> None:
        self._app, self._settings, self._keyring = app, settings, keyring
        self._metrics, self._concurrency = metrics, concurrency
        self._rates = RequestRates(settings.limits)
        self._inner: ASGIApp = self._serve
        if settings.cors_origins:
            # Cookies are not used, so other pages may send and read without credentials.
            self._inner = CORSMiddleware(
                self._serve, allow_origins=settings.cors_origins, allow_methods=("GET", "POST"),
                allow_headers=("*",),
                expose_headers=("x-request-id", "retry-after", "x-wheatear-warning"),
            )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        use_host_of_target(scope)
        context = RequestContext(scope, receive, send, self._settings.limits)
        scope.setdefault("state", {}).update(request_id=context.id, context=context)
        try:
            await self._inner(scope, context.receive, context.send)
        finally:
            self._record(scope, context.status, time.perf_counter() - began)
            del scope["state"]["context"]  # refers to the connection and its buffers

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the application, and turns exceptions into error responses."""
        context: RequestContext = scope["state"]["context"]
        try:
            client = self._admit(scope, Headers(scope=scope))
            scope["state"]["client"] = client
            set_caller(client.name)
            if scope["path"] == "*":
                await _answer_options(send)
            elif scope["type"] == "websocket":
                scope["state"]["pace"] = self._concurrency.message_rate(client)
                with self._concurrency.hold("streams", client):
                    await self._app(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        except ApiError as error:
            self._metrics.refused.labels(error.reason).inc()
            await context.reject(error, send)
        except HTTPException as error:
            await context.reject(_routing_error(error, scope), send)
        except (ClientDisconnect, WebSocketDisconnect):
            context.status = 499
        except asyncio.CancelledError:  # by the server, at the end of its shutdown
            await context.reject(shutting_down(cut_off=True), send)
        except Exception as error:  # noqa: BLE001  logged, and answered without details
            if (known := resource_error(error)) is not None:
                self._metrics.refused.labels(known.reason).inc()
                await context.reject(known, send)
                return
            _log.exception("error in %s, request %s", scope["path"], context.id)
            self._metrics.errors.labels("request").inc()
            failure = ApiError(500, f"the server failed; its log has the cause: {context.id}")
            await context.reject(failure, send)

    def _admit(self, scope: Scope, headers: Headers) -> Client:
        """Returns the client of a request.  Raises ApiError if the request is rejected."""
        path = scope["path"]
        whole_server = path == "*" and scope.get("method") == "OPTIONS"
        if not (path.startswith("/") or whole_server):
            raise ApiError(400, "the target of the request is no path", code="bad_target")
        anonymous = anonymous_client((scope.get("client") or ("unknown", 0))[0])
        try:
            check_host(headers, scope["http_version"], self._settings)
            check_origin(headers, self._settings)
            check_framing(headers)
            client = authenticate(path, headers, self._keyring) or anonymous
        except ApiError:
            self._rates.check(anonymous)
            raise
        if path in PROBES:
            scope["state"]["quiet"] = self._rates.is_frequent_probe(client)
        else:
            self._rates.check(client)
        return client

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        """Counts and logs a request."""
        route = getattr(scope.get("route"), "path", "none")
        method = scope.get("method", "SOCKET")
        known = method if method in _METHODS else "other"
        self._metrics.requests.labels(known, route, str(status)).inc()
        if scope["type"] == "http":
            self._metrics.request_seconds.labels(route).observe(seconds)
        client = scope["state"].get("client")
        frequent = status == 429 or scope["state"].get("quiet")
        _log.log(
            logging.DEBUG if frequent else logging.INFO,
            "%s %s %s", method, scope["path"][:200].encode("ascii", "backslashreplace").decode(),
            status,
            extra={
                "request_id": scope["state"]["request_id"], "seconds": round(seconds, 4),
                "holder": client.name if client else None,
            },
        )  # fmt: skip


async def _answer_options(send: Send) -> None:
    """Answers OPTIONS *, a question about the whole server."""
    headers = [(b"allow", b"GET, HEAD, POST, OPTIONS"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _routing_error(error: HTTPException, scope: Scope) -> ApiError:
    """Returns the API error for an exception of Starlette's router."""
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
