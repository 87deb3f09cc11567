"""TCP connections of Wyoming: reads whole events, within the limits of sockets.

The protocol has no keys and no encryption.  A connection takes a slot of live streams with its
first audio; without one it may be closed in favor of others.
"""

import asyncio
import logging
import socket
import time
import uuid
from contextlib import ExitStack, suppress
from typing import Any, cast

from starlette.websockets import WebSocket
from wyoming.error import Error

from wheatear.server.access.credentials import anonymous_client
from wheatear.server.access.limits import LARGE_MESSAGE_BYTES, TokenBucket
from wheatear.server.access.listener import Acceptor, SlotQueue
from wheatear.server.access.message_buffers import Share
from wheatear.server.access.slow_clients import MESSAGES_PER_SECOND
from wheatear.server.access.websocket_protocol import MESSAGE_BYTES
from wheatear.server.api_errors import ApiError, no_room
from wheatear.server.background import set_caller
from wheatear.server.protocols.wyoming import WyomingHandler
from wheatear.server.protocols.wyoming_events import Sizes, decode, encode
from wheatear.server.service import Service
from wheatear.server.session.connection import Connection
from wheatear.server.session.json_messages import MAX_JSON_CHARACTERS
from wheatear.server.session.protocol_handler import NORMAL

_log = logging.getLogger("wheatear.access")

_MAX_HEAD_BYTES = 1 << 16  # of an event's first line
_FREE_JSON_BYTES, _JSON_BYTES_PER_MESSAGE = 1024, 512
_CLOSE_SECONDS = 2.0  # that a rejected client may take to disconnect


class EventConnection:
    """A TCP connection with the interface of a WebSocket whose messages are events."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, share: Share
    ) -> None:
        self._reader, self._writer = reader, writer
        self._share = share
        self._rate = TokenBucket(MESSAGES_PER_SECOND, MESSAGES_PER_SECOND)
        gone = cast("_StreamProtocol", writer.transport.get_protocol()).gone
        self.scope: dict[str, Any] = {
            "state": {"request_id": f"req_{uuid.uuid4().hex}", "gone": gone.is_set}
        }

    async def accept(self, subprotocol: str | None = None) -> None:
        """Does nothing: the protocol has no handshake."""

    async def receive(self) -> dict[str, Any]:
        """Returns the next event, whole.  Raises ApiError for an invalid or too large one."""
        self._share.release()  # of the event before
        try:
            line = await self._reader.readuntil(b"\n")
            sizes = decode(line, Sizes, "event")
            data, payload = sizes.data_length or 0, sizes.payload_length or 0
            self._check_size(data, payload)
            json_bytes = max(0, len(line) + data - _FREE_JSON_BYTES)
            cost = 1 + json_bytes / _JSON_BYTES_PER_MESSAGE + payload / LARGE_MESSAGE_BYTES
            await asyncio.sleep(self._rate.spend(cost))  # 0 s still lets other tasks run
            rest = await self._reader.readexactly(data + payload)
        except asyncio.LimitOverrunError as error:
            raise ApiError(
                413, f"an event begins with a line of {_MAX_HEAD_BYTES} bytes at most"
            ) from error
        except asyncio.IncompleteReadError:
            return {"type": "websocket.disconnect", "half_closed": True}
        except ConnectionError:
            return {"type": "websocket.disconnect"}
        return {"type": "websocket.receive", "bytes": line + rest}

    def _check_size(self, data: int, payload: int) -> None:
        """Raises ApiError if an event is too large or memory is short."""
        if data > MAX_JSON_CHARACTERS:
            raise ApiError(413, f"data of {data} bytes; {MAX_JSON_CHARACTERS} are the most")
        if (size := data + payload) > MESSAGE_BYTES:
            raise ApiError(413, f"an event of {size} bytes; {MESSAGE_BYTES} are the most")
        if not self._share.holds(size):
            raise no_room()

    async def send_text(self, message: str) -> None:
        """Sends an event."""
        self._writer.write(message.encode())
        await self._writer.drain()

    async def close(self, code: int = NORMAL, reason: str | None = None) -> None:
        """Ends sending and waits for the client to disconnect.

        Input is discarded until then: closing a socket with unread input loses the last events.
        """
        transport = cast("asyncio.Transport", self._writer.transport)
        if not (transport.is_closing() or self._reader.at_eof()):
            transport.set_protocol(ending := _DiscardProtocol())
            transport.resume_reading()
            transport.write_eof()
            await ending.gone.wait()


class _StreamProtocol(asyncio.StreamReaderProtocol):
    """Sets an event when the client disconnects, also while no task reads."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.gone = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(exc)


class _DiscardProtocol(asyncio.Protocol):
    """Drops input and sets an event when the client disconnects."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    def eof_received(self) -> bool:
        self.gone.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()


async def serve(service: Service, listener: socket.socket, max_connections: int) -> Acceptor:
    """Accepts connections until the acceptor is closed."""
    queue = SlotQueue(max_connections)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _run(service, queue, reader, writer)

    def protocol() -> _StreamProtocol:
        return _StreamProtocol(asyncio.StreamReader(limit=_MAX_HEAD_BYTES), connected)

    acceptor = Acceptor(listener, protocol, queue.room)
    await acceptor.start()
    return acceptor


async def _run(
    service: Service, queue: SlotQueue, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Runs a connection to its end."""
    transport = cast("asyncio.Transport", writer.transport)
    began = time.perf_counter()
    client = anonymous_client((writer.get_extra_info("peername") or ("nobody",))[0])
    share = Share(service.buffers, client.name)
    events = EventConnection(reader, writer, share)
    events.scope["state"] |= {
        "pace": service.concurrency.message_rate(client), "client": client,
        "buffers": service.buffers,
    }  # fmt: skip
    set_caller(client.name)
    slot = ExitStack()

    def take_slot() -> None:
        if not queue.has_slot(transport):
            slot.enter_context(service.concurrency.hold("streams", client))
            queue.give_slot(transport)

    queue.enter(transport, client.name)
    try:
        with slot:
            socket = cast("WebSocket", events)
            connection = Connection(socket, service.settings, service.metrics, service.draining)
            await connection.run(WyomingHandler(connection, service.models, take_slot))
    except ApiError as error:
        service.metrics.refused.labels(error.reason).inc()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await events.send_text(encode(Error(error.message, error.code)))
                await events.close()
    finally:
        share.release()
        queue.leave(transport)
        writer.close()
        asyncio.get_running_loop().call_later(_CLOSE_SECONDS, writer.transport.abort)
        _log.info(
            "WYOMING", extra={
                "request_id": events.scope["state"]["request_id"], "holder": client.name,
                "seconds": round(time.perf_counter() - began, 4),
            },
        )  # fmt: skip
