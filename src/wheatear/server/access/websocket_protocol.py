"""uvicorn's WebSocket protocol with a message rate and bounded memory.

Frames are parsed one at a time, so that many small ones do not block the event loop.  The memory
of all connections comes from one pool.
"""

import asyncio
import select
from typing import Any, Literal

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request

from wheatear.server.access.frame_splitter import FrameSplitter
from wheatear.server.access.limits import LARGE_MESSAGE_BYTES, TokenBucket
from wheatear.server.access.message_buffers import OWN_BYTES, Share
from wheatear.server.access.slow_clients import SlowClientProtocol
from wheatear.server.api_errors import no_room

MESSAGE_BYTES = 20 << 20
"""Bytes of one message."""
_SMALL = 512  # bytes of a fragment that costs more than it brings
_SMALL_FRAMES_PER_SECOND = (
    20.0  # pings, pongs and small fragments a second, on the average of ten seconds
)
_MAX_REASON = 120  # bytes of a close frame's reason
_PROBE = Frame(Opcode.PING, b"").serialize(mask=False)
_HUNG_UP = getattr(select, "POLLRDHUP", 0)
_REST_SECONDS = 5.0  # in which a closed socket still reads, so that the client reads the reason


class PacedWebSocketProtocol(SlowClientProtocol, WebSocketsSansIOProtocol):
    """WebSocket whose messages are parsed at a limited rate.

    Held bytes have arrived and are not processed yet: unparsed bytes, an unfinished frame and
    message, and the application's current message.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        rate = self.settings.messages_per_second
        self._rate = TokenBucket(rate, rate)
        self._small_frames = TokenBucket(_SMALL_FRAMES_PER_SECOND, 10 * _SMALL_FRAMES_PER_SECOND)
        self._held = bytearray()
        """Bytes that are not parsed."""
        self._splitter = FrameSplitter(self.config.ws_max_size)
        self._message = bytearray()
        """The fragments of an unfinished message."""
        self._whole = 0
        """Bytes of complete messages that are not processed."""
        self._given = 0
        """Bytes of the message that the application has."""
        self._size = 0
        """Bytes that are held, or a few more."""
        self._share = Share(self.settings.buffers, "")
        self._later: asyncio.TimerHandle | None = None
        """Timer after which more is parsed."""
        self._lost = self._half_closed = self._drops = False
        """True once the connection is lost; the client has shut its sending side; its data is
        dropped."""

    def data_received(self, data: bytes) -> None:
        if self._drops:
            return
        self._held += data
        self._size += len(data)
        if self._size <= self._share.room or self._fits():
            self._take()

    def _fits(self) -> bool:
        """True if memory suffices for the held bytes; otherwise the socket is closed."""
        parsed = len(self._message) + len(self.conn.reader.buffer)
        self._size = len(self._held) + parsed + self._whole
        if not self._share.owner:
            client = self.scope["state"].get("client")
            self._share.owner = client.name if client else str((self.client or ("",))[0])
        if self._share.holds(self._size):
            return True
        self._fail(1013, no_room().message)
        return False

    def eof_received(self) -> Any:  # uvicorn's returns None
        """Keeps the connection open for the rest of the answer, and ends the client's stream."""
        if not self.handshake_initiated or self.close_sent or self.transport.is_closing():
            return False
        if not self._half_closed:
            self._half_closed = True
            self._forget()
            last: Any = {"type": "websocket.disconnect", "code": 1006, "half_closed": True}
            self.queue.put_nowait(last)
        return True

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope["state"] |= {"gone": self._is_gone, "buffers": self.settings.buffers}

    async def receive(self) -> Any:
        self._whole -= self._given  # the previous message has been processed
        self._given = 0
        if self._share.room > OWN_BYTES:
            self._fits()
        message = await self.queue.get()
        self._given = self._whole  # never more than one waits
        self.read_paused = not self.queue.empty()
        self._take()
        await asyncio.sleep(0)  # lets other tasks run
        return message

    async def send(self, message: Any) -> None:
        if self._drops:
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.close":
            self._take()  # the client's own close may be among it
        elif message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # otherwise uvicorn reports an error

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._later is not None:
            self._later.cancel()
        self._forget()
        self.conn.parser.close()
        super().connection_lost(exc)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self.scope["state"].clear()  # refers to this connection

    def _forget(self) -> None:
        """Drops all data that is not a complete message."""
        self._held.clear()
        self._message.clear()
        self.conn.reader.discard()
        if self._lost or self._drops:
            while not self.queue.empty():
                self.queue.get_nowait()
            self._whole = self._given = 0
            self._share.release()

    def handle_text(self, event: Frame) -> None:
        self._begin("text", event)

    def handle_bytes(self, event: Frame) -> None:
        self._begin("bytes", event)

    def _begin(self, kind: Literal["text", "bytes"], event: Frame) -> None:
        self._count(event)
        self.curr_msg_data_type = kind
        if event.fin:
            self._deliver(bytes(event.data))
        else:
            self._message += event.data

    def handle_cont(self, event: Frame) -> None:
        self._count(event)
        self._message += event.data
        if event.fin:
            data, self._message = self._message, bytearray()
            self._deliver(data)

    def _deliver(self, data: bytes | bytearray) -> None:
        """Queues a message for the application; the next one waits until it is requested."""
        if self.close_sent:
            return
        self._whole += len(data)
        message: Any = {"type": "websocket.receive", "bytes": data}
        if self.curr_msg_data_type == "text":
            if len(data) > OWN_BYTES and not data.isascii():  # a character may take four bytes
                self._whole += 3 * len(data)
                if not self._fits():
                    return
            try:
                message = {"type": "websocket.receive", "text": data.decode()}
            except UnicodeDecodeError:
                self._fail(1007, "the text is not UTF-8")
                return
        self.queue.put_nowait(message)
        self.read_paused = True  # the transport is paused when more comes, which is seldom

    def handle_pong(self, event: Frame) -> None:
        self._count(event)
        super().handle_pong(event)

    def handle_ping(self) -> None:
        self._small_frames.spend(1)
        if not self._drops:
            super().handle_ping()

    def handle_parser_exception(self) -> None:
        """Sends the close frame and reads on for a moment.

        A client that is still sending would find a broken connection instead of the reason.
        """
        close = self.conn.close_sent
        last: Any = {"type": "websocket.disconnect", "code": 1006}
        if close is not None:
            last |= {"code": close.code, "reason": close.reason}
        self._drops = self.close_sent = self.handshake_complete = True
        self._forget()
        self.queue.put_nowait(last)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.write_eof()
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(_REST_SECONDS, self.transport.close)

    def _take(self) -> None:
        """Parses held bytes, up to the next message and as far as the rate allows."""
        while self._held and self._later is None and not self.read_paused:
            if self.transport.is_closing():
                self._forget()
                return
            if not self.handshake_initiated:
                super().data_received(bytes(self._held))
                self._held.clear()
                if not self.handshake_initiated:
                    self.transport.close()  # these bytes had to be a complete handshake
            elif (piece := self._splitter.next_piece(self._held)) is None:
                break
            else:
                super().data_received(piece)
                if self._small_frames.spend(0):
                    self._fail(1008, "too many frames that bring nothing")
        if self._held and (self.read_paused or self._later is not None):
            self.transport.pause_reading()
        elif not self.read_paused:
            self.transport.resume_reading()

    def _count(self, frame: Frame) -> None:
        """Counts a frame; one above the rate makes the next ones wait."""
        if frame.opcode is Opcode.PONG or (len(frame.data) < _SMALL and not frame.fin):
            self._small_frames.spend(1)
        else:
            wait = self._rate.spend(frame.fin + len(frame.data) / LARGE_MESSAGE_BYTES)
            if wait and self._later is None:
                self._later = self.loop.call_later(wait, self._resume)

    def _resume(self) -> None:
        self._later = None
        self._take()

    def _fail(self, code: int, reason: str) -> None:
        if not (self._drops or self.transport.is_closing()):
            self.conn.fail(code, reason[:_MAX_REASON])
            self.handle_parser_exception()

    def _is_gone(self) -> bool:
        """True if the client is gone, even while data of it is unread.

        A client that has only shut its sending side still receives; a ping distinguishes them.
        """
        if self._lost or self.transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), _HUNG_UP)
        if (found := poll.poll(0)) and not self.close_sent:
            self.transport.write(_PROBE)
        return bool(found) and bool(found[0][1] & (select.POLLHUP | select.POLLERR))
