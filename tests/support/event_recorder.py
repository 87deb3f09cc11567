"""A listener of a scheduled stream that keeps all events."""

import threading
from collections.abc import Sequence

from wheatear.server.scheduler.events import FeedEvent, StreamEnded, StreamFailed
from wheatear.transcript.results import Final, Token


class EventRecorder:
    """Keeps events, and reports the end of the stream."""

    def __init__(self) -> None:
        self.events: list[FeedEvent] = []
        self._over = threading.Event()

    def __call__(self, events: Sequence[FeedEvent]) -> None:
        self.events += events
        if any(isinstance(event, StreamEnded | StreamFailed) for event in events):
            self._over.set()

    def wait(self) -> "EventRecorder":
        """Waits until the stream has ended."""
        assert self._over.wait(60), "the stream has not ended"
        return self

    @property
    def finals(self) -> list[Final]:
        return [event for event in self.events if isinstance(event, Final)]

    @property
    def tokens(self) -> list[Token]:
        return [token for final in self.finals for token in final.tokens]
