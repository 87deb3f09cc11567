"""The routes of the service, behind its gate."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from wheatear import __version__
from wheatear.server.access.keys import Keyring, read_keys
from wheatear.server.access.limits import ConcurrencyLimits
from wheatear.server.access.message_buffers import Buffers
from wheatear.server.access.middleware import AccessMiddleware
from wheatear.server.api_errors import ApiError, shutting_down
from wheatear.server.background import run_in_background
from wheatear.server.metrics import Metrics
from wheatear.server.openapi import describe
from wheatear.server.protocols.deepgram import DeepgramHandler
from wheatear.server.protocols.deepgram_files import ListenEndpoint
from wheatear.server.protocols.openai_events import ExpiresAfter, secret_request
from wheatear.server.protocols.openai_files import TranscriptionEndpoint
from wheatear.server.protocols.openai_realtime import RealtimeHandler
from wheatear.server.protocols.openai_session import secret_session
from wheatear.server.protocols.plain_websocket import PlainHandler
from wheatear.server.protocols.subtitles import SubtitleEndpoint
from wheatear.server.served_models import ServedModels
from wheatear.server.session.connection import Connection, ProtocolHandler
from wheatear.server.session.file_endpoint import FileEndpoint
from wheatear.server.session.json_messages import MAX_JSON_CHARACTERS
from wheatear.server.settings import Settings

_STUCK = 60.0  # seconds in one step after which the server is not healthy
_PAGE = Path(str(files("wheatear") / "server" / "page"))


class Service:
    """Everything that a running server has; an ASGI application."""

    def __init__(self, settings: Settings) -> None:
        """Loads the models.  Raises SettingsError and what `wheatear.load` raises."""
        self.settings = settings
        path = settings.api_key_file
        self.keyring = Keyring() if path is None else read_keys(Path(path))
        self.metrics = Metrics()
        self.concurrency = ConcurrencyLimits(settings.limits, self._several)
        self.metrics.upload_bytes.set_function(lambda: self.concurrency.spool.taken)
        self.buffers = Buffers(settings.limits.buffer_bytes)
        self.models = ServedModels(settings, self.metrics)
        self.metrics.load.set_function(lambda: self.models.budget.load)
        self.draining = asyncio.Event()
        """Set when the server is going down: nobody is let in, and everybody comes to an end."""
        files = FileEndpoint(settings.limits, self.concurrency, self.metrics)
        self._transcriptions = TranscriptionEndpoint(files, self.models)
        self._recordings = ListenEndpoint(files, self.models)
        self._subtitles = SubtitleEndpoint(self.concurrency)
        self.routes = self._routes()
        routed = _Routed(self.routes)
        self._app = AccessMiddleware(routed, settings, self.keyring, self.metrics, self.concurrency)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def close(self) -> None:
        """Ends all that goes on."""
        self.models.close()

    def _several(self) -> bool:
        """True if more than one key or address may come."""
        clients, settings = len(self.keyring.clients), self.settings
        if not clients:
            return not settings.loopback
        return clients > 1 or settings.wyoming_port is not None

    def _routes(self) -> list[BaseRoute]:
        v1, transcribe = "/v1/audio", self._transcriptions.transcribe
        routes: list[BaseRoute] = [
            Route("/health", self._health),
            Route("/ready", self._ready),
            Route("/metrics", self._metrics),
            Route("/openapi.json", self._openapi),
            Route("/v1/models", self._list_models),
            Route("/v1/models/{name:path}", self._model),
            Route(f"{v1}/transcriptions", self._refusing(transcribe), methods=["POST"]),
            Route(f"{v1}/translations", self._transcriptions.translate, methods=["POST"]),
            Route(f"{v1}/subtitles", self._subtitles.write, methods=["POST"]),
            Route("/v1/realtime/client_secrets", self._secret, methods=["POST"]),
            WebSocketRoute("/v1/realtime", self._socket(RealtimeHandler)),
            Route("/v1/listen", self._refusing(self._recordings.transcribe), methods=["POST"]),
            WebSocketRoute("/v1/listen", self._socket(DeepgramHandler)),
            WebSocketRoute("/ws", self._socket(PlainHandler)),
        ]
        if self.settings.page:
            routes += [
                Route("/", self._page),
                Route("/favicon.ico", self._icon),
                Mount("/page", _Folder(directory=_PAGE)),
            ]
        return routes

    def _socket(
        self, kind: Callable[[Connection, ServedModels], ProtocolHandler]
    ) -> Callable[[WebSocket], Awaitable[None]]:
        async def endpoint(websocket: WebSocket) -> None:
            connection = Connection(websocket, self.settings, self.metrics, self.draining)
            await connection.run(kind(connection, self.models))

        return endpoint

    def _refusing(
        self, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint, as long as the server is not going down."""

        async def refusing(request: Request) -> Response:
            if self.draining.is_set():
                raise shutting_down()
            return await endpoint(request)

        return refusing

    # -- how it is

    def is_well(self) -> bool:
        """True if every scheduler runs, and none has been in one step for long."""
        schedulers = [model.scheduler for model in self.models]
        return all(s.alive and s.stuck_s < _STUCK for s in schedulers)

    async def _health(self, request: Request) -> Response:
        """Whether the process is well."""
        well = self.is_well()
        return JSONResponse(
            {"status": "ok" if well else "failing", "version": __version__},
            200 if well else 503,
        )

    async def _ready(self, request: Request) -> Response:
        """Whether it takes more streams."""
        draining = self.draining.is_set()
        return JSONResponse(
            {"status": "draining" if draining else "ready"}, 503 if draining else 200
        )

    async def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(describe(self.settings.page))

    # -- what it has

    async def _list_models(self, request: Request) -> Response:
        default = self.models.default
        data = [m.described | {"default": m is default} for m in self.models]
        return JSONResponse({"object": "list", "data": data})

    async def _model(self, request: Request) -> Response:
        if not (name := request.path_params["name"]):
            return await self._list_models(request)
        return JSONResponse(self.models.named(name).described)

    async def _secret(self, request: Request) -> Response:
        """A secret for a browser, in place of the key; OpenAI's client_secrets."""
        given = secret_request(await _json(request))
        seconds = (given.expires_after or ExpiresAfter()).seconds
        value, until = self.keyring.issue(request.state.client, seconds)
        expires_at = int(time.time() + self.settings.limits.session_seconds)
        session = await run_in_background(secret_session, self.models, expires_at, given.session)
        return JSONResponse({"value": value, "expires_at": until, "session": session})

    async def _page(self, request: Request) -> Response:
        return FileResponse(_PAGE / "index.html")

    async def _icon(self, request: Request) -> Response:
        return FileResponse(_PAGE / "icon.svg")


