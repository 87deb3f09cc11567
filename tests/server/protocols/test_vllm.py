"""/v1/realtime?dialect=vllm: a client that speaks as vLLM's example does."""

import base64
import json
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_process import events, running
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import wheatear


@contextmanager
def session(server, query="dialect=vllm", model="wheatear-small"):
    with connect(f"{server.ws}/v1/realtime?{query}") as socket:
        created = json.loads(socket.recv(timeout=10))
        assert set(created) == {"type", "id", "created"}
        assert created["type"] == "session.created"
        if model:
            send(socket, "session.update", model=model)
        yield socket


def send(socket, type, **fields):  # noqa: A002
    socket.send(json.dumps({"type": type, **fields}))


def append(socket, samples, block=4096):
    for at in range(0, len(samples), block):
        audio = base64.b64encode(samples[at : at + block].tobytes()).decode()
        send(socket, "input_audio_buffer.append", audio=audio)


def commit(socket, **fields):
    send(socket, "input_audio_buffer.commit", **fields)


def done(socket):
    """The text of an utterance, which its deltas make up, and the last event."""
    *deltas, last = events(socket, "transcription.done")
    assert all(set(e) == {"type", "delta"} and e["delta"] for e in deltas)
    assert "".join(e["delta"] for e in deltas) == last["text"]
    assert set(last["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"}
    return last["text"], last


@pytest.fixture(scope="module")
def recognizer():
    return wheatear.load(threads=1)


def test_the_example(quiet_server, recognizer, spoken):
    """Start with a commit, send audio, end with a final commit."""
    expected = recognizer.transcribe(spoken, latency_ms=560, language="en").text
    with session(quiet_server, "dialect=vllm&delay=high&language=en") as socket:
        for _ in range(2):
            commit(socket)
            append(socket, spoken)
            commit(socket, final=True)
            text, last = done(socket)
            assert text == expected
            assert last["usage"]["prompt_tokens"] == int(np.ceil(len(spoken) / 1280))
            assert last["usage"]["completion_tokens"] > 10


def test_text_comes_while_it_is_said(quiet_server, spoken):
    with session(quiet_server) as socket:
        append(socket, spoken)
        commit(socket)  # as well after some audio
        events(socket, "transcription.delta")
        commit(socket, final=True)
        events(socket, "transcription.done")


def test_a_final_commit_alone_will_do(quiet_server, spoken):
    with session(quiet_server) as socket:
        append(socket, spoken)
        commit(socket, final=True)
        assert "sorry" in done(socket)[0].lower()
        commit(socket, final=True)  # of nothing
        assert done(socket)[0] == ""


def test_other_rates(quiet_server, spoken):
    soxr = pytest.importorskip("soxr")
    samples = soxr.resample(spoken.astype(np.float32) / 32768, 16_000, 24_000)
    with session(quiet_server, "dialect=vllm&sample_rate=24000") as socket:
        append(socket, np.round(samples * 32767).astype(np.int16))
        commit(socket, final=True)
        assert "sorry" in done(socket)[0].lower()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ('{"type": "response.create"}', "unknown_event"),
        ('{"type": "input_audio_buffer.append"}', "unknown_event"),
        ('{"type": "input_audio_buffer.append", "audio": "%%"}', "invalid_audio"),
        ('{"type": "session.update", "model": "nobody"}', "model_not_found"),
    ],
)
def test_errors_are_told_and_the_session_goes_on(quiet_server, spoken, message, code):
    with session(quiet_server) as socket:
        socket.send(message)
        error = json.loads(socket.recv(timeout=10))
        assert set(error) == {"type", "error", "code"}
        assert isinstance(error["error"], str)
        assert error["code"] == code
        socket.send(b"bytes")
        assert json.loads(socket.recv(timeout=10))["code"] == "invalid_audio"
        append(socket, spoken)
        commit(socket, final=True)
        assert "sorry" in done(socket)[0].lower()


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ({"type": "session.update", "model": "whisper-1", "language": "it"}, "language"),
        ({"type": "session.update", "Model": "whisper-1"}, "Model"),
        ({"type": "session.update", "model": 7}, "model"),
        ({"type": "input_audio_buffer.append", "audio": "", "rate": 8000}, "rate"),
        ({"type": "input_audio_buffer.commit", "Final": True}, "Final"),
        ({"type": "input_audio_buffer.commit", "final": "true"}, "final"),
    ],
)
def test_a_field_that_is_not_known_or_wrong_is_named(quiet_server, message, name):
    with session(quiet_server) as socket:
        socket.send(json.dumps(message))
        error = json.loads(socket.recv(timeout=10))
        assert error["type"] == "error"
        assert name in error["error"]


def test_base64_in_lines(quiet_server, spoken):
    with session(quiet_server) as socket:
        audio = base64.encodebytes(spoken.tobytes()).decode()
        send(socket, "input_audio_buffer.append", audio=audio, event_id="mine")
        commit(socket, final=True)
        assert "sorry" in done(socket)[0].lower()


def test_no_commit_before_the_model(quiet_server):
    with session(quiet_server, model=None) as socket:
        commit(socket)
        assert json.loads(socket.recv(timeout=10))["code"] == "model_not_validated"


@pytest.mark.parametrize(
    "query",
    [
        "dialect=klingon", "dialect=vllm&sample_rate=x", "dialect=vllm&delay=never",
        "dialect=vllm&language=tlh",
        "dialect=vllm&sampleRate=8000", "dialect=vllm&sample_rate=8000&sample_rate=16000",
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_before_the_socket_opens(quiet_server, query):
    with pytest.raises(InvalidStatus) as refused, session(quiet_server, query):
        pass
    assert refused.value.response.status_code == 400


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.one_of(st.sampled_from(["start", "end"]), st.sampled_from([1, 700, 9000, 60_000])),
        max_size=12,
    )
)
def test_every_final_commit_is_answered_in_order(quiet_server, recognizer, spoken, steps):
    samples, at, parts = np.tile(spoken, 8), 0, [[0, 0]]
    with session(quiet_server, "dialect=vllm&delay=low") as socket:
        for step in [*steps, "end"]:
            match step:
                case "start":
                    commit(socket)
                case "end":
                    commit(socket, final=True)
                    parts.append([at, at])
                case _:
                    append(socket, samples[at : at + step])
                    at += step
                    parts[-1][1] = at
        for start, end in parts[:-1]:
            text, _ = done(socket)
            assert text == recognizer.transcribe(samples[start:end], latency_ms=160).text


def test_going_down_tells_what_was_said(spoken):
    with running(WHEATEAR_SERVE_DRAIN_SECONDS="1") as server, session(server) as socket:
        commit(socket)
        append(socket, spoken[:60_000])
        events(socket, "transcription.delta")
        server.process.terminate()
        assert "sorry" in events(socket, "transcription.done")[-1]["text"].lower()
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
        assert server.process.wait(30) == 0
