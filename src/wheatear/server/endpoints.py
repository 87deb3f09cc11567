"""Endpoints of the service itself: probes, metrics, OpenAPI, models, client secrets, the page."""

import time
from collections.abc import Mapping, MutableMapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from wheatear import __version__
from wheatear.server.api_errors import ApiError
from wheatear.server.background import run_in_background
from wheatear.server.openapi import describe
from wheatear.server.protocols.openai_events import ExpiresAfter, secret_request
from wheatear.server.protocols.openai_session import secret_session
from wheatear.server.service import Service
from wheatear.server.session.json_messages import MAX_JSON_CHARACTERS

PAGE = Path(str(files("wheatear") / "server" / "page"))
"""Folder of the page."""


class ServiceEndpoints:
    """Endpoints that need no audio."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def health(self, request: Request) -> Response:
        """Answers 200 if the process works."""
        healthy = self._service.is_healthy()
        return JSONResponse(
            {"status": "ok" if healthy else "failing", "version": __version__},
            200 if healthy else 503,
        )

    async def ready(self, request: Request) -> Response:
        """Answers 200 if the server takes more streams."""
        draining = self._service.draining.is_set()
        return JSONResponse(
            {"status": "draining" if draining else "ready"}, 503 if draining else 200
        )

    async def metrics(self, request: Request) -> Response:
        """Answers with the metrics for Prometheus."""
        text = self._service.metrics.text()
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

    async def openapi(self, request: Request) -> Response:
        """Answers with the OpenAPI document."""
        return JSONResponse(describe(self._service.settings.page))

    async def list_models(self, request: Request) -> Response:
        """Answers with all models."""
        models = self._service.models
        data = [model.description | {"default": model is models.default} for model in models]
        return JSONResponse({"object": "list", "data": data})

    async def model(self, request: Request) -> Response:
        """Answers with one model."""
        if not (name := request.path_params["name"]):
            return await self.list_models(request)
        return JSONResponse(self._service.models.named(name).description)

    async def client_secret(self, request: Request) -> Response:
        """Answers with a short-lived secret, which a browser uses in place of the key."""
        service = self._service
        given = secret_request(await _json_object(request))
        seconds = (given.expires_after or ExpiresAfter()).seconds
        value, until = service.keyring.issue(request.state.client, seconds)
        expires_at = int(time.time() + service.settings.limits.session_seconds)
        session = await run_in_background(secret_session, service.models, expires_at, given.session)
        return JSONResponse({"value": value, "expires_at": until, "session": session})

    async def page(self, request: Request) -> Response:
        """Answers with the page."""
        return FileResponse(PAGE / "index.html")

    async def icon(self, request: Request) -> Response:
        """Answers with the icon of the page."""
        return FileResponse(PAGE / "icon.svg")


async def _json_object(request: Request) -> Mapping[str, Any]:
    """Returns the JSON object of a body; an empty body is an empty object.  Raises ApiError."""
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