class _Folder(StaticFiles):
    """Files, and nothing for sockets."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            raise HTTPException(404)
        await super().__call__(scope, receive, send)


class _Routed:
    """The routes; what they do not have, or fail at, is left to the gate to tell."""

    def __init__(self, routes: list[BaseRoute]) -> None:
        self._router = Router(routes, redirect_slashes=False, default=self._nothing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self  # so that Starlette raises for what is not found, and does not answer
        await self._router(scope, receive, send)

    async def _nothing(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Where no route leads."""
        socket = {**scope, "type": "websocket"}
        sockets = (r for r in self._router.routes if isinstance(r, WebSocketRoute))
        if scope["type"] == "http" and any(r.matches(socket)[0] is Match.FULL for r in sockets):
            raise ApiError(426, f"{scope['path']} is a WebSocket; open it as one")
        if scope["type"] == "http" and (path := self._meant(scope)):
            query = scope["query_string"].decode("ascii", "ignore")
            where = path + f"?{query}" * bool(query)
            await RedirectResponse(where, 308)(scope, receive, send)
            return
        raise HTTPException(404)

    def _meant(self, scope: Scope) -> str | None:
        """The path of a route that differs from this one by slashes alone."""
        path = re.sub("/+", "/", scope["path"]).rstrip("/")
        if path in ("", scope["path"]):
            return None
        meant = {**scope, "path": path}
        known = any(route.matches(meant)[0] is not Match.NONE for route in self._router.routes)
        return path if known else None


async def _json(request: Request) -> Mapping[str, Any]:
    """The body of a request, an object; nothing stands for an empty one.  Raises ApiError."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_JSON_CHARACTERS:
            raise ApiError(413, f"the body has more than {MAX_JSON_CHARACTERS} bytes")
    if not body.strip():
        return {}
    try:
        return msgspec.json.decode(body, type=MutableMapping[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ApiError(400, f"the body is no JSON object: {error}", code="invalid_json") from error
