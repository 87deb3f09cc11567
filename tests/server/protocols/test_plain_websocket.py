"""/ws: the least that a program needs."""

import json
from socket import SHUT_RDWR

import msgspec
import numpy as np
import pytest
from fuzzing import attempt, json_values, words
from hypothesis import given
from hypothesis import strategies as st
from server_process import events, running
from starlette.datastructures import QueryParams
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import wheatear
from wheatear.server.protocols import plain_websocket as plain


@pytest.fixture(scope="module")
def recognizer():
    return wheatear.load(threads=1)


def converse(server, samples, query="rate=16000", block=1600, orders=()):
    """All messages of a server about samples; orders are (block number, text)."""
    with connect(f"{server.ws}/ws?{query}") as socket:
        for n, start in enumerate(range(0, len(samples), block)):
            for at, order in orders:
                if at == n:
                    socket.send(order)
            socket.send(samples[start : start + block].tobytes())
        socket.send("finish")
        got = events(socket, "end")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
        assert socket.close_code == 1000
    return got


def finals(got):
    return [m for m in got if m["type"] == "final" and m["text"]]


@pytest.mark.parametrize("latency", [80, 160, 320, 560, 1120])
def test_a_stream_has_the_text_of_the_engine(quiet_server, recognizer, spoken, latency):
    got = converse(quiet_server, spoken, f"latency={latency}&language=en-US", block=777)
    expected = recognizer.transcribe(spoken, latency_ms=latency, language="en-US")
    assert [w["text"] for m in finals(got) for w in m["words"]] == [w.text for w in expected.words]
    assert got[0]["type"] == "ready"
    assert got[0] | {"session": ""} == {
        "type": "ready", "session": "", "model": "wheatear-small", "rate": 16_000,
        "language": "en-US", "latency_ms": latency,
    }  # fmt: skip
    assert got[-1] == {"type": "end", "duration": len(spoken) / 16_000, "language": "en-US"}
    assert next(m["kind"] for m in got if m["type"] == "turn") == "started"


@pytest.mark.parametrize(
    ("rate", "encoding", "dtype"), [(8000, "s16", np.int16), (48_000, "f32", np.float32)]
)
def test_other_formats_of_pcm_are_transcribed(quiet_server, spoken, rate, encoding, dtype):
    soxr = pytest.importorskip("soxr")
    samples = soxr.resample(spoken.astype(np.float32) / 32768, 16_000, rate)
    stereo = np.repeat(samples[:, None], 2, axis=1)
    pcm = stereo if dtype is np.float32 else np.round(stereo * 32767).astype(np.int16)
    got = converse(quiet_server, pcm.ravel(), f"rate={rate}&encoding={encoding}&channels=2")
    text = " ".join(m["text"] for m in finals(got)).lower()
    assert "sorry" in text
    assert got[-1]["duration"] == pytest.approx(len(spoken) / 16_000, abs=1e-3)


def test_partials_only_grow_and_finals_tile_the_audio(quiet_server, spoken):
    got = converse(quiet_server, np.tile(spoken, 3), "latency=160")
    text, end = "", 0.0
    for message in got:
        if message["type"] == "partial":
            assert message["text"].startswith(text)
            text = message["text"]
        elif message["type"] == "final":
            assert message["text"].startswith(text)
            assert message["start"] == pytest.approx(end, abs=2e-3)
            text, end = "", message["end"]
    assert len(finals(got)) == 3
    assert end == pytest.approx(got[-1]["duration"], abs=2e-3)


def test_a_turn_is_ended_and_the_stream_switched(quiet_server, spoken):
    got = converse(
        quiet_server, np.tile(spoken[:60_000], 2), "latency=160&language=en-US",
        orders=[
            (10, '{"type": "end_turn"}'), (12, "ping"),
            (20, '{"type": "switch", "latency_ms": 560, "language": "it"}'),
            (30, '{"type": "switch", "latency_ms": 77}'),
        ],
    )  # fmt: skip
    kinds = [m["type"] for m in got]
    assert "pong" in kinds
    switched = next(m for m in got if m["type"] == "switched")
    assert switched == {"type": "switched", "language": "it", "latency_ms": 560}
    wrong = next(m for m in got if m["type"] == "error")
    assert "77 ms" in wrong["message"]  # and the stream continues
    assert any(m["type"] == "final" and m["end"] == 1.0 for m in got)


def test_without_interim_only_finals_are_sent(quiet_server, spoken):
    got = converse(quiet_server, spoken, "interim=false")
    assert not [m for m in got if m["type"] == "partial"]
    assert finals(got)


