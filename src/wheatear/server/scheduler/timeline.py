"""Scheduler thread's side of a stream: its events on one time line, and when they are due."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from wheatear.audio.mel import FRAME_MS
from wheatear.audio.samples import Samples
from wheatear.decoder.boosting import BoostingTree
from wheatear.recognizer.options import StreamOptions
from wheatear.recognizer.recognizer import Recognizer
from wheatear.recognizer.stream import Stream
from wheatear.server.scheduler.events import FeedEvent, Flushed, StreamEnded
from wheatear.transcript.results import Event, Final, Turn, shifted

_AHEAD_S = 1.0
"""Seconds that a stream may be ahead of the pace of speech, as networks are uneven."""


@dataclass(slots=True)
class Command:
    """Samples or an order, in the order in which a client gave them."""

    kind: Literal["samples", "switch", "flush", "discard", "finish", "cancel"]
    samples: Samples | None = None
    arrived: float = 0.0
    """Time of arrival, by the monotonic clock."""
    change: dict[str, Any] = field(default_factory=dict)
    """Options of the stream from then on."""
    discarded_s: float = 0.0
    """Seconds of audio that were discarded."""
    tree: BoostingTree | None = None
    """Compiled phrases of a change, held so that they are not compiled again."""


class Timeline:
    """The streams behind one scheduled stream, one after another, with continuous times."""

    def __init__(self, recognizer: Recognizer, options: StreamOptions) -> None:
        self._recognizer, self._options = recognizer, replace(options, keep=False)
        self.stream: Stream = recognizer.stream(self._options)
        self.ending: Literal["flush", "finish"] | None = None
        """Reason for which the present stream ends."""
        self.arrived = 0.0
        """Time of arrival of the newest audio."""
        self._switched = False
        """True after a switch, until more audio or the end follows: a switch computes nothing."""
        self._offset_s, self._turns = 0.0, 0
        """Seconds and turns before the present stream."""
        self._turn_number = 0
        """Turns of the present stream."""
        self._language: str | None = None

    def frames_ready(self, chunks: int) -> int:
        """Returns the encoder frames of the next step, after silence that needs no step."""
        if self._switched:
            return 0
        engine, stream = self.stream.engine, self.stream
        for step in engine.skip_silence(stream.state, chunks):
            stream.receive(step)
        return engine.ready(stream.state, chunks)

    def samples_needed(self, chunks: int) -> int:
        """Returns the samples that are missing for a step."""
        return self.stream.engine.samples_needed(self.stream.state, chunks)

    def apply(self, command: Command) -> list[FeedEvent]:
        """Applies a command, and returns the events that follow from it at once."""
        self._switched = command.kind == "switch"
        match command.kind:
            case "samples" if command.samples is not None:
                self.stream.feed(command.samples)
                self.arrived = command.arrived
            case "switch":
                change = dict(command.change)
                if (turns := change.pop("turns", None)) is not None:
                    self.stream.turns = turns
                self.stream.switch(**change)
                self._options = replace(self._options, **command.change)
            case "flush" | "finish":
                self.ending, self.arrived = command.kind, command.arrived
                self.stream.end_input()
            case "discard":
                return self._restart(self.stream.duration + command.discarded_s)
        return []

    def end_stream(self) -> list[FeedEvent]:
        """Finishes the present stream, all of which has been computed."""
        self.stream.finish()
        events = self.placed(self.stream.last_events)
        ending, self.ending = self.ending, None
        if ending == "flush":
            return [*events, *self._restart(self.stream.duration)]
        return [*events, StreamEnded(self._offset_s + self.stream.duration, self._language)]

    def take_events(self) -> list[FeedEvent]:
        """Returns the new events of the present stream."""
        return self.placed(self.stream.take_events())

    def placed(self, events: Sequence[Event]) -> list[FeedEvent]:
        """Returns events with times and turn numbers of the whole time line."""
        for event in events:
            if isinstance(event, Turn):
                self._turn_number = max(self._turn_number, event.number)
            if isinstance(event, Final):
                self._language = event.language
        return [shifted(event, self._offset_s, self._turns) for event in events]

    def _restart(self, seconds: float) -> list[FeedEvent]:
        """Continues with a fresh stream, after `seconds` of audio in the present one."""
        self._offset_s += seconds
        self._turns += self._turn_number
        self._turn_number = 0
        self.stream = self._recognizer.stream(self._options)
        return [Flushed(self._offset_s)]


class Pace:
    """Due times of the chunks of one stream."""

    def __init__(self, now: float) -> None:
        self.served = now
        """Time of the last step."""
        self.frames = 0
        """Encoder frames of the chunk that is ready; 0 if none is."""
        self.arrived = self.due = 0.0
        """Time of arrival of that chunk, and the time from which it may be computed."""
        self._speech_time = 0.0
        """Time of arrival of the chunk at the pace of speech."""

    def set_due(self, arrived: float) -> None:
        """Sets the due time of a chunk: of a stream that is ahead, the pace of speech counts."""
        paced = self._speech_time + self.frames * FRAME_MS / 1000
        self._speech_time = max(arrived - _AHEAD_S, paced)
        self.arrived, self.due = arrived, max(arrived, self._speech_time)

    @property
    def deadline(self) -> float:
        """Time at which the events of the chunk are to be out."""
        return self.due + self.frames * FRAME_MS / 1000

    @property
    def is_paced(self) -> bool:
        """True if the chunk did not come faster than speech."""
        return self.due <= self.arrived
