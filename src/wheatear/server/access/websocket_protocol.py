"""WebSockets of clients that nobody knows yet: uvicorn's protocol, held to limits.

Frames are taken one at a time, so that a great many small ones do not keep the event loop from
other connections, and all that a connection holds comes out of a store that they share.
"""

import asyncio
import select
from typing import Any, Literal

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request

from wheatear.server.access.frame_splitter import FrameSplitter
from wheatear.server.access.limits import TokenBucket
from wheatear.server.access.message_buffers import OWN_BYTES, Share
from wheatear.server.access.middleware import LARGE_MESSAGE_BYTES
from wheatear.server.api_errors import no_room

_LEAST_READ = 16_384  # bytes of what it is sent that a client reads in `send_seconds`
_SMALL = 512  # bytes of a fragment that is hardly worth its head
_SMALL_FRAMES_PER_SECOND = (
    20.0  # pings, pongs and small fragments a second, on the average of ten seconds
)
_LONGEST_REASON = 120  # bytes that a close frame has room for
_PROBE = Frame(Opcode.PING, b"").serialize(mask=False)
_HUNG_UP = getattr(select, "POLLRDHUP", 0)
_REST_SECONDS = 5.0  # that a socket which has been closed still reads, so that its reason is read


class Patient(asyncio.Protocol):
    """Lets a client go that does not read what it is sent."""

    config: Any
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=0)  # tells of all that is not read at once
        if self.transport.get_write_buffer_size():
            self.pause_writing()

    @property
    def ours(self) -> Any:
        """The configuration, which is not just any of uvicorn's."""
        return self.config

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look_later(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._forget_unread()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_unread()
        super().connection_lost(exc)

    def _look_later(self, size: int) -> None:
        self._forget_unread()
        self._unread = self.loop.call_later(self.ours.limits.send_seconds, self._look, size)

    def _look(self, before: int) -> None:
        size = self.transport.get_write_buffer_size()
        if before - size < _LEAST_READ:
            self.transport.abort()
        else:
            self._look_later(size)

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class PacedWebSocketProtocol(Patient, WebSocketsSansIOProtocol):
    """A WebSocket whose frames are taken a few at a time, and no more of them than may come.

    All that has come and has not been dealt with counts as held: bytes that were not looked at,
    an unfinished frame and message, and the message that the application has.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        most = self.ours.limits.messages_per_second
        self._rate = TokenBucket(most, most)
        self._trifles = TokenBucket(_SMALL_FRAMES_PER_SECOND, 10 * _SMALL_FRAMES_PER_SECOND)
        self._held = bytearray()
        """What has come and has not been looked at."""
        self._splitter = FrameSplitter(self.config.ws_max_size)
        self._message = bytearray()
        """The fragments of an unfinished message."""
        self._whole = 0
        """Bytes of messages that are complete and not dealt with."""
        self._given = 0
        """Those of the message that the application has."""
        self._size = 0
        """Bytes that are held, or a few more."""
        self._share = Share(self.ours.buffers, "")
        self._later: asyncio.TimerHandle | None = None
        """When more is taken."""
        self._lost = self._half_closed = self._drops = False
        """True once the connection is gone; the client has shut its sending side; what it still
        sends is dropped."""

    def data_received(self, data: bytes) -> None:
        if self._drops:
            return
        self._held += data
        self._size += len(data)
        if self._size <= self._share.room or self._fits():
            self._take()

    def _fits(self) -> bool:
        """True if there is room for what is held; else the socket is closed."""
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
        """Keeps the connection open for what the client is still owed; what it has sent before
        this ends its stream."""
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
            self.scope["state"] |= {"gone": self._has_gone, "buffers": self.ours.buffers}

    async def receive(self) -> Any:
        self._whole -= self._given  # the message before has been dealt with
        self._given = 0
        if self._share.room > OWN_BYTES:
            self._fits()
        message = await self.queue.get()
        self._given = self._whole  # never more than one waits
        self.read_paused = not self.queue.empty()
        self._take()
        await asyncio.sleep(0)  # whatever else has come, others have their turn
        return message

    async def send(self, message: Any) -> None:
        if self._drops:
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.close":
            self._take()  # the client's own close may be among it
        elif message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # which uvicorn takes for a fault otherwise

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._later is not None:
            self._later.cancel()
        self._forget()
        self.conn.parser.close()
        super().connection_lost(exc)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self.scope["state"].clear()  # it leads back here

    def _forget(self) -> None:
        """Lets go of all that has come and is not a whole message."""
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
        """Hands a message to the application, and takes no other one until it asks for it."""
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
        self._trifles.spend(1)
        if not self._drops:
            super().handle_ping()

    def handle_parser_exception(self) -> None:
        """Sends the close frame, and for a moment reads on: a client that is still sending would
        find a broken connection, and not the reason."""
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
        """Looks at what has come, up to the next message, as far as it is time."""
        while self._held and self._later is None and not self.read_paused:
            if self.transport.is_closing():
                self._forget()
                return
            if not self.handshake_initiated:
                super().data_received(bytes(self._held))
                self._held.clear()
                if not self.handshake_initiated:
                    self.transport.close()  # this was to be a handshake, and all of it
            elif (piece := self._splitter.next_piece(self._held)) is None:
                break
            else:
                super().data_received(piece)
                if self._trifles.spend(0):
                    self._fail(1008, "too many frames that bring nothing")
        if self._held and (self.read_paused or self._later is not None):
            self.transport.pause_reading()
        elif not self.read_paused:
            self.transport.resume_reading()

    def _count(self, frame: Frame) -> None:
        """A frame has come; if it is one too many, the next ones wait."""
        if frame.opcode is Opcode.PONG or (len(frame.data) < _SMALL and not frame.fin):
            self._trifles.spend(1)
        else:
            wait = self._rate.spend(frame.fin + len(frame.data) / LARGE_MESSAGE_BYTES)
            if wait and self._later is None:
                self._later = self.loop.call_later(wait, self._go_on)

    def _go_on(self) -> None:
        self._later = None
        self._take()

    def _fail(self, code: int, reason: str) -> None:
        if not (self._drops or self.transport.is_closing()):
            self.conn.fail(code, reason[:_LONGEST_REASON])
            self.handle_parser_exception()

    def _has_gone(self) -> bool:
        """True if the client has gone, even if much that it sent has not been read.

        One that has only shut its sending side takes what it is sent; a ping finds that out.
        """
        if self._lost or self.transport.is_closing():
            return True
        looks = select.poll()
        looks.register(self.transport.get_extra_info("socket"), _HUNG_UP)
        if (found := looks.poll(0)) and not self.close_sent:
            self.transport.write(_PROBE)
        return bool(found) and bool(found[0][1] & (select.POLLHUP | select.POLLERR))
