"""ASGI application: all routes of a service, behind the access middleware."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from wheatear.server.access.middleware import AccessMiddleware
from wheatear.server.api_errors import shutting_down
from wheatear.server.endpoints import PAGE, ServiceEndpoints
from wheatear.server.protocols.deepgram import DeepgramHandler
from wheatear.server.protocols.deepgram_files import ListenEndpoint
from wheatear.server.protocols.openai_files import TranscriptionEndpoint
from wheatear.server.protocols.openai_realtime import RealtimeHandler
from wheatear.server.protocols.plain_websocket import PlainHandler
from wheatear.server.protocols.subtitles import SubtitleEndpoint
from wheatear.server.router import StaticFolder, StrictRouter
from wheatear.server.served_models import ServedModels
from wheatear.server.service import Service
from wheatear.server.session.connection import Connection
from wheatear.server.session.file_endpoint import FileEndpoint
from wheatear.server.session.protocol_handler import ProtocolHandler

Endpoint = Callable[[Request], Awaitable[Response]]
HandlerType = Callable[[Connection, ServedModels], ProtocolHandler]


def create_app(service: Service) -> AccessMiddleware:
    """Returns the ASGI application of a service."""
    return AccessMiddleware(
        StrictRouter(routes_of(service)), service.settings, service.keyring, service.metrics,
        service.concurrency,
    )  # fmt: skip


def routes_of(service: Service) -> list[BaseRoute]:
    """Returns all routes of a service."""

    def post(path: str, endpoint: Endpoint) -> Route:
        return Route(path, _until_shutdown(service, endpoint), methods=["POST"])

    def socket(path: str, handler: HandlerType) -> WebSocketRoute:
        return WebSocketRoute(path, _socket_endpoint(service, handler))

    own = ServiceEndpoints(service)
    files = FileEndpoint(service.settings.limits, service.concurrency, service.metrics)
    openai = TranscriptionEndpoint(files, service.models)
    routes: list[BaseRoute] = [
        Route("/health", own.health),
        Route("/ready", own.ready),
        Route("/metrics", own.metrics),
        Route("/openapi.json", own.openapi),
        Route("/v1/models", own.list_models),
        Route("/v1/models/{name:path}", own.model),
        post("/v1/audio/transcriptions", openai.transcribe),
        Route("/v1/audio/translations", openai.translate, methods=["POST"]),
        Route("/v1/audio/subtitles", SubtitleEndpoint(service.concurrency).write, methods=["POST"]),
        Route("/v1/realtime/client_secrets", own.client_secret, methods=["POST"]),
        socket("/v1/realtime", RealtimeHandler),
        post("/v1/listen", ListenEndpoint(files, service.models).transcribe),
        socket("/v1/listen", DeepgramHandler),
        socket("/ws", PlainHandler),
    ]
    if service.settings.page:
        routes += [
            Route("/", own.page),
            Route("/favicon.ico", own.icon),
            Mount("/page", StaticFolder(directory=PAGE)),
        ]
    return routes


def _socket_endpoint(
    service: Service, handler: HandlerType
) -> Callable[[WebSocket], Awaitable[None]]:
    async def endpoint(websocket: WebSocket) -> None:
        connection = Connection(websocket, service.settings, service.metrics, service.draining)
        await connection.run(handler(connection, service.models))

    return endpoint


def _until_shutdown(service: Service, endpoint: Endpoint) -> Endpoint:
    """Returns the endpoint, which rejects requests while the server shuts down."""

    async def rejecting(request: Request) -> Response:
        if service.draining.is_set():
            raise shutting_down()
        return await endpoint(request)

    return rejecting
