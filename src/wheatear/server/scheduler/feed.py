"""One stream of a scheduler, as any thread sees it: an inbox of samples and commands."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples, SamplesLike, as_samples
from wheatear.decoder.boosting import Phrase, as_phrases
from wheatear.errors import StreamClosedError
from wheatear.recognizer.options import StreamOptions
from wheatear.recognizer.recognizer import Recognizer
from wheatear.server.scheduler.admission import Admission
from wheatear.server.scheduler.events import FeedEvent, StreamFailed
from wheatear.server.scheduler.timeline import Command, Pace, Timeline
from wheatear.transcript.turns import TurnRules

_log = logging.getLogger(__name__)

_BLOCK = SAMPLE_RATE
"""Samples of one command; longer input is split, so that a step does not wait for all of it."""

Listener = Callable[[Sequence[FeedEvent]], None]


class Inbox:
    """Commands that wait for the scheduler, in order; safe to use from any thread."""

    def __init__(self) -> None:
        self._commands: deque[Command] = deque()
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._samples = 0
        """Samples that wait."""
        self._sealed = self._closed = False
        """True once no more is taken; once nothing more will be computed."""

    @property
    def closed(self) -> bool:
        """True once no more samples will be computed."""
        return self._closed

    @property
    def samples(self) -> int:
        """Samples that wait."""
        return self._samples

    @property
    def phrase_changes(self) -> int:
        """Changes of phrases that wait."""
        with self._lock:
            return sum(command.tree is not None for command in self._commands)

    def put(self, *commands: Command, before: Callable[[], None] = lambda: None) -> None:
        """Appends commands; the last one may be a finish, after which nothing is taken.

        Args:
            before: Called first, under the lock; nothing is appended if it raises.

        Raises:
            StreamClosedError: If no more is taken.
        """
        with self._lock:
            self._check_open()
            before()
            for command in commands:
                self._samples += 0 if command.samples is None else len(command.samples)
                self._sealed = command.kind == "finish"
                self._commands.append(command)

    def discard(self) -> None:
        """Removes the samples since the last flush, and appends a discard in their place."""
        with self._lock:
            self._check_open()
            waiting = list(self._commands)
            boundaries = (n for n, c in enumerate(waiting) if c.kind in ("flush", "discard"))
            start = max(boundaries, default=-1) + 1
            removed = sum(len(c.samples) for c in waiting[start:] if c.samples is not None)
            kept = [*waiting[:start], *(c for c in waiting[start:] if c.samples is None)]
            self._samples -= removed
            discard = Command("discard", discarded_s=removed / SAMPLE_RATE)
            self._commands = deque([*kept, discard])
            self._room.notify_all()

    def cancel(self) -> bool:
        """Replaces all that waits by a cancel; False if the stream is over already."""
        with self._lock:
            self._sealed = True
            if self._closed:
                return False
            self._commands = deque([Command("cancel")])
            return True

    def close(self) -> bool:
        """Closes and empties the inbox; returns False if it was closed already."""
        with self._room:
            if self._closed:
                return False
            self._sealed = self._closed = True
            self._commands.clear()
            self._samples = 0
            self._room.notify_all()
            return True

    def take(self, needed: int) -> Command | None:
        """Returns the next command; neighboring samples as one, once there are enough.

        Args:
            needed: Samples to wait for, unless another command follows them.
        """
        with self._lock:
            blocks: list[Samples] = []
            count, arrived = 0, 0.0
            for command in self._commands:
                if command.samples is None or (blocks and count >= needed):
                    break
                blocks.append(command.samples)
                count, arrived = count + len(command.samples), command.arrived
            if not blocks:
                return self._commands.popleft() if self._commands else None
            if count < needed and len(blocks) == len(self._commands):
                return None
            for _ in blocks:
                self._commands.popleft()
            self._samples -= count
            self._room.notify_all()
        together = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        return Command("samples", together, arrived)

    def wait_for_room(self, samples: float, timeout: float | None) -> bool:
        """Waits until fewer samples wait, or the inbox is closed; False after the timeout."""
        with self._room:
            return self._room.wait_for(lambda: self._closed or self._samples < samples, timeout)

    def _check_open(self) -> None:
        if self._sealed or self._closed:
            raise StreamClosedError("this stream has ended; open a new one for more audio")


class ScheduledStream:
    """One stream of a scheduler; its public methods return at once, from any thread.

    The listener is called on the scheduler's thread and must not wait.  `timeline`, `pace`,
    `prepare`, `emit`, `fail` and `close` belong to that thread.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        options: StreamOptions,
        listener: Listener,
        live: bool,
        admission: Admission,
        wake: Callable[["ScheduledStream"], None],
        leave: Callable[["ScheduledStream"], None],
    ) -> None:
        """Opens the stream.

        Args:
            recognizer: The recognizer of the scheduler.
            options: Options of the stream.
            listener: Receives events.
            live: True if a chunk is to be out in time; False for a file.
            admission: Admission of a switch to another latency.
            wake: Reports a stream with something to do.
            leave: Reports a stream that is over.
        """
        self._recognizer, self._listener, self.live = recognizer, listener, live
        self._admission, self._wake, self._leave = admission, wake, leave
        self.timeline = Timeline(recognizer, options)
        self.pace = Pace(time.monotonic())
        stream = self.timeline.stream
        self._language, self._latency_ms = stream.language, stream.latency_ms
        self._inbox = Inbox()
        self.seconds = 0.0
        """Seconds of audio that were pushed."""

    @property
    def latency_ms(self) -> int:
        """Latency as of the last switch, even if that has not been reached."""
        return self._latency_ms

    @property
    def language(self) -> str:
        """Requested language as of the last switch."""
        return self._language

    @property
    def over(self) -> bool:
        """True if all events have been emitted, or no more will be."""
        return self._inbox.closed

    @property
    def backlog_s(self) -> float:
        """Seconds of audio that have not been computed."""
        return self._inbox.samples / SAMPLE_RATE

    @property
    def phrase_changes(self) -> int:
        """Changes of phrases that wait for the audio before them."""
        return self._inbox.phrase_changes

    def push(self, samples: SamplesLike) -> None:
        """Takes 16 kHz mono samples, float32 or int16.

        Raises:
            AudioError: For invalid samples.
            StreamClosedError: If the stream has ended.
        """
        checked = as_samples(samples)
        now = time.monotonic()
        starts = range(0, len(checked), _BLOCK)
        self._inbox.put(*(Command("samples", checked[n : n + _BLOCK], now) for n in starts))
        self.seconds += len(checked) / SAMPLE_RATE
        self._wake(self)

    def wait_for_room(self, seconds: float, timeout: float | None = None) -> bool:
        """Waits until less audio waits, or the stream is over; False after the timeout."""
        return self._inbox.wait_for_room(seconds * SAMPLE_RATE, timeout)

    def switch(
        self,
        *,
        language: str | None = None,
        latency_ms: int | None = None,
        turns: TurnRules | None = None,
        phrases: Sequence[str | Phrase] | None = None,
    ) -> None:
        """Changes options for the audio that follows; None leaves an option unchanged.

        New phrases are compiled here, which takes a moment.  If it raises, nothing is changed.

        Raises:
            LanguageError, LatencyError, PhraseError: For an option that does not work.
            OverloadedError: If the load is too high for the new latency.
        """
        mode, key = self._recognizer.resolve(
            self._language if language is None else language,
            self._latency_ms if latency_ms is None else latency_ms,
        )
        change: dict[str, Any] = {"language": key, "latency_ms": mode.latency_ms}
        if phrases is not None:
            change["phrases"] = as_phrases(phrases)
        tree = self._recognizer.compile_phrases(change.get("phrases", ()))
        if turns is not None:
            change["turns"] = turns

        def exchange() -> None:
            if self.live and mode.latency_ms != self._latency_ms:
                self._admission.exchange(self._latency_ms, mode.latency_ms)
            self._language, self._latency_ms = key, mode.latency_ms

        self._inbox.put(Command("switch", change=change, tree=tree), before=exchange)
        self._wake(self)

    def flush_and_reset(self) -> None:
        """Emits the events of all audio before it, then `Flushed`; continues with a fresh model;
        times and turn numbers continue."""
        self._put("flush")

    def discard(self) -> None:
        """Drops audio since the last flush that has not been computed, then emits `Flushed` and
        continues with a fresh model."""
        self._inbox.discard()
        self._wake(self)

    def finish(self) -> None:
        """Emits the events of all audio before it, then `StreamEnded`."""
        self._put("finish")

    def cancel(self) -> None:
        """Ends the stream without further events.  May be called at any time."""
        if self._inbox.cancel():
            self._wake(self)

    def _put(self, kind: Literal["flush", "finish"]) -> None:
        self._inbox.put(Command(kind, arrived=time.monotonic()))
        self._wake(self)

    # -- on the scheduler's thread

    def prepare(self, chunks: int) -> None:
        """Applies commands until a step of `chunks` chunks is ready or the inbox has no more."""
        while not self.over:
            self.pace.frames = self.timeline.frames_ready(chunks)
            if self.pace.frames:
                return
            self.emit(self.timeline.take_events())  # those of skipped silence
            if (ending := self.timeline.ending) is not None:
                self.emit(self.timeline.end_stream())
                if ending == "finish":
                    self.close()
            elif (command := self._inbox.take(self.timeline.samples_needed(chunks))) is None:
                return
            elif command.kind == "cancel":
                self.close()
            else:
                self.emit(self.timeline.apply(command))

    def emit(self, events: Sequence[FeedEvent]) -> None:
        """Passes events to the listener; one that raises loses its stream."""
        if not events or self.over:
            return
        try:
            self._listener(events)
        except Exception:  # noqa: BLE001
            _log.exception("a listener failed; its stream is canceled")
            self.close()

    def fail(self, error: Exception) -> None:
        """Ends the stream with an error."""
        self.emit([StreamFailed(error)])
        self.close()

    def close(self) -> None:
        """Ends the stream without further events."""
        if self._inbox.close():
            self._leave(self)
