"""The load generator, against real servers."""

import asyncio
import json
import time

import pytest
from server_process import running

from wheatear.bench.capacity import Trial, sustained, try_streams
from wheatear.bench.client import Heard, _listen, play
from wheatear.cli import main
from wheatear.errors import BenchError


def test_streams_are_played_at_the_pace_of_speech_and_heard_out(quiet_server):
    heard = asyncio.run(play(quiet_server.url, 3, 160, 6.0, language="en-US"))
    assert (heard.ended, heard.refused, heard.lost) == (3, 0, 0)
    assert len(heard.lags) > 10
    assert all(lag > 0 for lag in heard.lags)  # nothing is answered before it was said
    assert heard.percentile(50) <= heard.percentile(99)


class Told:
    """A socket on which this comes, at once."""

    def __init__(self, *messages):
        self._messages = [json.dumps(message) for message in messages]

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self._messages:
            raise StopAsyncIteration
        return self._messages.pop(0)


def partial(end):
    return {"type": "partial", "end": end}


def turn(kind, at):
    return {"type": "turn", "kind": kind, "time": at}


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ([partial(4.0), partial(4.56), {"type": "end"}], 2),
        ([partial(2.0), partial(4.0), {"type": "final", "end": 4.0}, {"type": "end"}], 1),
        ([partial(4.0), turn("eager", 4.0), turn("ended", 4.2), {"type": "end"}], 0),
        ([partial(4.0), turn("resumed", 3.9), {"type": "end"}], 1),
        ([partial(4.0), partial(8.0), {"type": "end"}], 1),  # that late nothing was sent
    ],
)
def test_what_counts_as_an_answer(told, counted):
    """Not one that the end of a turn cuts short: the chunk that it is of goes on after it."""
    heard = Heard()
    sent = [time.perf_counter() - 1] * 160  # blocks of 40 ms
    assert asyncio.run(_listen(Told(*told), sent, 640, heard)) is True
    assert len(heard.lags) == counted
    assert all(1 <= lag < 2 for lag in heard.lags)


def test_refusals_and_losses_are_counted():
    with running(WHEATEAR_SERVE_LOAD="0.0001") as server:
        heard = asyncio.run(play(server.url, 4, 160, 5.0))
        assert (heard.refused, heard.ended) == (3, 1)
    with running(WHEATEAR_SERVE_LIMITS_SESSION_SECONDS="2") as server:
        trial = try_streams(server.url, 1, 160, 6.0)
        assert trial.lost == 1
        assert not trial.kept_up


def test_no_server_is_said():
    with pytest.raises(BenchError, match="no server"):
        try_streams("http://127.0.0.1:9", 1, 160, 5.0)


@pytest.mark.parametrize("most", [0, 1, 2, 3, 7, 33, 500])
def test_the_most_that_are_kept_up_with_are_found(monkeypatch, most):
    """On a server that keeps up with so many and not one more."""

    def trial(url, streams, latency_ms, seconds):
        lag = 10.0 if streams <= most else 1000.0
        return Trial(streams, latency_ms, lag, lag, lag, 0, 0)

    monkeypatch.setattr("wheatear.bench.capacity.try_streams", trial)
    tried = []
    best = sustained("", 80, 5.0, tried.append)
    found = best.streams if best else 0
    assert found <= most
    assert found >= most - most // 20
    assert len(tried) < 25


def test_a_stumble_is_no_limit(monkeypatch):
    """Every other trial has a few late answers; with more than five streams most are late."""
    counts = {}

    def trial(url, streams, latency_ms, seconds):
        counts[streams] = counts.get(streams, 0) + 1
        lag = 10.0 if streams <= 5 else 200.0
        late = 90.0 if counts[streams] % 2 else lag
        return Trial(streams, latency_ms, 10.0, lag, max(lag, late), 0, 0)

    monkeypatch.setattr("wheatear.bench.capacity.try_streams", trial)
    best = sustained("", 80, 5.0, lambda _: None)
    assert best.streams == 5
    assert counts[6] == 1


def test_the_command(quiet_server, tmp_path, capsys):
    out = tmp_path / "load.json"
    command = f"bench serve --url {quiet_server.url} --latency 560 --streams 1,2 --seconds 6"
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--json", str(out)])
    assert ended.value.code == 0
    written = json.loads(out.read_text())
    assert [(t["streams"], t["latency_ms"]) for t in written["trials"]] == [(1, 560), (2, 560)]
    assert all(t["lag_ms_p50"] > 0 for t in written["trials"])
    assert "560 ms, 2 streams: lag" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["--seconds 1", "--url http://x --threads 2", "--latency 77"])
def test_what_makes_no_sense_is_said(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", "serve", *wrong.split()])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("wheatear: ")
