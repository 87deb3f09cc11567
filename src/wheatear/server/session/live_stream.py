"""A stream as a socket has it: bytes go in, what was heard comes out, all in one event loop."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from wheatear.audio.pcm import PcmDecoder
from wheatear.recognizer.options import StreamOptions
from wheatear.server.access.limits import Rate
from wheatear.server.api_errors import Refusal
from wheatear.server.background import aside
from wheatear.server.scheduler.scheduler import Failed, Told
from wheatear.server.served_models import Served
from wheatear.server.settings import Limits

_PIECE = 1 << 14  # bytes
_MOST_CHANGES = 4  # of phrases, which take memory until they have been come to
_GLANCE = 0.02  # seconds between looks at whether there is room


class Live:
    """One stream of one model; close it with `finish` or `abandon`."""

    def __init__(
        self, served: Served, pcm: PcmDecoder, limits: Limits, options: StreamOptions
    ) -> None:
        """Raises what `Scheduler.open` raises."""
        self.served = served
        self._pcm = pcm
        self._backlog_s = limits.backlog_seconds
        self._orders = Rate(limits.orders_per_second, max(1, 10 * limits.orders_per_second))
        self._told: asyncio.Queue[Sequence[Told]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def listener(told: Sequence[Told]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody listens
                loop.call_soon_threadsafe(self._told.put_nowait, told)

        self.feed = served.scheduler.open(listener, options)

    @classmethod
    async def open(
        cls, served: Served, pcm: PcmDecoder, limits: Limits, options: StreamOptions
    ) -> "Live":
        """Opens one.  Phrases may take a moment to be understood; no other socket waits for it."""
        if options.phrases:
            await aside(served.recognizer.understand, options.phrases)
        return cls(served, pcm, limits, options)

    @property
    def seconds(self) -> float:
        """Of audio so far."""
        return self.feed.seconds

    def listen(self, pcm: PcmDecoder) -> None:
        """From now on bytes are of this form; what the former one still holds is let out."""
        self.feed.push(self._pcm.finish())
        self._pcm = pcm

    async def push(self, data: bytes | bytearray | memoryview) -> None:
        """Takes bytes, and waits as long as too much is waiting, so that the socket is not read.

        Raises AudioError or StreamClosedError.
        """
        for at in range(0, len(data), _PIECE):
            samples = self._pcm.push(data[at : at + _PIECE])
            if len(samples):
                self.feed.push(samples)
            while self.feed.backlog_s > self._backlog_s:
                await asyncio.sleep(_GLANCE)
            if at:
                await asyncio.sleep(0)  # minutes in one message are resampled beside other sockets

    def switch(self, **options: Any) -> None:
        """As `Feed.switch`; `order` comes before it, and before what is done for it."""
        self.feed.switch(**options)

    def flush(self) -> None:
        """Lets out what the filter still holds; what follows is a signal of its own."""
        self.listen(self._pcm.fresh())

    def cut(self) -> None:
        """As `Feed.cut`, with the last bytes."""
        self.order()
        self.flush()
        self.feed.cut()

    def clear(self) -> None:
        """As `Feed.clear`."""
        self.order()
        self._pcm = self._pcm.fresh()
        self.feed.clear()

    def finish(self) -> None:
        """As `Feed.finish`, with the last bytes."""
        self.feed.push(self._pcm.finish())
        self.feed.finish()

    def abandon(self) -> None:
        """As `Feed.abandon`; whoever waits for what is heard hears nothing."""
        self.feed.abandon()
        self._told.put_nowait(())

    def order(self) -> None:
        """Counts what costs a step, or a moment aside, and brings no audio.

        Raises Refusal if it comes all the time.
        """
        if self.feed.changes_waiting >= _MOST_CHANGES:
            raise Refusal(
                429, f"{_MOST_CHANGES} changes of phrases wait for the audio before them to be "
                "transcribed; send them less often"
            )  # fmt: skip
        if wait := self._orders.take():
            raise Refusal(
                429, f"too many commits, clears and changes; there may be another in {wait:.1f} s"
            )

    async def heard(self) -> Sequence[Told]:
        """The next things that were heard, in order.  Raises the error that ended the stream."""
        told = await self._told.get()
        for item in told:
            if isinstance(item, Failed):
                raise item.error
        return told


async def live_pcm(rate: int, encoding: str, channels: int) -> PcmDecoder:
    """A signal of a form.  Raises AudioError.  The filter of an odd rate takes a moment to make,
    in which others go on."""
    if odd(rate):
        return await aside(PcmDecoder, rate, encoding, channels)
    return PcmDecoder(rate, encoding, channels)


def odd(rate: int) -> bool:
    """Whether hardly anything is recorded at a rate, and its filter is a large one."""
    return rate % 100 > 0
