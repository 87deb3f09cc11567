"""Router that raises for unknown paths, and redirects paths with extra slashes."""

import re
from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Match, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from wheatear.server.api_errors import ApiError


class StrictRouter:
    """Routes of the server; errors are raised, for the middleware to answer."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self.routes = tuple(routes)
        self._router = Router(routes, redirect_slashes=False, default=self._no_route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self  # makes Starlette raise for unknown paths instead of answering
        await self._router(scope, receive, send)

    async def _no_route(self, scope: Scope, receive: Receive, send: Send) -> None:
        as_socket = {**scope, "type": "websocket"}
        sockets = (route for route in self.routes if isinstance(route, WebSocketRoute))
        if scope["type"] == "http":
            if any(route.matches(as_socket)[0] is Match.FULL for route in sockets):
                raise ApiError(426, f"{scope['path']} is a WebSocket; open it as one")
            if path := self._path_without_extra_slashes(scope):
                query = scope["query_string"].decode("ascii", "ignore")
                target = path + f"?{query}" * bool(query)
                await RedirectResponse(target, 308)(scope, receive, send)
                return
        raise HTTPException(404)

    def _path_without_extra_slashes(self, scope: Scope) -> str | None:
        path = re.sub("/+", "/", scope["path"]).rstrip("/")
        if path in ("", scope["path"]):
            return None
        cleaned = {**scope, "path": path}
        known = any(route.matches(cleaned)[0] is not Match.NONE for route in self.routes)
        return path if known else None


class StaticFolder(StaticFiles):
    """Static files; a WebSocket is answered with 404."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            raise HTTPException(404)
        await super().__call__(scope, receive, send)
