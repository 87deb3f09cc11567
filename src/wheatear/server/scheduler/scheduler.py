"""Many live streams and files -> batches for one recognizer, each in its time.

One thread computes.  A caller opens a `ScheduledStream`, pushes samples into it from any thread,
and its listener receives the events.  In each round

    1. every feed hands on as many samples as its next step needs, no more;
    2. of the live feeds that have a chunk ready, the one whose chunk must be out first is taken,
       and with it all that can share its step;
    3. if none has, whoever sends faster than people speak, and files, come in turn, in steps that
       are short enough for a live chunk that arrives meanwhile.

A live chunk ought to be out one chunk's time after it was there.  A stream that is sent faster
than real time is there, as far as others are concerned, at the pace of speech: it can use what
others leave, and takes nothing from them.

Nobody is let in beyond what the machine can do (`wheatear.server.scheduler.admission`): too many
streams are refused
when they are opened, and never slow down those that are open.  A fault in one feed ends that feed
alone.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from wheatear.audio.mel import FRAME_MS, SAMPLE_RATE
from wheatear.audio.samples import Samples, as_samples
from wheatear.decoder.boosting import Phrase, PhraseTree
from wheatear.errors import OverloadedError, StreamClosedError
from wheatear.recognizer.options import StreamOptions
from wheatear.recognizer.recognizer import Recognizer
from wheatear.recognizer.stream import Stream
from wheatear.server.scheduler.admission import LoadBudget, StepCostModel
from wheatear.transcript.results import Event, Final, Turn, shifted
from wheatear.transcript.turns import TurnRules

_log = logging.getLogger(__name__)

_MOST_TOGETHER = 64  # streams in a step
_FILE_FRAMES = 112  # encoder frames (9 s) of a file's step when nobody live is waiting
_SLICE = 0.25  # of the shortest live chunk that a file's step may take
_AHEAD = 1.0  # seconds that a stream may be ahead of the pace of speech, as networks are uneven
_PATIENCE = 1.0  # seconds after which a file gets a step whatever else there is
_LATE = 0.05  # share of late chunks at which nobody is let in
_PARTS = SAMPLE_RATE  # samples handed on at once


@dataclass(frozen=True, slots=True)
class Flushed:
    """All that was pushed before a `ScheduledStream.flush_and_reset` has been told."""

    duration: float
    """Seconds of audio before it."""


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """All that was pushed before `ScheduledStream.finish` has been told; nothing comes after."""

    duration: float
    language: str | None


@dataclass(frozen=True, slots=True)
class StreamFailed:
    """The feed has ended with a fault; nothing comes after."""

    error: Exception


FeedEvent = Event | Flushed | StreamEnded | StreamFailed
Listener = Callable[[Sequence[FeedEvent]], None]


class Observer:
    """Is told how things go, for whoever measures; does nothing itself."""

    def stepped(self, streams: int, frames: int, seconds: float, live: bool) -> None:
        """A step of so many streams took so long."""

    def waited(self, latency_ms: int, seconds: float) -> None:
        """What a live chunk says came so long after its last sample."""

    def refused(self) -> None:
        """A stream was not let in."""


@dataclass(slots=True)
class _Command:
    """What a feed was asked to do, in its turn."""

    kind: str
    samples: Samples | None = None
    arrived: float = 0.0
    change: dict[str, Any] = field(default_factory=dict)
    """Options of the stream from then on."""
    dropped: float = 0.0
    """Seconds of audio that were forgotten."""
    tree: PhraseTree | None = None
    """The phrases of a change, understood: held, so that it need not be done again."""


class ScheduledStream:
    """One stream in the hands of a scheduler; its methods return at once, from any thread.

    The listener is called on the scheduler's thread and must not wait.
    """

    def __init__(
        self,
        scheduler: "Scheduler",
        live: bool,
        listener: Listener,
        options: StreamOptions,
    ) -> None:
        self._scheduler, self.live, self._listener = scheduler, live, listener
        self._options = replace(options, keep=False)
        self._stream: Stream = scheduler.recognizer.stream(self._options)
        self._asked = (self._stream.language, self._stream.latency_ms)
        """As of the last switch, whether or not it has been come to."""
        self._inbox: deque[_Command] = deque()
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._waiting = 0
        """Samples in the inbox."""
        self._closed = False
        """Whether it takes no more."""
        self._over = False
        """Whether all has been told."""
        self._offset, self._turns, self._number = 0.0, 0, 0
        """Seconds and turns of the streams before the last cut; turns of the present one."""
        self._language: str | None = None
        self._ending: str | None = None
        """Why the present stream ends: to be cut, or for good."""
        self._arrived = self._due = self._pace = 0.0
        """When the samples of the chunk that is ready came; when it was due; the same at the pace
        of speech."""
        self.frames = 0
        """Of the chunk that is ready."""
        self._served = scheduler._now()
        self.seconds = 0.0
        """Audio pushed so far."""

    @property
    def latency_ms(self) -> int:
        """Its latency, as of the last switch."""
        return self._asked[1]

    @property
    def language(self) -> str:
        """The language asked for, as of the last switch."""
        return self._asked[0]

    @property
    def over(self) -> bool:
        """Whether all has been told, or nothing more will be."""
        return self._over

    @property
    def backlog_s(self) -> float:
        """Seconds of audio that nothing has been done with yet."""
        return self._waiting / SAMPLE_RATE

    @property
    def changes_waiting(self) -> int:
        """Changes of phrases that wait for the audio before them."""
        with self._lock:
            return sum(command.tree is not None for command in self._inbox)

    def push(self, samples: Any) -> None:
        """Takes 16 kHz mono samples, float32 or int16.

        Raises AudioError for anything else, StreamClosedError if the feed has ended.
        """
        checked = as_samples(samples)
        now = self._scheduler._now()
        with self._lock:
            self._check_open()
            self.seconds += len(checked) / SAMPLE_RATE
            self._waiting += len(checked)
            for at in range(0, len(checked), _PARTS):  # long ones in parts, so as not to hold up
                self._inbox.append(_Command("samples", checked[at : at + _PARTS], now))
        self._scheduler._wake(self)

    def wait_for_room(self, seconds: float, timeout: float | None = None) -> bool:
        """Waits until fewer seconds of audio than these are waiting, or the feed is over."""
        with self._room:
            return self._room.wait_for(
                lambda: self._over or self._waiting < seconds * SAMPLE_RATE, timeout
            )

    def switch(
        self,
        *,
        language: str | None = None,
        latency_ms: int | None = None,
        turns: TurnRules | None = None,
        phrases: Sequence[str | Phrase] | None = None,
    ) -> None:
        """Goes on in another language, at another latency, by other rules or listening for other
        phrases, after what has been pushed; None leaves things as they are.

        Raises LanguageError, LatencyError, PhraseError or OverloadedError, and then changes
        nothing.  New phrases take a moment, unless they have been understood before.
        """
        mode, key = self._scheduler.recognizer.resolve(
            self.language if language is None else language,
            self.latency_ms if latency_ms is None else latency_ms,
        )
        change: dict[str, Any] = {"language": key, "latency_ms": mode.latency_ms}
        if phrases is not None:
            change["phrases"] = tuple(Phrase(p) if isinstance(p, str) else p for p in phrases)
        tree = self._scheduler.recognizer.compile_phrases(change.get("phrases", ()))
        with self._lock:
            self._check_open()
            if self.live and mode.latency_ms != self.latency_ms:
                self._scheduler._exchange(self.latency_ms, mode.latency_ms)
            self._asked = (key, mode.latency_ms)
        if turns is not None:
            change["turns"] = turns
        self._order("switch", change=change, tree=tree)

    def flush_and_reset(self) -> None:
        """Tells all that has been pushed down to its last sample, then `Flushed`, and goes on with
        a model that has heard nothing; times and turns are counted on."""
        self._order("cut")

    def discard(self) -> None:
        """Forgets what has been pushed since the last cut and not been told, then tells `Flushed`
        and goes on as after one."""
        with self._lock:
            self._check_open()
            waiting = list(self._inbox)
            cut = max((n for n, c in enumerate(waiting) if c.kind in ("cut", "clear")), default=-1)
            since = [command.samples for command in waiting[cut + 1 :]]
            dropped = sum(len(samples) for samples in since if samples is not None)
            kept = waiting[: cut + 1] + [c for c in waiting[cut + 1 :] if c.samples is None]
            self._waiting -= dropped
            self._inbox = deque([*kept, _Command("clear", dropped=dropped / SAMPLE_RATE)])
            self._room.notify_all()
        self._scheduler._wake(self)

    def finish(self) -> None:
        """Tells all that has been pushed, then `StreamEnded`."""
        with self._lock:
            self._check_open()
            self._closed = True
        self._order("finish", closing=True)

    def cancel(self) -> None:
        """Ends it at once; what has not been told is not wanted.  May be called at any time."""
        with self._lock:
            self._closed = True
            if self._over:
                return
            self._inbox.clear()
            self._inbox.append(_Command("abandon"))
        self._scheduler._wake(self)

    # -- the scheduler's side, on its thread

    def _order(self, kind: str, closing: bool = False, **more: Any) -> None:
        with self._lock:
            if not closing:
                self._check_open()
            self._inbox.append(_Command(kind, arrived=self._scheduler._now(), **more))
        self._scheduler._wake(self)

    def _check_open(self) -> None:
        if self._closed or self._over:
            raise StreamClosedError("this stream has ended; open a new one for more audio")

    def _prepare(self, chunks: int) -> None:
        """Hands on what waits until a step is ready, or what waits is not enough for one."""
        while not self._over:
            engine, stream = self._stream.engine, self._stream
            for step in engine.skip_silence(stream.state, chunks):
                stream.receive(step)
            self.frames = engine.ready(stream.state, chunks)
            if self.frames:
                return
            self._tell(self._stream.take_events())  # of silence that was passed over
            if self._ending is not None:
                self._end_stream()
            elif (command := self._next(engine.samples_needed(stream.state, chunks))) is not None:
                self._do(command)
            else:
                return

    def _next(self, wanted: int) -> _Command | None:
        """The next command; samples only together, and not before there are as many as wanted
        or something else is to be done after them."""
        with self._lock:
            blocks: list[Samples] = []
            count, arrived = 0, 0.0
            for command in self._inbox:
                if command.samples is None or (blocks and count >= wanted):
                    break
                blocks.append(command.samples)
                count, arrived = count + len(command.samples), command.arrived
            if not blocks:
                return self._inbox.popleft() if self._inbox else None
            if count < wanted and len(blocks) == len(self._inbox):
                return None
            for _ in blocks:
                self._inbox.popleft()
            self._waiting -= count
            self._room.notify_all()
        together = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        return _Command("samples", together, arrived)

    def _do(self, command: _Command) -> None:
        match command.kind:
            case "samples" if command.samples is not None:
                self._stream.feed(command.samples)
                self._arrived = command.arrived
            case "switch":
                change = dict(command.change)
                if (turns := change.pop("turns", None)) is not None:
                    self._stream.turns = turns
                self._stream.switch(**change)
                self._options = replace(self._options, **command.change)
            case "cut" | "finish":
                self._ending = command.kind
                self._arrived = command.arrived
                self._stream.end_input()
            case "clear":
                self._begin_anew(self._stream.duration + command.dropped)
            case "abandon":
                self._close()

    def _end_stream(self) -> None:
        """All of the present stream has been computed."""
        self._stream.finish()
        self._tell(self._stream.last_events)
        ending, self._ending = self._ending, None
        if ending == "cut":
            self._begin_anew(self._stream.duration)
        else:
            self._tell([StreamEnded(self._offset + self._stream.duration, self._language)])
            self._close()

    def _begin_anew(self, seconds: float) -> None:
        """Goes on with a fresh stream, after so much audio in the present one."""
        self._offset += seconds
        self._turns += self._number
        self._number = 0
        self._tell([Flushed(self._offset)])
        self._stream = self._scheduler.recognizer.stream(self._options)

    def _set_due(self) -> None:
        """When the chunk that is ready was there; of a stream that is ahead of its time, when it
        would have been there at the pace of speech."""
        pace = self._pace + self.frames * FRAME_MS / 1000
        self._pace = max(self._arrived - _AHEAD, pace)
        self._due = max(self._arrived, self._pace)

    @property
    def _deadline(self) -> float:
        return self._due + self.frames * FRAME_MS / 1000

    def _tell(self, told: Sequence[FeedEvent]) -> None:
        if not told or self._over:
            return
        moved: list[FeedEvent] = []
        for item in told:
            if isinstance(item, Turn):
                self._number = max(self._number, item.number)
            if isinstance(item, Final):
                self._language = item.language
            known = isinstance(item, Flushed | StreamEnded | StreamFailed)
            moved.append(item if known else shifted(item, self._offset, self._turns))
        try:
            self._listener(moved)
        except Exception:  # noqa: BLE001
            _log.exception("a listener failed; its stream is given up")
            self._close()

    def _fail(self, error: Exception) -> None:
        self._tell([StreamFailed(error)])
        self._close()

    def _close(self) -> None:
        with self._room:
            if self._over:
                return
            self._closed = self._over = True
            self._inbox.clear()
            self._waiting = 0
            self._room.notify_all()
        self._scheduler._leave(self)


class Scheduler:
    """Computes the feeds of one recognizer on a thread of its own; close it when done."""

    def __init__(
        self,
        recognizer: Recognizer,
        budget: LoadBudget | None = None,
        observer: Observer | None = None,
        most_streams: int = 1000,
    ) -> None:
        """budget: shared with schedulers of other models on this machine."""
        self.recognizer = recognizer
        self.cost = StepCostModel()
        self.budget = budget or LoadBudget()
        self._observer = observer or Observer()
        self._most_streams = most_streams
        self._condition = threading.Condition()
        self._awake: dict[ScheduledStream, None] = {}
        """Feeds that may have something to do."""
        self._feeds: set[ScheduledStream] = set()
        self._closing = False
        self._late = 0.0
        """Share of the last live chunks that came too late."""
        self._began: float | None = None
        """When the round began that is going on."""
        self._calibrate()
        self._thread = threading.Thread(target=self._run, name="wheatear-scheduler", daemon=True)
        self._thread.start()

    _now = staticmethod(time.monotonic)

    def open(
        self, listener: Listener, options: StreamOptions, *, live: bool = True
    ) -> ScheduledStream:
        """Opens a feed.  live: whether somebody waits for each word; a file yields to those.

        Raises what `Recognizer.stream` raises, and OverloadedError for a live stream that this
        machine has no room for.
        """
        if self._closing:
            raise StreamClosedError("the scheduler has been closed")
        feed = ScheduledStream(self, live, listener, options)
        if live:
            self._let_in(feed.latency_ms)
        with self._condition:
            self._feeds.add(feed)
        return feed

    def close(self) -> None:
        """Ends all feeds where they are, and the thread."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()

    @property
    def live(self) -> int:
        """How many live feeds there are."""
        with self._condition:
            return sum(feed.live for feed in self._feeds)

    @property
    def alive(self) -> bool:
        """Whether its thread runs, as it does until `close`."""
        return self._thread.is_alive()

    @property
    def stuck_s(self) -> float:
        """Seconds that the present step has taken."""
        began = self._began
        return 0.0 if began is None else self._now() - began

    # -- who is let in

    def _let_in(self, latency_ms: int) -> None:
        """Raises OverloadedError if there is no room."""
        if self.live >= self._most_streams:
            self._observer.refused()
            raise OverloadedError(
                f"{self._most_streams} live streams are open, as many as are allowed; try later"
            )
        room = self.budget.acquire(self.cost, latency_ms // FRAME_MS)
        if room and self._late > _LATE and self.budget.most <= 1:
            self.budget.release(self.cost, latency_ms // FRAME_MS)
            room = False
        if not room:
            self._observer.refused()
            raise OverloadedError(
                f"the streams that are open need all that this machine can do; another one of "
                f"{latency_ms} ms would make them late. Try later, or a longer latency"
            )

    def _exchange(self, old_ms: int, new_ms: int) -> None:
        """Another latency for a stream that is in.  Raises OverloadedError."""
        self.budget.release(self.cost, old_ms // FRAME_MS)
        if not self.budget.acquire(self.cost, new_ms // FRAME_MS):
            self.budget.acquire(self.cost, old_ms // FRAME_MS)
            self._observer.refused()
            raise OverloadedError(
                f"there is no room for a stream of {new_ms} ms; it stays as it is"
            )

    def _leave(self, feed: ScheduledStream) -> None:
        with self._condition:
            if feed not in self._feeds:
                return
            self._feeds.discard(feed)
            self._awake.pop(feed, None)
        if feed.live:
            self.budget.release(self.cost, feed.latency_ms // FRAME_MS)
        if not self.live:
            self._late = 0.0

    def _calibrate(self) -> None:
        """Measures what steps cost before anybody has come."""
        noise = np.random.default_rng(0).normal(0, 0.01, 3 * SAMPLE_RATE).astype(np.float32)
        for latency_ms in self.recognizer.latencies_ms[:3]:
            for count in (1, 1, 4):
                streams = [
                    self.recognizer.stream(latency_ms=latency_ms, keep=False) for _ in range(count)
                ]
                for stream in streams:
                    stream.feed(noise[: 3 * latency_ms * SAMPLE_RATE // 1000])
                engine, states = self.recognizer.engine, [stream.state for stream in streams]
                engine.step(states, engine.ready(states[0]))  # warms up
                began = time.perf_counter()
                engine.step(states, frames := engine.ready(states[0]))
                self.cost.measured(frames * count, time.perf_counter() - began)

    # -- the rounds

    def _wake(self, feed: ScheduledStream) -> None:
        with self._condition:
            if feed in self._feeds:
                self._awake[feed] = None
                self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._began = None
                self._condition.wait_for(lambda: self._awake or self._closing)
                awake = list(self._awake)
                self._awake.clear()
                feeds = list(self._feeds)
                self._began = self._now()
            if self._closing:
                for feed in feeds:
                    feed._fail(StreamClosedError("the recogniser is being shut down"))
                return
            if batch := self._choose(self._ready(awake)):
                self._step(batch)

    def _ready(self, feeds: Sequence[ScheduledStream]) -> list[ScheduledStream]:
        """Those that have a step ready, which stay awake for it."""
        shortest = min((f.latency_ms for f in list(self._feeds) if f.live), default=None)
        ready = []
        for feed in feeds:
            waited = feed.frames == 0
            try:
                feed._prepare(1 if feed.live else self._file_chunks(feed, shortest))
            except Exception as error:  # noqa: BLE001  whatever it is, it is this feed's alone
                feed._fail(error)
            if feed.frames and not feed.over:
                if waited and feed.live:
                    feed._set_due()
                ready.append(feed)
                self._wake(feed)
        return ready

    def _file_chunks(self, feed: ScheduledStream, shortest: int | None) -> int:
        """How many chunks of a file to take in one step."""
        chunk = feed._stream.latency_ms // FRAME_MS
        if shortest is None:
            return max(1, _FILE_FRAMES // chunk)
        fixed, each = self.cost.line
        rows = (_SLICE * shortest / 1000 - fixed) / max(each, 1e-9)
        return int(min(max(1, rows // chunk), max(1, _FILE_FRAMES // chunk)))

    def _choose(self, ready: Sequence[ScheduledStream]) -> list[ScheduledStream]:
        """Who takes part in the next step."""
        if not ready:
            return []
        now = self._now()
        oldest = min(ready, key=lambda feed: feed._served)
        starved = not oldest.live and now - oldest._served > _PATIENCE
        due = [feed for feed in ready if feed.live and feed._due <= now]
        if due and not starved:
            first = min(due, key=lambda feed: feed._deadline)
            others = sorted(due, key=lambda feed: feed._deadline)
        else:
            first = oldest
            others = [feed for feed in ready if feed.live] if oldest.live else []
        same = [f for f in others if f is not first and f.frames == first.frames]
        return [first, *same[: _MOST_TOGETHER - 1]]

    def _step(self, batch: Sequence[ScheduledStream]) -> None:
        frames, live = batch[0].frames, batch[0].live
        began = self._now()
        try:
            self._compute([feed._stream for feed in batch], frames)
        except Exception as error:  # noqa: BLE001
            self._step_alone(batch, frames, error)
        now = self._now()
        self._observer.stepped(len(batch), frames, now - began, live)
        if live:
            self.cost.measured(len(batch) * frames, now - began)
        for feed in batch:
            paced = feed.live and feed._due <= feed._arrived
            feed._served, feed.frames = now, 0
            if paced:
                lag = now - feed._arrived
                self._observer.waited(feed._stream.latency_ms, lag)
                self._late += 0.02 * ((lag > feed._stream.latency_ms / 1000) - self._late)
            if not feed._over:
                feed._tell(feed._stream.take_events())

    def _compute(self, streams: Sequence[Stream], frames: int) -> None:
        steps = self.recognizer.engine.step([stream.state for stream in streams], frames)
        for stream, step in zip(streams, steps, strict=True):
            stream.receive(step)

    def _step_alone(self, batch: Sequence[ScheduledStream], frames: int, error: Exception) -> None:
        """A step failed: finds out whose fault it was."""
        _log.error("a step of %d streams failed: %s", len(batch), error)
        for feed in batch:
            if len(batch) > 1 and self.recognizer.engine.ready(feed._stream.state) == frames:
                try:
                    self._compute([feed._stream], frames)
                except Exception as own:  # noqa: BLE001
                    feed._fail(own)
            else:
                feed._fail(error)
