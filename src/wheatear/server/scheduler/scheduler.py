"""Schedules live streams and files on one recognizer; chunks due first are computed first.

One thread computes.  A caller opens a `ScheduledStream`, pushes samples into it from any thread,
and its listener receives the events.  In each round

    1. every stream passes on the samples that its next step needs;
    2. the live stream with the earliest deadline is computed, together with all due streams that
       can share its step;
    3. if no chunk is due, files and streams that are ahead of real time take turns. Their steps are
       short, so that a live chunk that arrives during one is not late.

The deadline of a live chunk is one chunk's duration after its last sample.  The chunks of a stream
that is sent faster than real time are due at the pace of speech: it uses idle time and delays no
other stream.

Streams beyond the capacity of the machine are rejected when they are opened
(`wheatear.server.scheduler.admission`), and never slow down open streams.  An error in one
stream ends that stream only.
"""

import logging
import threading
import time
from collections.abc import Sequence

from wheatear.audio.mel import FRAME_MS
from wheatear.errors import StreamClosedError
from wheatear.recognizer.engine import FILE_FRAMES
from wheatear.recognizer.options import StreamOptions
from wheatear.recognizer.recognizer import Recognizer
from wheatear.recognizer.stream import Stream
from wheatear.server.scheduler.admission import Admission, LoadBudget
from wheatear.server.scheduler.feed import Listener, ScheduledStream

_log = logging.getLogger(__name__)

_MAX_STREAMS_PER_STEP = 64
_FILE_SHARE = 0.25
"""Share of the shortest live chunk that a file's step may take."""
_FILE_PATIENCE_S = 1.0
"""Seconds after which a file gets a step, whatever else is due."""


class Observer:
    """Receives measurements of a scheduler; this one ignores them."""

    def on_step(self, streams: int, frames: int, seconds: float, live: bool) -> None:
        """Receives the duration of a step of `streams` streams with `frames` frames each."""

    def on_lag(self, latency_ms: int, seconds: float) -> None:
        """Receives the time from the last sample of a live chunk to its events."""

    def on_rejected(self) -> None:
        """Receives the rejection of a stream."""


