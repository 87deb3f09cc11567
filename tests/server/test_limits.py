"""Limits of the settings, made small: a request beyond one is rejected, others continue."""

import contextlib
import json
import time
from collections.abc import Iterator

import hostile_media
import msgspec
import numpy as np
import pytest
import raw_socket as raw
from raw_socket import BINARY, connection, frame, opened, request, upload
from server_process import Server, events, running
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from wheatear.server.access.websocket_protocol import MESSAGE_BYTES
from wheatear.server.served_models import PHRASE_LETTERS


@contextlib.contextmanager
def limited(**limits: object) -> Iterator[Server]:
    """A server with limits of its own, without work when the block ends."""
    limits = {"requests_per_minute": 1_000_000} | limits
    names = {f"WHEATEAR_SERVE_LIMITS_{name.upper()}": str(value) for name, value in limits.items()}
    with running(**names) as server:
        yield server
        server.wait_for_rest()
        assert "Traceback" not in server.log, server.log


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    """A server with small limits."""
    limits = {
        "upload_bytes": 300_000, "file_seconds": 20, "phrases": 10, "files": 2,
        "uploads_per_key": 1, "session_seconds": 2.5, "streams_per_key": 3,
    }  # fmt: skip
    with limited(**limits) as server:
        yield server


@pytest.fixture
def at_rest(small: Server) -> Iterator[Server]:
    yield small
    small.wait_for_rest()


def error_of(answer: bytes) -> dict[str, str]:
    """The error in a response."""
    return msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])["error"]


def sent(server: Server, *files: bytes, **fields: str) -> bytes:
    """The answer to an upload."""
    form = raw.form(list(fields.items()), [("file", file) for file in files])
    return raw.answer(server.port, upload(form))


# -- files


def test_upload_above_its_size_is_rejected(at_rest):
    over = raw.form([], [("file", bytes(300_000))])
    assert raw.status(answer := raw.answer(at_rest.port, upload(over))) == 413
    assert error_of(answer)["code"] == "too_large"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (over[:200_000], over))
    head = upload(b"", transfer_encoding="chunked").replace(b"content-length: 0\r\n", b"")
    assert raw.status(raw.answer(at_rest.port, head + chunks + b"0\r\n\r\n")) == 413
    assert raw.status(sent(at_rest, hostile_media.packed(hostile_media.speech()))) == 200


def test_huge_body_of_other_routes_is_rejected(at_rest):
    for path in ("/v1/realtime/client_secrets", "/v1/audio/translations", "/health"):
        data = request("POST", path, content_length=str(1 << 40))
        assert raw.status(raw.answer(at_rest.port, data)) in (400, 405, 413)


def test_long_json_body_is_rejected(quiet_server):
    body = b'{"session": {"a": "' + b"a" * (1 << 20) + b'"}}'
    answer = raw.answer(quiet_server.port, request("POST", "/v1/realtime/client_secrets", body))
    assert raw.status(answer) == 413


def test_small_file_of_long_audio_is_rejected(at_rest):
    bomb = hostile_media.bomb(900)
    assert len(bomb) < 60_000
    answer = sent(at_rest, bomb)
    assert raw.status(answer) == 400
    assert "20 s" in error_of(answer)["message"]
    form = raw.form([("stream", "true")], [("file", _unknown_length())])
    answer = raw.exchange(at_rest.port, upload(form))
    assert raw.status(answer) == 200
    assert b"event: error" in answer


def _unknown_length() -> bytes:
    """A FLAC file of a minute without a stated length."""
    flac = bytearray(hostile_media.bomb(60))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    return bytes(flac)


def test_too_many_phrases_of_a_file_are_rejected(at_rest):
    sound = hostile_media.packed(hostile_media.speech())
    many = raw.form([("keywords[]", f"name {n}") for n in range(11)], [("file", sound)])
    long = raw.form([("keywords[]", "k" * (PHRASE_LETTERS + 1))], [("file", sound)])
    for form in (many, long):
        answer = raw.answer(at_rest.port, upload(form))
        assert raw.status(answer) == 400
        assert error_of(answer)["param"] == "keywords"
    for prompt in (
        "Smith, Jones",
        "p" * (PHRASE_LETTERS + 1),
    ):  # of which the last part would count
        assert raw.status(sent(at_rest, sound, prompt=prompt)) == 200


def test_second_upload_of_one_address_is_rejected(at_rest):
    with connection(at_rest.port) as slow:
        slow.sendall(upload(b"--EDGE\r\n", content_length="1000"))
        time.sleep(0.2)
        sound = hostile_media.packed(hostile_media.speech())
        assert raw.status(answer := sent(at_rest, sound)) == 429
        assert error_of(answer)["code"] == "too_many_sessions"
        assert b"retry-after: 5" in answer
    time.sleep(0.2)
    assert raw.status(sent(at_rest, sound)) == 200


