"""Stream and pending utterances of a protocol handler."""

from typing import Any

import pytest

from wheatear.server.api_errors import ApiError
from wheatear.server.session.protocol_handler import NORMAL, ProtocolHandler
from wheatear.server.session.utterance import Utterance


class Recorder:
    """A connection or stream that records calls."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))


class Handler(ProtocolHandler):
    wire = "test"

    async def on_open(self) -> None: ...

    async def on_text(self, message: str) -> None: ...

    async def on_bytes(self, data: bytes) -> None: ...

    def on_event(self, item: Any) -> None: ...

    def on_error(self, error: ApiError) -> None: ...


def handler(live: Any = None) -> Any:
    made: Any = Handler(Recorder())  # type: ignore[arg-type]
    made.live = live
    return made


def test_stream_before_it_is_open_is_an_error():
    with pytest.raises(ApiError, match="the stream has not begun"):
        _ = handler().stream


def test_stop_finishes_the_stream_once_or_closes():
    one = handler(Recorder())
    one.stop()
    one.stop()
    assert (one.live.calls, one.connection.calls) == ([("finish",)], [])
    other = handler()
    other.stop()
    assert other.connection.calls == [("close", NORMAL)]


def test_pending_utterances_follow_flushes_and_discards():
    one, utterance = handler(Recorder()), Utterance()
    one.end_utterance(utterance)
    assert not one.discarding
    one.discard_audio()
    assert list(one.pending) == [utterance, None]
    one.pending.popleft()
    assert one.discarding
    assert one.live.calls == [("flush_and_reset",), ("discard",)]


def test_close_reason_has_the_code_of_the_status():
    assert handler().close_reason(ApiError(503, "full")) == (1013, "full")
    assert handler().close_reason(ApiError(400, "wrong")) == (1008, "wrong")
