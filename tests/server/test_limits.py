"""Each limit, made small: what is beyond it is refused, and what was going on goes on."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator

import hostile_media
import msgspec
import numpy as np
import pytest
import raw_socket as raw
from raw_socket import BINARY, TEXT, connection, frame, opened, request, upload
from server_process import Server, events, running
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from wheatear.recognizer.options import StreamOptions
from wheatear.server.session.live_stream import LiveStream
from wheatear.server.settings import Limits


@contextlib.contextmanager
def limited(**limits: object) -> Iterator[Server]:
    """A server with limits of its own, which is at rest when it is left."""
    limits = {"requests_per_minute": 1_000_000} | limits
    names = {f"WHEATEAR_SERVE_LIMITS_{name.upper()}": str(value) for name, value in limits.items()}
    with running(**names) as server:
        yield server
        server.wait_for_rest()
        assert "Traceback" not in server.log, server.log


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    """A server that takes little of anything."""
    limits = {
        "upload_bytes": 300_000, "file_seconds": 20, "decoded_bytes": 4_000_000, "phrases": 10,
        "phrase_letters": 100, "files": 2, "files_per_key": 1, "uploads_per_key": 1,
        "message_bytes": 50_000,
        "orders_per_second": 0.2, "session_seconds": 2.5,
        "streams_per_key": 3,
    }  # fmt: skip
    with limited(**limits) as server:
        yield server


@pytest.fixture
def at_rest(small: Server) -> Iterator[Server]:
    yield small
    small.wait_for_rest()


def told(answer: bytes) -> dict[str, str]:
    """The error in a response."""
    return msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])["error"]


def sent(server: Server, *files: bytes, **fields: str) -> bytes:
    """The answer to an upload."""
    form = raw.form(list(fields.items()), [("file", file) for file in files])
    return raw.answer(server.port, upload(form))


# -- files


def test_bytes_of_an_upload(at_rest):
    over = raw.form([], [("file", bytes(300_000))])
    assert raw.status(answer := raw.answer(at_rest.port, upload(over))) == 413
    assert told(answer)["code"] == "too_large"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (over[:200_000], over))
    head = upload(b"", transfer_encoding="chunked").replace(b"content-length: 0\r\n", b"")
    assert raw.status(raw.answer(at_rest.port, head + chunks + b"0\r\n\r\n")) == 413
    assert raw.status(sent(at_rest, hostile_media.packed(hostile_media.speech()))) == 200


def test_bytes_of_a_body_that_is_no_upload(at_rest):
    for path in ("/v1/realtime/client_secrets", "/v1/audio/translations", "/health"):
        data = request("POST", path, content_length=str(1 << 40))
        assert raw.status(raw.answer(at_rest.port, data)) in (400, 405, 413)


def test_bytes_of_json(quiet_server):
    body = b'{"session": {"a": "' + b"a" * (1 << 20) + b'"}}'
    answer = raw.answer(quiet_server.port, request("POST", "/v1/realtime/client_secrets", body))
    assert raw.status(answer) == 413


def test_seconds_of_a_file_however_small_it_is(at_rest):
    bomb = hostile_media.bomb(900)
    assert len(bomb) < 60_000
    answer = sent(at_rest, bomb)
    assert raw.status(answer) == 400
    assert "20 s" in told(answer)["message"]
    form = raw.form([("stream", "true")], [("file", _unknown_length())])
    answer = raw.exchange(at_rest.port, upload(form))
    assert raw.status(answer) == 200
    assert b"event: error" in answer


def _unknown_length() -> bytes:
    """A FLAC file of a minute that does not say how long it is."""
    flac = bytearray(hostile_media.bomb(60))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    return bytes(flac)


def test_bytes_that_a_file_unpacks_to(at_rest):
    wide = hostile_media.bomb(3, 192_000, 8)
    assert len(wide) < 60_000
    answer = sent(at_rest, wide)
    assert raw.status(answer) == 400
    assert "unpacks to more than 4000000 bytes" in told(answer)["message"]


def test_phrases_of_a_file(at_rest):
    sound = hostile_media.packed(hostile_media.speech())
    many = raw.form([("keywords[]", f"name {n}") for n in range(11)], [("file", sound)])
    long = raw.form([("keywords[]", "k" * 101)], [("file", sound)])
    for form in (many, long):
        answer = raw.answer(at_rest.port, upload(form))
        assert raw.status(answer) == 400
        assert told(answer)["param"] == "keywords"
    for prompt in ("Smith, Jones", "p" * 101):  # of which the last part would count
        assert raw.status(sent(at_rest, sound, prompt=prompt)) == 200


def test_files_of_one_address(at_rest):
    with connection(at_rest.port) as slow:
        slow.sendall(upload(b"--EDGE\r\n", content_length="1000"))
        time.sleep(0.2)
        sound = hostile_media.packed(hostile_media.speech())
        assert raw.status(answer := sent(at_rest, sound)) == 429
        assert told(answer)["code"] == "too_many_sessions"
        assert b"retry-after: 5" in answer
    time.sleep(0.2)
    assert raw.status(sent(at_rest, sound)) == 200


@pytest.mark.parametrize("patience", [{"idle_seconds": 0.4}, {"upload_seconds": 0.8}])
def test_how_long_an_upload_may_take(patience):
    """Whether nothing comes, or a little all the time; and its place is free again."""
    with limited(**patience, files_per_key=1) as server:
        with connection(server.port) as slow:
            slow.sendall(upload(raw.form([], [("file", b"")])[:-20], content_length="1000"))
            if "upload_seconds" in patience:
                for _ in range(6):
                    slow.sendall(b"a")
                    time.sleep(0.15)
            answer = raw.everything(slow)
            assert raw.status(answer) == 408
            assert told(answer)["code"] == "timeout"
        sound = hostile_media.packed(np.tile(hostile_media.speech(), 30))
        assert raw.status(sent(server, sound)) == 200  # though that takes longer than a pause may


# -- sockets


def test_bytes_of_a_message(at_rest):
    with opened(at_rest.port) as client:
        client.sendall(frame(BINARY, bytes(50_001)))
        assert raw.close_code(raw.to_close(client)) == 1009
    with opened(at_rest.port) as client:
        client.sendall(frame(BINARY, bytes(30_000), fin=False) + frame(0, bytes(30_000)))
        assert raw.close_code(raw.to_close(client)) == 1009


def test_phrases_of_a_socket(at_rest):
    with opened(at_rest.port, "/ws?" + "&".join(f"phrases=name{n}" for n in range(11))) as client:
        assert raw.close_code(raw.to_close(client)) == 1008
    with connect(f"{at_rest.ws}/v1/realtime") as socket:
        events(socket, "session.created")
        words = {"keywords": ["a name"] * 11}
        change = {"audio": {"input": {"transcription": words}}}
        socket.send(json.dumps({"type": "session.update", "session": change}))
        assert events(socket, "error")[-1]["error"]["param"].endswith("transcription.keywords")


def test_cuts_and_changes(at_rest):
    """Two at once, then one in five seconds."""
    with connect(f"{at_rest.ws}/v1/realtime") as socket:
        for _ in range(3):
            socket.send('{"type": "input_audio_buffer.clear"}')
        got = events(socket, "error")
        assert [event["type"] for event in got].count("input_audio_buffer.cleared") == 2
        assert got[-1]["error"]["code"] == "rate_limit_exceeded"
    with connect(f"{at_rest.ws}/ws") as socket:
        for _ in range(3):
            socket.send("end_turn")
        assert events(socket, "error")[-1]["code"] == "rate_limit_exceeded"
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
        assert socket.close_code == 1013


@pytest.mark.parametrize("wire", ["/ws", "/v1/realtime?sample_rate=16000"])
@pytest.mark.parametrize("paced", [True, False])
def test_length_of_a_session(at_rest, spoken, wire, paced):
    """In time, and in audio: it comes to its end with all of its text."""
    with connect(at_rest.ws + wire) as socket:
        got = []
        with contextlib.suppress(ConnectionClosed):
            for start in range(0, 10 * len(spoken), 3200):
                at = start % len(spoken)
                _say(socket, wire, spoken[at : at + 3200].tobytes())
                time.sleep(0.2 * paced)
        with contextlib.suppress(ConnectionClosed):
            while True:
                got.append(json.loads(socket.recv(timeout=20)))
        assert socket.close_code in (1000, 1001)
        assert not [m for m in got if m["type"] == "error"], got[-3:]
        text = "".join(m.get("transcript") or m["text"] for m in got if m["type"] in _FINAL)
        assert "sorry" in text.lower()


_FINAL = ("final", "conversation.item.input_audio_transcription.completed")


def _say(socket, wire, data):
    if wire == "/ws":
        socket.send(data)
    else:
        import base64

        audio = base64.b64encode(data).decode()
        socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))


def test_messages_of_one_address_on_all_its_sockets():
    """400 a second: of 500 on each of two sockets, the last come after a second at the earliest."""
    most = {"messages_per_second": 100_000, "messages_per_second_per_key": 400}
    with limited(**most) as server, opened(server.port) as one, opened(server.port) as two:
        began = time.monotonic()
        for client in (one, two):
            client.sendall(frame(TEXT, b"ping") * 500 + frame(TEXT, b"finish"))
        for client in (one, two):
            assert raw.to_close(client).count(b'"pong"') == 500
        assert time.monotonic() - began > 1


def test_sockets_of_one_address(at_rest):
    with contextlib.ExitStack() as held:
        for _ in range(3):
            held.enter_context(opened(at_rest.port))
        answer = raw.answer(at_rest.port, raw.handshake())
        assert raw.status(answer) == 429
        assert told(answer)["code"] == "too_many_sessions"


def test_silence_of_a_client():
    with limited(idle_seconds=0.5) as server:
        for path in ("/ws", "/v1/realtime"):
            with connect(server.ws + path) as socket:
                error = events(socket, "error")[-1]
                assert error.get("error", error)["code"] == "idle"
                with pytest.raises(ConnectionClosed):
                    socket.recv(timeout=10)
                assert socket.close_code == 1008


def test_who_does_not_read_loses_its_stream(spoken):
    """Neither its place nor a descriptor is held, though the client is still there."""
    quick = {"messages_per_second": 100_000, "messages_per_second_per_key": 100_000}
    with limited(send_seconds=0.5, idle_seconds=600, **quick) as server:
        before = server.used()["descriptors"]
        with opened(server.port, "/ws?latency=80", unread=4096) as client:
            client.settimeout(0.5)
            with contextlib.suppress(OSError):
                for _ in range(3000):
                    client.sendall(frame(TEXT, b"ping") * 100)
            server.wait_for_rest(60)  # tens of thousands of answers fill what the system keeps
            end = time.monotonic() + 10
            while server.used()["descriptors"] > before + 1:
                assert time.monotonic() < end, "its connection is still there"
                time.sleep(0.05)


def test_a_socket_takes_no_more_than_it_can_transcribe():
    """Also of one message: the rest of it waits outside."""

    class ScheduledStream:
        """A stream of which nothing is computed until somebody says so."""

        backlog_s = 0.0
        most = 0.0

        def push(self, samples):
            self.backlog_s += len(samples) / 16_000
            self.most = max(self.most, self.backlog_s)

    class ServedModel:
        class scheduler:  # noqa: N801
            @staticmethod
            def open(listener, options):
                return ScheduledStream()

    from wheatear.audio.pcm import PcmDecoder

    async def main():
        live = LiveStream(
            ServedModel, PcmDecoder(8000, "mulaw"), Limits(backlog_seconds=5.0), StreamOptions()
        )  # type: ignore
        pushing = asyncio.create_task(live.push(bytes(8000 * 60)))
        for _ in range(30):
            await asyncio.sleep(0.05)
            assert not pushing.done()
            live.scheduled.backlog_s = max(0.0, live.scheduled.backlog_s - 1)
            if live.scheduled.most > 5:
                break
        live.scheduled.backlog_s = 0.0
        while not pushing.done():
            await asyncio.sleep(0)
            live.scheduled.backlog_s = 0.0
        return live.scheduled.most

    assert 5 < asyncio.run(main()) < 8


def test_connections(spoken):
    """Hundreds that say nothing, where fifty may be: who came on business is not disturbed."""
    with limited(connections=50, streams_per_key=20) as server, contextlib.ExitStack() as held:
        good = held.enter_context(connect(f"{server.ws}/ws?latency=160"))
        events(good, "ready")
        for _ in range(300):
            with contextlib.suppress(OSError):
                held.enter_context(connection(server.port))
        assert server.get("/health")[0] == 200
        good.send(spoken.tobytes())
        good.send("finish")
        assert "sorry" in json.dumps(events(good, "end"))
        assert server.used()["descriptors"] < 80
