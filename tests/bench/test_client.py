"""Lags of live streams, on a server and on made-up answers."""

import asyncio
import json
import time

import pytest
from server_process import running

from wheatear.bench.capacity import run_trial
from wheatear.bench.client import LoadResult, collect_lags, play
from wheatear.errors import BenchError


def test_streams_are_played_in_real_time():
    with running() as server:
        result = asyncio.run(play(server.url, 3, 160, 6.0, language="en-US"))
    assert (result.ended, result.refused, result.lost) == (3, 0, 0)
    assert len(result.lags) > 10
    assert all(lag > 0 for lag in result.lags)
    assert result.percentile_ms(50) <= result.percentile_ms(99)


async def messages_of(*events):
    for event in events:
        yield json.dumps(event)


def partial(end):
    return {"type": "partial", "end": end}


def turn(kind, at):
    return {"type": "turn", "kind": kind, "time": at}


@pytest.mark.parametrize(
    ("events", "lags"),
    [
        ([partial(4.0), partial(4.56), {"type": "end"}], 2),
        ([partial(2.0), partial(4.0), {"type": "final", "end": 4.0}, {"type": "end"}], 1),
        ([partial(4.0), turn("eager", 4.0), turn("ended", 4.2), {"type": "end"}], 0),
        ([partial(4.0), turn("resumed", 3.9), {"type": "end"}], 1),
        ([partial(4.0), partial(8.0), {"type": "end"}], 1),  # audio ends before 8 s
    ],
)
def test_partials_have_a_lag_unless_a_turn_cuts_them(events, lags):
    result = LoadResult()
    sent = [time.perf_counter() - 1] * 160  # blocks of 40 ms
    assert asyncio.run(collect_lags(messages_of(*events), sent, 640, result)) is True
    assert len(result.lags) == lags
    assert all(1 <= lag < 2 for lag in result.lags)


def test_rejected_and_lost_streams_are_counted():
    with running(WHEATEAR_SERVE_LOAD="0.0001") as server:
        result = asyncio.run(play(server.url, 4, 160, 5.0))
        assert (result.refused, result.ended) == (3, 1)
    with running(WHEATEAR_SERVE_LIMITS_SESSION_SECONDS="2") as server:
        trial = run_trial(server.url, 1, 160, 6.0)
        assert trial.lost == 1
        assert not trial.kept_up


def test_missing_server_is_an_error():
    with pytest.raises(BenchError, match="no server"):
        run_trial("http://127.0.0.1:9", 1, 160, 5.0)