class Scheduler:
    """Computes the streams of one recognizer on one thread; close it when done."""

    def __init__(
        self,
        recognizer: Recognizer,
        budget: LoadBudget | None = None,
        observer: Observer | None = None,
        max_streams: int = 1000,
    ) -> None:
        """Measures the cost of steps, and starts the thread.

        Args:
            recognizer: Model of all streams.
            budget: Load budget, shared with schedulers of other models on the machine.
            observer: Receives measurements.
            max_streams: Live streams at a time.
        """
        self.recognizer = recognizer
        self._observer = observer or Observer()
        self.admission = Admission(budget or LoadBudget(), max_streams, self._observer.on_rejected)
        self._condition = threading.Condition()
        self._awake: dict[ScheduledStream, None] = {}
        """Streams that may have something to do."""
        self._streams: set[ScheduledStream] = set()
        self._closing = False
        self._round_began: float | None = None
        self.admission.calibrate(recognizer)
        self._thread = threading.Thread(target=self._run, name="wheatear-scheduler", daemon=True)
        self._thread.start()

    def open(
        self, listener: Listener, options: StreamOptions, *, live: bool = True
    ) -> ScheduledStream:
        """Opens a stream.

        Args:
            listener: Receives events, on the scheduler's thread; it must not wait.
            options: Options of the stream; `keep` has no effect.
            live: True if a user waits for the text; a file yields to live streams.

        Raises:
            OverloadedError: If the load is too high for a live stream.
            StreamClosedError: If the scheduler has been closed.
            WheatearError: For options that do not work.
        """
        if self._closing:
            raise StreamClosedError("the scheduler has been closed")
        stream = ScheduledStream(
            self.recognizer, options, listener, live, self.admission, self._wake, self._leave
        )
        if live:
            self.admission.admit(stream.latency_ms)
        with self._condition:
            self._streams.add(stream)
        return stream

    def close(self) -> None:
        """Ends all streams at once, and the thread."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()

    @property
    def streams(self) -> int:
        """Number of open streams and files."""
        with self._condition:
            return len(self._streams)

    @property
    def alive(self) -> bool:
        """True while the thread runs, which it does until `close`."""
        return self._thread.is_alive()

    @property
    def stuck_s(self) -> float:
        """Seconds since the current round began; 0 between rounds."""
        began = self._round_began
        return 0.0 if began is None else time.monotonic() - began

    def _wake(self, stream: ScheduledStream) -> None:
        with self._condition:
            if stream in self._streams:
                self._awake[stream] = None
                self._condition.notify()

    def _leave(self, stream: ScheduledStream) -> None:
        with self._condition:
            if stream not in self._streams:
                return
            self._streams.discard(stream)
            self._awake.pop(stream, None)
        if stream.live:
            self.admission.leave(stream.latency_ms)

    def _run(self) -> None:
        while True:
            with self._condition:
                self._round_began = None
                self._condition.wait_for(lambda: self._awake or self._closing)
                awake = list(self._awake)
                self._awake.clear()
                streams = list(self._streams)
                self._round_began = time.monotonic()
            if self._closing:
                for stream in streams:
                    stream.fail(StreamClosedError("the recognizer is being shut down"))
                return
            if batch := self._choose(self._ready(awake)):
                self._step(batch)

    def _ready(self, streams: Sequence[ScheduledStream]) -> list[ScheduledStream]:
        """Returns the streams that have a step ready, which stay awake for it."""
        shortest = min((s.latency_ms for s in list(self._streams) if s.live), default=None)
        ready = []
        for stream in streams:
            pace = stream.pace
            is_new = pace.frames == 0
            try:
                stream.prepare(1 if stream.live else self._file_chunks(stream, shortest))
            except Exception as error:  # noqa: BLE001  any error ends this stream only
                stream.fail(error)
            if pace.frames and not stream.over:
                if is_new and stream.live:
                    pace.set_due(stream.timeline.arrived)
                ready.append(stream)
                self._wake(stream)
        return ready

    def _file_chunks(self, stream: ScheduledStream, shortest_ms: int | None) -> int:
        """Returns the chunks of a file to compute in one step."""
        chunk = stream.timeline.stream.latency_ms // FRAME_MS
        most = max(1, FILE_FRAMES // chunk)
        if shortest_ms is None:
            return most
        fixed, each = self.admission.cost.line
        rows = (_FILE_SHARE * shortest_ms / 1000 - fixed) / max(each, 1e-9)
        return int(min(max(1, rows // chunk), most))

    def _choose(self, ready: Sequence[ScheduledStream]) -> list[ScheduledStream]:
        """Returns the streams of the next step."""
        if not ready:
            return []
        now = time.monotonic()
        oldest = min(ready, key=lambda stream: stream.pace.served)
        starved = not oldest.live and now - oldest.pace.served > _FILE_PATIENCE_S
        due = [stream for stream in ready if stream.live and stream.pace.due <= now]
        if due and not starved:
            others = sorted(due, key=lambda stream: stream.pace.deadline)
            first = others[0]
        else:
            first = oldest
            others = [stream for stream in ready if stream.live] if oldest.live else []
        frames = first.pace.frames
        same = [s for s in others if s is not first and s.pace.frames == frames]
        return [first, *same[: _MAX_STREAMS_PER_STEP - 1]]

    def _step(self, batch: Sequence[ScheduledStream]) -> None:
        frames, live = batch[0].pace.frames, batch[0].live
        began = time.monotonic()
        try:
            self._compute([stream.timeline.stream for stream in batch], frames)
        except Exception as error:  # noqa: BLE001
            self._step_separately(batch, frames, error)
        now = time.monotonic()
        self._observer.on_step(len(batch), frames, now - began, live)
        if live:
            self.admission.cost.add(len(batch) * frames, now - began)
        for stream in batch:
            pace = stream.pace
            if stream.live and pace.is_paced:
                latency_ms, lag = stream.timeline.stream.latency_ms, now - pace.arrived
                self._observer.on_lag(latency_ms, lag)
                self.admission.record_lag(lag, latency_ms)
            pace.served, pace.frames = now, 0
            if not stream.over:
                stream.emit(stream.timeline.take_events())

    def _compute(self, streams: Sequence[Stream], frames: int) -> None:
        steps = self.recognizer.engine.step([stream.state for stream in streams], frames)
        for stream, step in zip(streams, steps, strict=True):
            stream.receive(step)

    def _step_separately(
        self, batch: Sequence[ScheduledStream], frames: int, error: Exception
    ) -> None:
        """Repeats a failed step stream by stream, and ends streams that fail again."""
        _log.error("a step of %d streams failed: %s", len(batch), error)
        for stream in batch:
            if len(batch) > 1 and stream.timeline.frames_ready(1) == frames:
                try:
                    self._compute([stream.timeline.stream], frames)
                except Exception as own:  # noqa: BLE001
                    stream.fail(own)
            else:
                stream.fail(error)
