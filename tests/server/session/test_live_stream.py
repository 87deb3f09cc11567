"""Backlog, rate of controls and events of a live stream."""

import asyncio
from typing import Any

import pytest

from wheatear.audio.pcm import PcmDecoder
from wheatear.recognizer.options import StreamOptions
from wheatear.server.api_errors import ApiError
from wheatear.server.scheduler.events import Flushed, StreamFailed
from wheatear.server.session.live_stream import LiveStream, is_uncommon_rate, live_pcm
from wheatear.server.settings import Limits


class Scheduled:
    """A scheduled stream whose audio is computed by the test."""

    def __init__(self, listener: Any) -> None:
        self.listener = listener
        self.backlog_s = self.max_backlog_s = 0.0
        self.phrase_changes = 0
        self.calls: list[str] = []

    def push(self, samples: Any) -> None:
        self.backlog_s += len(samples) / 16_000
        self.max_backlog_s = max(self.max_backlog_s, self.backlog_s)

    def flush_and_reset(self) -> None:
        self.calls.append("flush")

    def discard(self) -> None:
        self.calls.append("discard")

    def finish(self) -> None:
        self.calls.append("finish")

    def cancel(self) -> None:
        self.calls.append("cancel")


class Served:
    """A served model without a recognizer."""

    @property
    def scheduler(self) -> Any:
        return self

    def open(self, listener: Any, options: StreamOptions) -> Scheduled:
        return Scheduled(listener)


def live_stream(rate: int = 16_000, encoding: str = "s16") -> Any:
    pcm = PcmDecoder(rate, encoding)
    return LiveStream(Served(), pcm, Limits(backlog_seconds=5.0), StreamOptions())  # type: ignore[arg-type]


def test_long_message_waits_for_the_backlog():
    async def main() -> float:
        live = live_stream(8000, "mulaw")
        pushing = asyncio.create_task(live.push(bytes(8000 * 60)))
        for _ in range(30):
            await asyncio.sleep(0.05)
            assert not pushing.done()
            live.scheduled.backlog_s = max(0.0, live.scheduled.backlog_s - 1)
            if live.scheduled.max_backlog_s > 5:
                break
        while not pushing.done():
            live.scheduled.backlog_s = 0.0
            await asyncio.sleep(0)
        return live.scheduled.max_backlog_s

    assert 5 < asyncio.run(main()) < 8


def test_too_many_controls_are_rejected():
    async def main() -> list[str]:
        live = live_stream()
        for _ in range(50):
            live.flush_and_reset()
        with pytest.raises(ApiError, match="too many commits, clears and changes"):
            _repeat(live.flush_and_reset, 50)
        live.finish()
        return live.scheduled.calls

    calls = asyncio.run(main())
    assert 50 <= calls.count("flush") < 100
    assert calls[-1] == "finish"


def _repeat(call: Any, times: int) -> None:
    for _ in range(times):
        call()


def test_waiting_changes_of_phrases_are_limited():
    async def main() -> None:
        live = live_stream()
        live.scheduled.phrase_changes = 4
        with pytest.raises(ApiError, match="4 changes of phrases wait") as rejected:
            live.count_control()
        assert rejected.value.status == 429

    asyncio.run(main())


def test_events_come_in_order_until_an_error():
    async def main() -> None:
        live = live_stream()
        live.scheduled.listener([Flushed(1.0)])
        live.scheduled.listener([StreamFailed(ValueError("broken"))])
        assert await live.next_events() == [Flushed(1.0)]
        with pytest.raises(ValueError, match="broken"):
            await live.next_events()
        live.cancel()
        assert await live.next_events() == ()

    asyncio.run(main())


def test_decoder_of_an_uncommon_rate_is_made():
    assert [is_uncommon_rate(rate) for rate in (8000, 22_050, 16_001)] == [False, True, True]
    assert len(asyncio.run(live_pcm(16_001, "s16", 1)).push(bytes(32_002))) > 0