@pytest.mark.parametrize(
    ("query", "expected_text"),
    [
        ("latency=77", "77 ms"),
        ("language=tlh", "tlh"),
        ("rate=4000", "4000 Hz"),
        ("encoding=mp3", "mp3"),
        ("model=nobody", "nobody"),
        ("colour=red", "colour"),
        ("latency=fast", "latency"),
        ("latency=0", "0 ms"),
        ("latency=-560", "-560 ms"),
        ("sampleRate=8000", "sampleRate"),
        ("langauge=it", "did you mean 'language'?"),
        ("rate=8000&rate=16000", "rate"),
        ("interim=perhaps", "interim"),
        ("channels=0", "channels"),
        ("rate=nan", "rate"),
    ],
)
def test_an_invalid_query_is_rejected_by_its_parameter(quiet_server, query, expected_text):
    with connect(f"{quiet_server.ws}/ws?{query}") as socket:
        message = json.loads(socket.recv(timeout=10))
        assert message["type"] == "error"
        assert expected_text in message["message"]
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
        assert socket.close_code == 1008


@pytest.mark.parametrize(
    "query", ["language=&model=&rate=&latency=&interim=", "interim=True&phrases[]=Elba&channels=1"]
)
def test_empty_values_mean_the_default(quiet_server, spoken, query):
    got = converse(quiet_server, spoken, query)
    assert "sorry" in finals(got)[0]["text"].lower()
    assert (got[0]["language"], got[0]["rate"]) == ("auto", 16_000)


def test_the_nearest_locale_is_named(quiet_server):
    with connect(f"{quiet_server.ws}/ws?language=en-AU") as socket:
        assert json.loads(socket.recv(timeout=10))["language"] in ("en-GB", "en-US")
        socket.send('{"type": "switch", "language": "de-LI"}')
        assert json.loads(socket.recv(timeout=10))["language"].startswith("de")


@pytest.mark.parametrize(
    "message",
    [
        '{"type": "finish", "language": "it"}',
        '{"type": "switch", "langauge": "it"}',
        "{",
        "[]",
        '{"type": 1}',
        '{"type": "x"}',
        "nonsense",
        "",
    ],
)
def test_bad_messages_close_the_socket_and_release_all(quiet_server, message):
    with connect(f"{quiet_server.ws}/ws") as socket:
        assert json.loads(socket.recv(timeout=10))["type"] == "ready"
        socket.send(message)
        assert json.loads(socket.recv(timeout=10))["type"] == "error"
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)


def test_a_disconnected_client_releases_all(quiet_server, spoken):
    for _ in range(5):
        with connect(f"{quiet_server.ws}/ws") as socket:
            socket.send(spoken.tobytes())
            socket.socket.shutdown(SHUT_RDWR)  # without a word


def test_streams_beyond_the_load_limit_are_rejected(spoken):
    with running(WHEATEAR_SERVE_LOAD="0.0001") as server, connect(f"{server.ws}/ws") as first:
        assert json.loads(first.recv(timeout=10))["type"] == "ready"
        with connect(f"{server.ws}/ws") as second:
            message = json.loads(second.recv(timeout=10))
            assert (message["type"], message["code"]) == ("error", "overloaded")
            with pytest.raises(ConnectionClosed):
                second.recv(timeout=10)
            assert second.close_code == 1013
        first.send(spoken.tobytes())
        first.send("finish")
        assert finals(events(first, "end"))
        assert server.metric("wheatear_refused", reason="overload") == 1


def test_sockets_beyond_the_limit_are_rejected_before_they_open():
    with running(WHEATEAR_SERVE_LIMITS_STREAMS="1") as server, connect(f"{server.ws}/ws"):
        with pytest.raises(InvalidStatus) as refused, connect(f"{server.ws}/ws"):
            pass
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["retry-after"] == "5"


def test_shutdown_delivers_all_text(spoken):
    """SIGTERM: new streams are rejected, open ones continue and get all text."""
    environment = {"WHEATEAR_SERVE_DRAIN_SECONDS": "1"}
    with running(**environment) as server, connect(f"{server.ws}/ws?latency=560") as socket:
        json.loads(socket.recv(timeout=10))
        socket.send(spoken[:60_000].tobytes())
        events(socket, "partial")
        server.process.terminate()
        got = events(socket, "end")
        assert finals(got)
        assert got[-1]["duration"] == 3.75
        assert server.process.wait(30) == 0


@given(
    words | json_values.map(json.dumps) | st.binary(max_size=40).map(lambda b: b.decode("latin-1"))
)
def test_any_message_is_read_or_rejected(message):
    order, refusal = attempt(lambda: plain.read_message(message))
    assert refusal.status == 400 if order is None else isinstance(order.type, str)


names = st.sampled_from([field.name for field in msgspec.structs.fields(plain.SocketQuery)]) | words


@given(st.lists(st.tuples(names, words | st.integers().map(str) | st.just("1")), max_size=5))
def test_any_query_is_read_or_rejected(query):
    parsed, refusal = attempt(lambda: plain.read_query(QueryParams(query)))
    assert refusal.status == 400 if parsed is None else parsed.rate is not None
