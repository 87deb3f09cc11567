"""Tasks of a connection: messages in, events and messages out, errors and limits."""

import asyncio
import json
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from wheatear.server.access.credentials import anonymous_client
from wheatear.server.access.limits import TokenBucket
from wheatear.server.access.message_buffers import Buffers
from wheatear.server.api_errors import ApiError
from wheatear.server.metrics import Metrics
from wheatear.server.session.connection import Connection
from wheatear.server.session.protocol_handler import NORMAL, ProtocolHandler
from wheatear.server.settings import Limits, Settings


class FakeSocket:
    """A WebSocket whose client sends some messages and then waits."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = [{"type": "websocket.receive", **message} for message in messages]
        self.sent: list[str] = []
        self.closed: tuple[int, str] | None = None
        self.scope = {
            "subprotocols": ["other", "echo"],
            "state": {
                "request_id": "req", "client": anonymous_client("127.0.0.1"),
                "buffers": Buffers(1 << 20), "pace": TokenBucket(1000, 1000),
                "gone": lambda: False,
            },
        }  # fmt: skip

    async def accept(self, subprotocol: str | None) -> None:
        self.subprotocol = subprotocol

    async def receive(self) -> dict[str, Any]:
        if not self.messages:
            await asyncio.sleep(60)
        return self.messages.pop(0)

    async def send_text(self, message: str) -> None:
        self.sent.append(message)

    async def close(self, code: int, reason: str) -> None:
        self.closed = code, reason


class Echo(ProtocolHandler):
    """Returns its messages; "end" closes, "fail" raises."""

    wire = "echo"
    protocols = ("echo",)

    async def on_open(self) -> None:
        self.connection.send({"type": "ready"})

    async def on_text(self, message: str) -> None:
        if message == "fail":
            raise ApiError(429, "too much")
        if message == "crash":
            raise ZeroDivisionError
        if message == "end":
            self.stop()
        else:
            self.connection.send(message)

    async def on_bytes(self, data: bytes) -> None:
        self.connection.send({"bytes": len(data)})

    def on_event(self, item: Any) -> None:
        raise AssertionError(item)

    def on_error(self, error: ApiError) -> None:
        self.connection.send({"error": error.code})


def session(*messages: dict[str, Any], metrics: Metrics | None = None, **limits: Any) -> FakeSocket:
    """Runs a session to its end."""

    async def main() -> FakeSocket:
        socket: Any = FakeSocket(*messages)
        settings = Settings(limits=Limits(**limits))
        connection = Connection(socket, settings, metrics or Metrics(), asyncio.Event())
        await asyncio.wait_for(connection.run(Echo(connection)), 20)
        return socket

    return asyncio.run(main())


def test_messages_are_handled_and_sent_in_order():
    socket = session({"text": "one"}, {"bytes": b"12"}, {"text": "end"})
    assert socket.sent == ['{"type": "ready"}', "one", '{"bytes": 2}']
    assert (socket.closed, socket.subprotocol) == ((NORMAL, ""), "echo")


@pytest.mark.parametrize(
    ("message", "code", "error"), [("fail", 1013, "rate_limit_exceeded"), ("crash", 1011, None)]
)
def test_error_is_sent_and_closes_the_connection(message, code, error):
    metrics = Metrics()
    socket = session({"text": message}, metrics=metrics)
    assert socket.closed is not None
    assert socket.closed[0] == code
    assert json.loads(socket.sent[-1])["error"] == (error or "internal_error")
    assert ("wheatear_errors_total{" in metrics.text().decode()) == (error is None)


def test_idle_client_is_disconnected():
    socket = session(idle_seconds=0.2)
    assert socket.closed is not None
    assert socket.closed == (1008, "nothing has come for 0.2 s")
    assert json.loads(socket.sent[-1]) == {"error": "idle"}


def test_client_that_leaves_ends_the_session():
    assert session({"type": "websocket.disconnect", "code": 1001}).closed == (NORMAL, "")


def test_draining_server_opens_no_session():
    async def main() -> None:
        draining = asyncio.Event()
        draining.set()
        socket: Any = FakeSocket()
        connection = Connection(socket, Settings(), Metrics(), draining)
        with pytest.raises(ApiError, match="shutting down"):
            await connection.run(Echo(connection))

    asyncio.run(main())


def test_client_that_is_gone_before_the_session_is_no_error():
    class Gone(FakeSocket):
        async def accept(self, subprotocol: str | None) -> None:
            raise OSError

    async def main() -> None:
        socket: Any = Gone()
        connection = Connection(socket, Settings(), Metrics(), asyncio.Event())
        with pytest.raises(WebSocketDisconnect):
            await connection.run(Echo(connection))

    asyncio.run(main())
