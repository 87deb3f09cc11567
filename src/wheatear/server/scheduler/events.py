"""Events of a scheduled stream: those of the transcript, and the ends of its parts."""

from dataclasses import dataclass

from wheatear.transcript.results import Event


@dataclass(frozen=True, slots=True)
class Flushed:
    """All events of the audio before a `flush_and_reset` or `discard` have been emitted."""

    duration: float
    """Seconds of audio before it."""


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """All events of the audio before `finish` have been emitted; nothing follows."""

    duration: float
    language: str | None


@dataclass(frozen=True, slots=True)
class StreamFailed:
    """The stream has ended with an error; nothing follows."""

    error: Exception


FeedEvent = Event | Flushed | StreamEnded | StreamFailed
