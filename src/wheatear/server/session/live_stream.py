"""Asyncio wrapper of a scheduled stream: takes PCM bytes, yields recognition events."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from wheatear.audio.pcm import PcmDecoder
from wheatear.recognizer.options import StreamOptions
from wheatear.server.access.limits import TokenBucket
from wheatear.server.api_errors import ApiError
from wheatear.server.background import run_in_background
from wheatear.server.scheduler.events import FeedEvent, StreamFailed
from wheatear.server.served_models import ServedModel
from wheatear.server.settings import Limits

CONTROLS_PER_SECOND = 5.0
"""Commits, clears and changes of one stream, averaged over ten seconds."""
_PIECE = 1 << 14  # bytes
_MAX_PHRASE_CHANGES = 4  # that wait, each with compiled phrases
_POLL_SECONDS = 0.02


class LiveStream:
    """One stream of one model; end it with `finish` or `cancel`."""

    def __init__(
        self, served: ServedModel, pcm: PcmDecoder, limits: Limits, options: StreamOptions
    ) -> None:
        """Opens the stream.  Raises anything that `Scheduler.open` raises."""
        self.served = served
        self._pcm = pcm
        self._max_backlog_s = limits.backlog_seconds
        self._controls = TokenBucket(CONTROLS_PER_SECOND, 10 * CONTROLS_PER_SECOND)
        self._events: asyncio.Queue[Sequence[FeedEvent]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def listener(events: Sequence[FeedEvent]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(self._events.put_nowait, events)

        self.scheduled = served.scheduler.open(listener, options)

    @classmethod
    async def open(
        cls, served: ServedModel, pcm: PcmDecoder, limits: Limits, options: StreamOptions
    ) -> "LiveStream":
        """Opens a stream; phrases are compiled in the background first."""
        if options.phrases:
            await run_in_background(served.recognizer.compile_phrases, options.phrases)
        return cls(served, pcm, limits, options)

    @property
    def seconds(self) -> float:
        """Seconds of audio that were pushed."""
        return self.scheduled.seconds

    def set_format(self, pcm: PcmDecoder) -> None:
        """Decodes further bytes with another decoder, after the rest of the present one."""
        self.scheduled.push(self._pcm.finish())
        self._pcm = pcm

    async def push(self, data: bytes | bytearray | memoryview) -> None:
        """Takes bytes; waits while the backlog is too long, so that the socket is not read.

        Raises AudioError or StreamClosedError.
        """
        for at in range(0, len(data), _PIECE):
            samples = self._pcm.push(data[at : at + _PIECE])
            if len(samples):
                self.scheduled.push(samples)
            while self.scheduled.backlog_s > self._max_backlog_s:
                await asyncio.sleep(_POLL_SECONDS)
            if at:
                await asyncio.sleep(0)  # lets other tasks run between pieces of a long message

    def switch(self, **options: Any) -> None:
        """Changes options as `ScheduledStream.switch`; call `count_control` before it."""
        self.scheduled.switch(**options)

    def flush(self) -> None:
        """Pushes the rest of the decoder; further bytes are a new signal."""
        self.set_format(self._pcm.fresh())

    def flush_and_reset(self) -> None:
        """Flushes all bytes as `ScheduledStream.flush_and_reset`.  Raises ApiError."""
        self.count_control()
        self.flush()
        self.scheduled.flush_and_reset()

    def discard(self) -> None:
        """Drops audio as `ScheduledStream.discard`.  Raises ApiError."""
        self.count_control()
        self._pcm = self._pcm.fresh()
        self.scheduled.discard()

    def finish(self) -> None:
        """Ends the stream after its last bytes."""
        self.scheduled.push(self._pcm.finish())
        self.scheduled.finish()

    def cancel(self) -> None:
        """Ends the stream at once; `next_events` then returns nothing."""
        self.scheduled.cancel()
        self._events.put_nowait(())

    def count_control(self) -> None:
        """Counts a message without audio that costs a step or background work.

        Raises ApiError if there are too many.
        """
        if self.scheduled.phrase_changes >= _MAX_PHRASE_CHANGES:
            raise ApiError(
                429, f"{_MAX_PHRASE_CHANGES} changes of phrases wait for the audio before them to "
                "be transcribed; send them less often"
            )  # fmt: skip
        if wait := self._controls.take():
            raise ApiError(
                429, f"too many commits, clears and changes; there may be another in {wait:.1f} s"
            )

    async def next_events(self) -> Sequence[FeedEvent]:
        """Returns the next events, in order.  Raises the error that ended the stream."""
        events = await self._events.get()
        for event in events:
            if isinstance(event, StreamFailed):
                raise event.error
        return events


async def live_pcm(rate: int, encoding: str, channels: int) -> PcmDecoder:
    """Returns a decoder; the filter of an uncommon rate is made in the background.

    Raises AudioError.
    """
    if is_uncommon_rate(rate):
        return await run_in_background(PcmDecoder, rate, encoding, channels)
    return PcmDecoder(rate, encoding, channels)


def is_uncommon_rate(rate: int) -> bool:
    """True for a sample rate that is hardly used, and whose filter is large."""
    return rate % 100 > 0
