"""Token buckets, and places that clients share."""

import contextlib

import pytest
import raw_socket as raw
from raw_socket import opened
from server_process import running

from wheatear.server.access import limits as module
from wheatear.server.access.keys import Client, make_key
from wheatear.server.access.limits import (
    FILES_PER_KEY,
    ConcurrencyLimits,
    RequestRates,
    TokenBucket,
    TokenBuckets,
)
from wheatear.server.api_errors import ApiError
from wheatear.server.settings import Limits


def client(name: str, **limits: int) -> Client:
    return Client(name=name, sha256="0" * 64, **limits)


def test_places_are_released_after_errors():
    limits = ConcurrencyLimits(Limits(streams=3, streams_per_key=2, files=3))
    a, b, c = (client(name) for name in "abc")
    with pytest.raises(KeyError), limits.hold("streams", a):
        raise KeyError
    with limits.hold("streams", a), limits.hold("files", a):
        for kind in ("streams", "files"):
            with pytest.raises(ApiError) as rejected, limits.hold(kind, a):
                pass
            assert rejected.value.status == 429
        with limits.hold("streams", b), limits.hold("streams", b):
            with pytest.raises(ApiError) as rejected, limits.hold("streams", c):
                pass
            assert rejected.value.status == 503
        assert limits.held == 2
        other = ConcurrencyLimits(Limits(files=1))
        with other.hold("files", a):
            with pytest.raises(ApiError) as rejected, other.hold("files", b):
                pass
            assert rejected.value.status == 503
    assert limits.held == 0


def test_client_does_not_take_the_last_places_of_others():
    limits = ConcurrencyLimits(
        Limits(streams=20, streams_per_key=20, files=4, spool_bytes=100), lambda: True
    )
    clients = [client(name) for name in "abcdefgh"]

    def fill(kind: str, one: Client) -> int:
        count = 0
        with contextlib.suppress(ApiError):
            while True:
                held.enter_context(limits.hold(kind, one))
                count += 1
        return count

    with contextlib.ExitStack() as held:
        assert fill("streams", clients[0]) == 16
        with pytest.raises(ApiError, match="as many as leave room for others") as rejected:
            held.enter_context(limits.hold("streams", clients[0]))
        assert rejected.value.status == 429
        got = [fill("streams", one) for one in clients[1:]]
        assert min(got[:2]) >= 1
        assert sum(got) == 4
        with pytest.raises(ApiError) as rejected:
            held.enter_context(limits.hold("streams", clients[0]))
        assert rejected.value.status == 503
    assert limits.held == 0
    with contextlib.ExitStack() as held:
        assert fill("files", clients[0]) == 3
        assert fill("files", clients[1]) == 1
    unshared = ConcurrencyLimits(Limits(streams=20, streams_per_key=20), lambda: False)
    given = client("own", streams=20)
    for these, one in ((unshared, clients[0]), (limits, given)):
        with contextlib.ExitStack() as held:
            for _ in range(20):
                held.enter_context(these.hold("streams", one))


def test_one_key_leaves_sockets_for_another(tmp_path):
    file = tmp_path / "keys.toml"
    greedy, other = make_key(file, "greedy"), make_key(file, "other")
    limits = {"WHEATEAR_SERVE_LIMITS_STREAMS": "10"}
    with running("--api-key-file", str(file), **limits) as server, contextlib.ExitStack() as held:
        for _ in range(8):
            held.enter_context(opened(server.port, key=greedy))
        answer = raw.answer(server.port, raw.handshake(x_api_key=greedy))
        assert raw.status(answer) == 429
        assert b"as many as leave room for others" in answer
        held.enter_context(opened(server.port, key=other))


def test_token_bucket_keeps_its_rate(monkeypatch):
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    rate = TokenBucket(2.0, 4.0)
    assert [rate.take() for _ in range(5)] == [0, 0, 0, 0, 0.5]
    now = 0.5
    assert rate.take() == 0
    assert rate.take() == 0.5
    now = 100.0
    assert [rate.take() for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert rate.spend(3) == 1.5
    assert rate.spend(0) == 1.5
    now = 101.5
    assert rate.spend(0) == 0


def test_rates_of_old_clients_are_dropped():
    buckets = TokenBuckets(max_clients=10)
    for n in range(50):
        buckets.of(client(f"10.0.0.{n}"), 1.0, 1.0)
    assert len(buckets) == 10


def test_request_rate_of_a_key_replaces_that_of_the_server():
    rates = RequestRates(Limits(requests_per_minute=60))
    slow = client("slow", requests_per_minute=6)
    rates.check(slow)
    with pytest.raises(ApiError, match="slow has sent more than 6 requests a minute") as rejected:
        rates.check(slow)
    assert (rejected.value.status, rejected.value.cut_off) == (429, True)
    for _ in range(10):
        rates.check(client("usual"))
    with pytest.raises(ApiError):
        rates.check(client("usual"))
    assert [rates.is_frequent_probe(client("usual")) for _ in range(11)] == [False] * 10 + [True]


def test_sockets_of_one_client_share_their_message_rate():
    limits = ConcurrencyLimits(Limits())
    assert limits.message_rate(client("a")) is limits.message_rate(client("a"))
    assert limits.message_rate(client("a")) is not limits.message_rate(client("b"))


def test_client_has_a_maximum_of_files():
    limits = ConcurrencyLimits(Limits())
    with contextlib.ExitStack() as held:
        for _ in range(FILES_PER_KEY):
            held.enter_context(limits.hold("files", client("a")))
        with pytest.raises(ApiError, match=f"{FILES_PER_KEY} files are open for a"):
            held.enter_context(limits.hold("files", client("a")))
        held.enter_context(limits.hold("files", client("b")))
