"""Half-closed clients get their answers; the work of a client that is gone is canceled."""

import base64
import contextlib
import json
import socket
import time

import hostile_media
import numpy as np
import pytest
import raw_socket as raw
from raw_socket import BINARY, TEXT, connection, everything, frame, opened, request, upload
from server_process import Server, running

SOUND = hostile_media.packed(hostile_media.speech())
FORM = raw.form([], [("file", SOUND)])
STREAMED = raw.form([("stream", "true")], [("file", SOUND)])


def shut(client: socket.socket, seconds: float = 60) -> bytes:
    """Reads the answer after the sending side has been shut."""
    client.shutdown(socket.SHUT_WR)
    return everything(client, seconds)


@pytest.mark.parametrize("kept", ["close", "keep-alive"])
@pytest.mark.parametrize(
    ("data", "there"),
    [
        (upload(FORM), b'"text"'), (upload(STREAMED), b"[DONE]"),
        (request("POST", "/v1/listen", SOUND, content_type="audio/flac"), b'"transcript"'),
        (request(path="/v1/models"), b"wheatear-small"), (request(path="/nothing"), b"nothing"),
        (request("POST", "/v1/realtime/client_secrets", b"{}"), b'"value"'),
    ],
)  # fmt: skip
def test_requests_are_answered(quiet_server, data, there, kept):
    with connection(quiet_server.port) as client:
        client.sendall(data.replace(b"connection: close", f"connection: {kept}".encode()))
        assert there in shut(client)  # and then the server closes, too


def test_every_one_of_several_is_answered(quiet_server):
    kept = upload(FORM, connection="keep-alive")
    with connection(quiet_server.port) as client:
        client.sendall(kept + request(connection="keep-alive") + kept)
        got = shut(client)
    assert got.count(b"HTTP/1.1 200") == 3
    assert got.count(b'"usage"') == 2


def test_half_a_request_is_none(quiet_server):
    for data in (upload(FORM)[:-100], request()[:-4], upload(FORM, content_length="1000000")):
        with connection(quiet_server.port) as client:
            client.sendall(data)
            assert raw.status(shut(client, 20)) in (0, 400)


def test_a_second_half_takes_nothing_from_the_first(quiet_server):
    with connection(quiet_server.port) as client:
        client.sendall(upload(FORM, connection="keep-alive") + upload(FORM)[:2000])
        got = shut(client)
    assert got.count(b"HTTP/1.1 200") == 1
    assert b'"text"' in got


# -- sockets


def ended(client: socket.socket, seconds: float = 60) -> bytes:
    client.shutdown(socket.SHUT_WR)
    return raw.to_close(client, seconds)


@pytest.mark.parametrize("paced", [False, True])
def test_rest_of_a_socket_is_sent(quiet_server, spoken, paced):
    """All that was sent before, also what is still on its way, is transcribed."""
    samples = spoken if paced else np.tile(spoken, 4)
    with opened(quiet_server.port, "/ws?latency=160") as client:
        for at in range(0, len(samples), 8000):
            client.sendall(frame(BINARY, samples[at : at + 8000].tobytes()))
            time.sleep(0.1 * paced)
        got = ended(client)
    assert got.count(b"sorry") >= (1 if paced else 4)
    assert b'"type": "end"' in got
    assert raw.close_code(got) == 1000


def test_rest_of_every_protocol_is_sent(quiet_server, spoken):
    audio = {"type": "input_audio_buffer.append", "audio": _base64(spoken)}
    event = json.dumps(audio).encode()
    cases = {
        "/v1/realtime?sample_rate=16000": (TEXT, event, b"transcription.completed"),
        "/v1/listen?encoding=linear16&sample_rate=16000": (
            BINARY, spoken.tobytes(), b'"type": "Metadata"'
        ),
    }  # fmt: skip
    for path, (opcode, data, last) in cases.items():
        with opened(quiet_server.port, path) as client:
            client.sendall(frame(opcode, data))
            got = ended(client)
        assert b"sorry" in got.lower(), path
        assert last in got, path


def _base64(samples: np.ndarray) -> str:
    return base64.b64encode(samples.tobytes()).decode()


def test_an_unfinished_message_is_left_out(quiet_server, spoken):
    with opened(quiet_server.port) as client:
        client.sendall(frame(BINARY, spoken.tobytes()))
        client.sendall(frame(BINARY, spoken.tobytes())[:1000])
        got = ended(client)
    assert b"sorry" in got
    assert raw.close_code(got) == 1000


@pytest.mark.parametrize("way", ["closed", "reset"])
def test_sockets_of_clients_that_have_gone_are_given_up(quiet_server, way):
    """Though much that they sent has not been read."""
    with opened(quiet_server.port) as client:
        client.settimeout(0.5)
        with contextlib.suppress(OSError):
            for _ in range(40):
                client.sendall(frame(BINARY, bytes(1 << 20)))
        if way == "reset":
            raw.reset(client)
    quiet_server.wait_for_rest(15)


def test_wyoming_is_answered(spoken):
    with running("--wyoming-port", "0") as server:
        port = _wyoming_port(server)
        sound = {"rate": 16000, "width": 2, "channels": 1}
        with connection(port) as client:
            for kind, data in (("audio-start", b""), ("audio-chunk", spoken.tobytes()),
                               ("audio-stop", b"")):  # fmt: skip
                head = {"type": kind, "data": sound, "payload_length": len(data)}
                client.sendall(json.dumps(head).encode() + b"\n" + data)
            got = shut(client)
        assert b"sorry" in got.lower()
        assert b'"transcript-stop"' in got
        server.wait_for_rest()
        assert "Traceback" not in server.log, server.log


def _wyoming_port(server: Server) -> int:
    assert server.process.stdout is not None
    return int(server.process.stdout.readline().split()[-2].rpartition(":")[2])
