"""Base class of the protocols: the messages of one connection, and its stream."""

import math
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from wheatear.audio.pcm import PcmDecoder
from wheatear.recognizer.options import StreamOptions
from wheatear.server.api_errors import SOCKET_CODES, ApiError
from wheatear.server.scheduler.events import FeedEvent
from wheatear.server.served_models import ServedModel
from wheatear.server.session.live_stream import LiveStream
from wheatear.server.session.utterance import Utterance

if TYPE_CHECKING:
    from wheatear.server.session.connection import Connection

NORMAL, GOING_AWAY = 1000, 1001
"""Close codes."""
AnyUtterance = TypeVar("AnyUtterance", bound=Utterance)


class ProtocolHandler(ABC, Generic[AnyUtterance]):
    """Handles the messages and events of one connection; each protocol is a subclass."""

    wire: str
    """Name of the protocol in the metrics."""
    protocols: tuple[str, ...] = ()
    """Accepted WebSocket subprotocols."""
    idle_seconds = math.inf
    """Maximum time without a message, if the protocol defines one."""

    def __init__(self, connection: "Connection") -> None:
        self.connection = connection
        self.live: LiveStream | None = None
        """The stream, once it is open."""
        self.stopped = False
        """True once no more audio is taken."""
        self.pending: deque[AnyUtterance | None] = deque()
        """Utterances that end with each `Flushed` to come; None for discarded audio."""

    @property
    def stream(self) -> LiveStream:
        """The stream.  Raises ApiError before it is open."""
        if self.live is None:
            raise ApiError(400, "the stream has not begun")
        return self.live

    async def open_stream(
        self, model: ServedModel, pcm: PcmDecoder, options: StreamOptions
    ) -> None:
        """Opens the stream of the connection, in place of an earlier one.

        Raises anything that opening a stream raises.
        """
        limits = self.connection.settings.limits
        live = await LiveStream.open(model, pcm, limits, options)
        former, self.live = self.live, live
        if former is not None:
            former.cancel()  # now, so that the task which waits for its events finds the new one
        self.connection.stream_opened()

    def end_utterance(self, utterance: AnyUtterance) -> None:
        """Ends an utterance with the audio received; `Flushed` follows its last event.

        Raises ApiError if clients do so too often.
        """
        self.stream.flush_and_reset()
        self.pending.append(utterance)

    def discard_audio(self) -> None:
        """Discards the audio since the last boundary, and the events about it.

        Raises ApiError if clients do so too often.
        """
        self.stream.discard()
        self.pending.append(None)

    @property
    def discarding(self) -> bool:
        """True while events are about discarded audio."""
        return bool(self.pending) and self.pending[0] is None

    def stop(self) -> None:
        """Ends the stream after the audio received, and emits the rest of its events."""
        if self.stopped:
            return
        self.stopped = True
        if self.live is not None:
            self.live.finish()
        else:
            self.connection.close(NORMAL)

    def check_request(self) -> None:
        """Checks the request before the connection opens; an exception is its HTTP answer."""

    @abstractmethod
    async def on_open(self) -> None:
        """Starts the session.  Raises ApiError, or anything that opening a stream raises."""

    @abstractmethod
    async def on_text(self, message: str) -> None:
        """Handles a text message."""

    @abstractmethod
    async def on_bytes(self, data: bytes) -> None:
        """Handles a binary message."""

    @abstractmethod
    def on_event(self, item: FeedEvent) -> None:
        """Sends the messages for an event of the stream."""

    @abstractmethod
    def on_error(self, error: ApiError) -> None:
        """Sends an error that ends the session."""

    def close_reason(self, error: ApiError) -> tuple[int, str]:
        """Returns the code and the reason that close the connection after an error."""
        return SOCKET_CODES.get(error.status, 1008), error.message

    def on_disconnect(self) -> None:
        """Handles the end of the connection."""
