"""All paths of a server, and the answers that they give."""

from collections.abc import Iterator, Sequence

import raw_socket as raw
from raw_socket import request
from server_process import Server
from starlette.routing import BaseRoute, Mount, WebSocketRoute

from wheatear.server.access.credentials import OPEN, OPEN_FOLDER


def walk(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Yields every path, and True if it is a WebSocket's."""
    for route in routes:
        path = prefix + str(getattr(route, "path", "")).replace("{name:path}", "a-model")
        if isinstance(route, Mount):
            yield f"{path}/a-file", False
            yield from walk(route.routes, path)
        else:
            yield path, isinstance(route, WebSocketRoute)


def is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_FOLDER)


def statuses(server: Server, path: str, is_socket: bool, **headers: str) -> list[int]:
    """Returns the statuses of a path for every method."""
    requests = [raw.handshake(path, **headers)]
    if not is_socket:
        methods = ("GET", "HEAD", "POST", "DELETE")
        requests += [request(method, path, **headers) for method in methods]
        requests.append(request("POST", path, b"{}", content_type="application/json", **headers))
    return [raw.status(raw.answer(server.port, data, 5)) for data in requests]


def headers_of(answer: bytes) -> dict[str, str]:
    lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