def test_idle_upload_ends_and_frees_its_place():
    with limited(idle_seconds=0.4, uploads_per_key=1) as server:
        with connection(server.port) as slow:
            slow.sendall(upload(raw.form([], [("file", b"")])[:-20], content_length="1000"))
            answer = raw.everything(slow)
            assert raw.status(answer) == 408
            assert error_of(answer)["code"] == "timeout"
        sound = hostile_media.packed(np.tile(hostile_media.speech(), 30))
        assert raw.status(sent(server, sound)) == 200  # though that takes longer than a pause may


# -- sockets


def test_message_above_its_size_closes_the_socket(at_rest):
    with opened(at_rest.port) as client:
        client.sendall(frame(BINARY, bytes(MESSAGE_BYTES + 1))[:1000])
        assert raw.close_code(raw.to_close(client)) == 1009
    with opened(at_rest.port) as client:
        half = bytes(MESSAGE_BYTES // 2 + 1)
        client.sendall(frame(BINARY, half, fin=False) + frame(0, half))
        assert raw.close_code(raw.to_close(client)) == 1009


def test_too_many_phrases_of_a_socket_are_rejected(at_rest):
    with opened(at_rest.port, "/ws?" + "&".join(f"phrases=name{n}" for n in range(11))) as client:
        assert raw.close_code(raw.to_close(client)) == 1008
    with connect(f"{at_rest.ws}/v1/realtime") as socket:
        events(socket, "session.created")
        words = {"keywords": ["a name"] * 11}
        change = {"audio": {"input": {"transcription": words}}}
        socket.send(json.dumps({"type": "session.update", "session": change}))
        assert events(socket, "error")[-1]["error"]["param"].endswith("transcription.keywords")


def test_too_many_controls_are_rejected(at_rest):
    """Fifty at once, then five a second."""
    with connect(f"{at_rest.ws}/v1/realtime") as socket:
        for _ in range(80):
            socket.send('{"type": "input_audio_buffer.clear"}')
        got = events(socket, "error")
        assert [event["type"] for event in got].count("input_audio_buffer.cleared") >= 50
        assert got[-1]["error"]["code"] == "rate_limit_exceeded"
    with connect(f"{at_rest.ws}/ws") as socket:
        for _ in range(80):
            socket.send("end_turn")
        assert events(socket, "error")[-1]["code"] == "rate_limit_exceeded"
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
        assert socket.close_code == 1013


@pytest.mark.parametrize("wire", ["/ws", "/v1/realtime?sample_rate=16000"])
@pytest.mark.parametrize("paced", [True, False])
def test_long_session_ends_with_all_of_its_text(at_rest, spoken, wire, paced):
    """In time, and in audio."""
    with connect(at_rest.ws + wire) as socket:
        got = []
        with contextlib.suppress(ConnectionClosed):
            for start in range(0, 10 * len(spoken), 3200):
                at = start % len(spoken)
                _send(socket, wire, spoken[at : at + 3200].tobytes())
                time.sleep(0.2 * paced)
        with contextlib.suppress(ConnectionClosed):
            while True:
                got.append(json.loads(socket.recv(timeout=20)))
        assert socket.close_code in (1000, 1001)
        assert not [m for m in got if m["type"] == "error"], got[-3:]
        text = "".join(m.get("transcript") or m["text"] for m in got if m["type"] in _FINAL)
        assert "sorry" in text.lower()


_FINAL = ("final", "conversation.item.input_audio_transcription.completed")


def _send(socket, wire, data):
    if wire == "/ws":
        socket.send(data)
    else:
        import base64

        audio = base64.b64encode(data).decode()
        socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))


def test_socket_above_the_number_of_one_address_is_rejected(at_rest):
    with contextlib.ExitStack() as held:
        for _ in range(3):
            held.enter_context(opened(at_rest.port))
        answer = raw.answer(at_rest.port, raw.handshake())
        assert raw.status(answer) == 429
        assert error_of(answer)["code"] == "too_many_sessions"


def test_idle_socket_is_closed():
    with limited(idle_seconds=0.5) as server:
        for path in ("/ws", "/v1/realtime"):
            with connect(server.ws + path) as socket:
                error = events(socket, "error")[-1]
                assert error.get("error", error)["code"] == "idle"
                with pytest.raises(ConnectionClosed):
                    socket.recv(timeout=10)
                assert socket.close_code == 1008
