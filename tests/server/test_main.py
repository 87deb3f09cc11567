"""SIGTERM: new streams are rejected, open ones get all of their text, the exit code is 0."""

import base64
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import hostile_media
import numpy as np
import pytest
import raw_socket as raw
from raw_socket import connection, upload
from server_process import Server, events, running
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

COMPLETED = "conversation.item.input_audio_transcription.completed"


@contextmanager
def going(seconds: float = 30, **more: str) -> Iterator[Server]:
    """A server with some seconds for streams after SIGTERM."""
    with running(WHEATEAR_SERVE_DRAIN_SECONDS=str(seconds), **more) as server:
        yield server
        assert "Traceback" not in server.log, server.log


def until(there, seconds=20):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def answered(port, data):
    """The answer to a request, as it will be."""
    got = []
    thread = threading.Thread(target=lambda: got.append(raw.exchange(port, data, 60)))
    thread.start()
    return thread, got


@pytest.fixture(scope="module")
def minutes():
    return hostile_media.packed(np.tile(hostile_media.speech(), 60))


def test_with_nothing_on_it_goes_at_once():
    with going() as server:
        assert server.get("/ready")[0] == 200
        assert server.stop() == 0


@pytest.mark.parametrize("stream", ["false", "true"])
def test_files_are_transcribed_to_their_end(minutes, stream):
    with going() as server:
        form = raw.form([("stream", stream)], [("file", minutes)])
        thread, got = answered(server.port, upload(form))
        until(lambda: server.metric("wheatear_files"))
        server.process.terminate()
        until(lambda: server.get("/ready")[0] == 503)
        assert json.loads(server.get("/ready")[1]) == {"status": "draining"}
        assert server.get("/health")[0] == 200
        thread.join(60)
        assert raw.status(got[0]) == 200
        assert got[0].count(b"sorry") > 40
        assert (b"[DONE]" in got[0]) == (stream == "true")
        assert server.process.wait(30) == 0


def test_new_streams_are_rejected(spoken, minutes):
    with going() as server, connect(f"{server.ws}/ws?latency=160") as socket:
        events(socket, "ready")
        socket.send(spoken.tobytes())
        server.process.terminate()
        until(lambda: server.get("/ready")[0] == 503)
        for path in ("/ws", "/v1/realtime"):
            with pytest.raises(InvalidStatus) as refused, connect(server.ws + path):
                pass
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["retry-after"] == "5"
            assert json.loads(refused.value.response.body)["error"]["code"] == "shutting_down"
        answer = raw.answer(server.port, upload(raw.form([], [("file", minutes)])))
        assert raw.status(answer) == 503
        assert b"shutting_down" in answer
        socket.send("finish")
        assert "sorry" in json.dumps(events(socket, "end"))
        assert server.process.wait(30) == 0


def test_live_streams_may_go_on_for_a_while_and_get_all_of_their_text(spoken):
    """A stream that continues is finished when the time is over, not in the middle of a word."""
    with going(1) as server:
        with (
            connect(f"{server.ws}/ws?latency=560") as plain,
            connect(f"{server.ws}/v1/realtime?sample_rate=16000") as realtime,
        ):
            speech = base64.b64encode(spoken[:60_000].tobytes()).decode()
            append = json.dumps({"type": "input_audio_buffer.append", "audio": speech})
            plain.send(spoken[:60_000].tobytes())
            realtime.send(append)
            events(plain, "partial")
            server.process.terminate()
            silence = bytes(3200)
            talking = threading.Thread(target=_talk, args=(plain, realtime, silence))
            talking.start()
            got = events(plain, "end")
            assert "sorry" in " ".join(m["text"] for m in got if m["type"] == "final")
            assert got[-1]["duration"] > 3.75
            completed = events(realtime, COMPLETED)
            assert "sorry" in completed[-1]["transcript"]
            assert not [m for m in (*got, *completed) if m["type"] == "error"]
            talking.join()
        assert server.process.wait(30) == 0


def _talk(plain, realtime, data):
    audio = base64.b64encode(data).decode()
    append = json.dumps({"type": "input_audio_buffer.append", "audio": audio})
    for socket, message in ((plain, data), (realtime, append)):
        try:
            for _ in range(60):
                socket.send(message)
                time.sleep(0.05)
        except ConnectionClosed:
            pass


def test_a_second_signal_ends_it_without_asking(spoken):
    with going() as server, connect(f"{server.ws}/ws") as socket:
        events(socket, "ready")
        socket.send(spoken.tobytes())
        server.process.terminate()
        until(lambda: server.get("/ready")[0] == 503)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0
        with suppress(ConnectionClosed):
            while True:
                socket.recv(timeout=10)
        assert socket.close_code == 1012


def test_a_file_is_cut_off_by_a_second_signal(minutes):
    with going() as server:
        form = raw.form([("stream", "true")], [("file", minutes)])
        thread, got = answered(server.port, upload(form))
        until(lambda: server.metric("wheatear_files"))
        server.process.terminate()
        until(lambda: server.get("/ready")[0] == 503)
        server.process.terminate()
        assert server.process.wait(20) == 0
        thread.join(60)
        assert raw.status(got[0]) in (0, 200)


def test_who_does_not_go_does_not_keep_it(spoken):
    """Connections that wait for nothing, a client that never reads, one that sends no more."""
    with ExitStack() as held:
        server = held.enter_context(going(0.2))
        idle, head, body = (held.enter_context(connection(server.port)) for _ in range(3))
        deaf = held.enter_context(raw.opened(server.port, "/ws?latency=80", unread=4096))
        held.enter_context(raw.opened(server.port, "/v1/realtime"))
        idle.sendall(raw.request(connection="keep-alive"))
        head.sendall(b"GET /health HTTP/1.1\r\n")
        body.sendall(upload(b"--EDGE\r\n", content_length="100000"))
        pings = raw.frame(raw.TEXT, b"ping") * 300
        deaf.sendall(raw.frame(raw.BINARY, spoken.tobytes()) + pings)
        time.sleep(0.3)
        server.process.terminate()
        assert server.process.wait(45) == 0
