"""Private and internal methods of uvicorn and websockets that the server overrides or calls.

When a name is gone, see what replaced it, then move the upper bounds in pyproject.toml.
"""

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

from wheatear.server.access.http_protocol import DeadlineHttpProtocol
from wheatear.server.access.slow_clients import ServerConfig, SlowClientProtocol
from wheatear.server.access.websocket_protocol import PacedWebSocketProtocol

TRANSPORT = {"connection_made", "connection_lost", "pause_writing", "resume_writing"}
HTTP = {
    "data_received", "eof_received", "on_response_complete", "handle_websocket_upgrade",
    "send_400_response", "_should_upgrade",
}  # fmt: skip
SOCKET = {
    "data_received", "eof_received", "handle_connect", "receive", "send", "on_task_complete",
    "handle_text", "handle_bytes", "handle_cont", "handle_pong", "handle_ping",
    "handle_parser_exception",
}  # fmt: skip


def overridden(base: type, *classes: type) -> set[str]:
    """Returns the methods of a base that our classes define, too."""
    names = {name for one in classes for name in vars(one) if not name.startswith("__")}
    return {name for name in names if callable(getattr(base, name, None))}


def test_overridden_methods_of_the_http_protocol_exist():
    found = overridden(H11Protocol, DeadlineHttpProtocol, SlowClientProtocol)
    assert found == TRANSPORT | HTTP
    assert callable(H11Protocol._get_upgrade)  # called by ours


def test_overridden_methods_of_the_websocket_protocol_exist():
    found = overridden(WebSocketsSansIOProtocol, PacedWebSocketProtocol, SlowClientProtocol)
    assert found == TRANSPORT | SOCKET


def test_overridden_methods_of_the_server_exist():
    for name in ("startup", "shutdown", "handle_exit"):
        assert callable(getattr(uvicorn.Server, name))
    assert not overridden(uvicorn.Config, ServerConfig)


def test_internals_of_websockets_exist():
    connection = ServerProtocol()
    for name in ("fail", "data_to_send", "close_sent"):
        assert hasattr(connection, name)
    assert isinstance(connection.reader, StreamReader)
    assert callable(connection.reader.discard)
    assert hasattr(connection.reader, "buffer")
    assert hasattr(connection, "parser")
