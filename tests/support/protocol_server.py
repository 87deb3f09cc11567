"""An application behind our uvicorn protocols, in this process."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from wheatear.server.access.http_protocol import DeadlineHttpProtocol
from wheatear.server.access.message_buffers import Buffers
from wheatear.server.access.slow_clients import ServerConfig
from wheatear.server.access.websocket_protocol import PacedWebSocketProtocol


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the number of bytes in the path; echoes messages of a socket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("text") == "wait":
                await asyncio.sleep(0.5)
            await send({"type": "websocket.send", "text": message.get("text") or "data"})
        return
    if scope["path"] == "/never":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    more = scope["path"].startswith("/body")
    while more:
        message = await receive()
        more = message.get("more_body", False)
    size = int(scope["path"].rpartition("/")[2] or 0)
    length = [(b"content-length", str(size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": b"a" * size})


@contextmanager
def serving(ping: float = 20, **limits: Any) -> Iterator[uvicorn.Server]:
    """Serves the application on a free port, in a thread."""
    config = ServerConfig(
        application, Buffers(256 << 20), http=DeadlineHttpProtocol, ws=PacedWebSocketProtocol,
        port=0, lifespan="off", log_config=None, ws_ping_interval=ping, ws_ping_timeout=ping,
        timeout_keep_alive=30, **limits,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join()


def until(there: Callable[[], Any], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def port_of(server: uvicorn.Server) -> int:
    return server.servers[0].sockets[0].getsockname()[1]
