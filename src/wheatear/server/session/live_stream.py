"""A stream as a socket has it: bytes go in, what was heard comes out, all in one event loop."""

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

_PIECE = 1 << 14  # bytes
_MOST_CHANGES = 4  # of phrases, which take memory until they have been come to
_GLANCE = 0.02  # seconds between looks at whether there is room


class LiveStream:
    """One stream of one model; close it with `finish` or `cancel`."""

    def __init__(
        self, served: ServedModel, pcm: PcmDecoder, limits: Limits, options: StreamOptions
    ) -> None:
        """Raises what `Scheduler.open` raises."""
        self.served = served
        self._pcm = pcm
        self._backlog_s = limits.backlog_seconds
        self._orders = TokenBucket(limits.orders_per_second, max(1, 10 * limits.orders_per_second))
        self._told: asyncio.Queue[Sequence[FeedEvent]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def listener(told: Sequence[FeedEvent]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody listens
                loop.call_soon_threadsafe(self._told.put_nowait, told)

        self.scheduled = served.scheduler.open(listener, options)

    @classmethod
    async def open(
        cls, served: ServedModel, pcm: PcmDecoder, limits: Limits, options: StreamOptions
    ) -> "LiveStream":
        """Opens one.  Phrases may take a moment to be understood; no other socket waits for it."""
        if options.phrases:
            await run_in_background(served.recognizer.compile_phrases, options.phrases)
        return cls(served, pcm, limits, options)

    @property
    def seconds(self) -> float:
        """Of audio so far."""
        return self.scheduled.seconds

    def set_format(self, pcm: PcmDecoder) -> None:
        """From now on bytes are of this form; what the former one still holds is let out."""
        self.scheduled.push(self._pcm.finish())
        self._pcm = pcm

    async def push(self, data: bytes | bytearray | memoryview) -> None:
        """Takes bytes, and waits as long as too much is waiting, so that the socket is not read.

        Raises AudioError or StreamClosedError.
        """
        for at in range(0, len(data), _PIECE):
            samples = self._pcm.push(data[at : at + _PIECE])
            if len(samples):
                self.scheduled.push(samples)
            while self.scheduled.backlog_s > self._backlog_s:
                await asyncio.sleep(_GLANCE)
            if at:
                await asyncio.sleep(0)  # minutes in one message are resampled beside other sockets

    def switch(self, **options: Any) -> None:
        """As `ScheduledStream.switch`; call `count_control` before it."""
        self.scheduled.switch(**options)

    def flush(self) -> None:
        """Lets out what the filter still holds; what follows is a signal of its own."""
        self.set_format(self._pcm.fresh())

    def flush_and_reset(self) -> None:
        """As `ScheduledStream.flush_and_reset`, with the last bytes."""
        self.count_control()
        self.flush()
        self.scheduled.flush_and_reset()

    def discard(self) -> None:
        """As `ScheduledStream.discard`."""
        self.count_control()
        self._pcm = self._pcm.fresh()
        self.scheduled.discard()

    def finish(self) -> None:
        """As `ScheduledStream.finish`, with the last bytes."""
        self.scheduled.push(self._pcm.finish())
        self.scheduled.finish()

    def cancel(self) -> None:
        """As `ScheduledStream.cancel`; whoever waits for what is heard hears nothing."""
        self.scheduled.cancel()
        self._told.put_nowait(())

    def count_control(self) -> None:
        """Counts what costs a step, or a moment run_in_background, and brings no audio.

        Raises ApiError if it comes all the time.
        """
        if self.scheduled.phrase_changes >= _MOST_CHANGES:
            raise ApiError(
                429, f"{_MOST_CHANGES} changes of phrases wait for the audio before them to be "
                "transcribed; send them less often"
            )  # fmt: skip
        if wait := self._orders.take():
            raise ApiError(
                429, f"too many commits, clears and changes; there may be another in {wait:.1f} s"
            )

    async def next_events(self) -> Sequence[FeedEvent]:
        """The next things that were heard, in order.  Raises the error that ended the stream."""
        told = await self._told.get()
        for item in told:
            if isinstance(item, StreamFailed):
                raise item.error
        return told


async def live_pcm(rate: int, encoding: str, channels: int) -> PcmDecoder:
    """A signal of a form.  Raises AudioError.  The filter of an odd rate takes a moment to make,
    in which others go on."""
    if is_uncommon_rate(rate):
        return await run_in_background(PcmDecoder, rate, encoding, channels)
    return PcmDecoder(rate, encoding, channels)


def is_uncommon_rate(rate: int) -> bool:
    """Whether hardly anything is recorded at a rate, and its filter is a large one."""
    return rate % 100 > 0
