"""Clients that mean harm: each attack is a function that ends by itself.

`attack(port)` does its worst to a server on this machine and raises AssertionError if the server
lets it do what it must not. `hostile_hour.py` runs them all the time, `test_hostile.py` once each.
"""

import contextlib
import json
import random
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hostile_media
import numpy as np
import raw_socket as raw
from raw_socket import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    connection,
    everything,
    exchange,
    frame,
    opened,
    upload,
)

Attack = Callable[[int], None]
HTTP: dict[str, Attack] = {}
FORMS: dict[str, Attack] = {}
SOCKETS: dict[str, Attack] = {}
REALTIME: dict[str, Attack] = {}
CROWDS: dict[str, Attack] = {}
"""Attacks of many connections."""

REFUSED = range(400, 500)


def _in(group: dict[str, Attack]) -> Callable[[Attack], Attack]:
    def put(attack: Attack) -> Attack:
        group[attack.__name__] = attack
        return attack

    return put


def _refused(port: int, data: bytes) -> bytes:
    answer = raw.answer(port, data)
    assert raw.status(answer) in REFUSED, (data[:100], answer[:300])
    return answer


# -- HTTP


@_in(HTTP)
def garbage(port: int) -> None:
    for seed in range(10):
        noise = random.Random(seed).randbytes(3000)
        assert raw.status(exchange(port, noise + b"\r\n\r\n", 5)) in (0, 400)


@_in(HTTP)
def tls_to_a_plain_port(port: int) -> None:
    assert raw.status(exchange(port, bytes.fromhex("16030100f8010000f40303") + bytes(200), 5)) < 500


@_in(HTTP)
def heads_that_do_not_end(port: int) -> None:
    with contextlib.ExitStack() as held:
        clients = [held.enter_context(connection(port)) for _ in range(30)]
        for _ in range(5):
            for client in clients:
                client.sendall(
                    b"x-a: b\r\n" if _ else b"GET /health HTTP/1.1\r\nhost: localhost\r\n"
                )
            time.sleep(0.05)


@_in(HTTP)
def a_second_head_that_does_not_end(port: int) -> None:
    with connection(port) as client:
        client.sendall(raw.request(connection="keep-alive"))
        client.recv(1 << 16)
        client.sendall(b"GET /health HT")
        time.sleep(0.2)


@_in(HTTP)
def bodies_that_do_not_come(port: int) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(7):
            client = held.enter_context(connection(port))
            client.sendall(upload(b"--EDGE\r\n", content_length="1000000"))
        time.sleep(0.3)


@_in(HTTP)
def heads_that_are_too_large(port: int) -> None:
    _refused(port, raw.request(x_large="a" * 1_000_000))
    _refused(port, raw.request(path="/" + "a" * 1_000_000))
    many = {f"x_{n}": "1" for n in range(1200)}
    assert raw.status(exchange(port, raw.request(**many))) in (200, 400)
    _refused(port, raw.handshake(**dict(list(many.items())[:150])))
    _refused(port, raw.handshake("/ws?language=" + "a" * 9000))


@_in(HTTP)
def many_requests_at_once(port: int) -> None:
    one = raw.request(connection="keep-alive")
    answer = exchange(port, one * 40 + raw.request())
    assert answer.count(b"HTTP/1.1 200") == 41


SMUGGLING = {
    "both ends": "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "two lengths": "Content-Length: 0\r\nContent-Length: 30\r\n\r\n",
    "two lengths in one": "Content-Length: 0, 30\r\n\r\n",
    "a length with a sign": "Content-Length: +5\r\n\r\nhello",
    "a negative length": "Content-Length: -1\r\n\r\n",
    "a hexadecimal length": "Content-Length: 0x10\r\n\r\n",
    "an unknown encoding": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two encodings": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a space before the colon": "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded header": "X-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: -1\r\n\r\n",
    "a size that is none": "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "a negative size": "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "a size that overflows": "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffffffff\r\n",
}


@_in(HTTP)
def requests_with_two_ends(port: int) -> None:
    """Nothing after the first request may be taken for a second one."""
    for shape in SMUGGLING.values():
        head = "POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: localhost\r\n"
        inner = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
        answer = exchange(port, (head + shape + inner).encode(), 5)
        assert raw.status(answer) in REFUSED, (shape, answer[:200])
        assert b"smuggled" not in answer, shape
        assert answer.count(b"HTTP/1.1 ") == 1, shape


@_in(HTTP)
def paths_that_lead_elsewhere(port: int) -> None:
    for path in (
        "/page/../../../../etc/passwd", "/page/..%2f..%2f..%2fetc/passwd", "/page/%2e%2e/keys.py",
        "/page//etc/passwd", "/page/%00", "/page/\\..\\..\\keys.py", "/page/....//keys.py",
        "/page/index.html%00.css", "//etc/passwd", "/v1/models/../../etc/passwd", "/%ff%fe",
        "/v1/models/%0d%0aSet-Cookie:%20a=b", "http://evil.example/health", "*", "/.git/config",
    ):  # fmt: skip
        answer = _refused(port, raw.request(path=path))
        assert b"root:" not in answer
        assert b"\r\nset-cookie" not in answer.lower()


@_in(HTTP)
def methods_that_are_none(port: int) -> None:
    for method in ("TRACE", "CONNECT", "DELETE", "PROPFIND", "get", "G" * 200):
        _refused(port, raw.request(method, "/health"))
        _refused(port, raw.request(method, "/v1/audio/transcriptions"))


@_in(HTTP)
def protocols_that_are_none(port: int) -> None:
    for line in (b"GET /health HTTP/x", b"GET /health", b"GET  /health HTTP/1.1", b"\r\n" * 500):
        answer = exchange(port, line + b"\r\nhost: localhost\r\n\r\n", 5)
        assert raw.status(answer) in (0, 400), (line, answer)
    answer = exchange(port, b"GET /health HTTP/1.0\r\nhost: localhost\r\n\r\n")
    assert raw.status(answer) == 200
    assert raw.status(exchange(port, b"GET /health HTTP/1.0\r\n\r\n")) == 200
    _refused(port, b"GET /health HTTP/1.0\r\nhost: evil.example\r\n\r\n")
    for protocol in ("h2c", "TLS/1.0", "websocket, h2c"):
        answer = exchange(port, raw.request(connection="Upgrade", upgrade=protocol), 2)
        assert raw.status(answer) == 200


@_in(HTTP)
def a_chunk_that_breaks_after_the_answer(port: int) -> None:
    with connection(port) as client:
        head = raw.request("POST", "/nothing", transfer_encoding="chunked", connection="keep-alive")
        client.sendall(head + b"5\r\nhello\r\n")
        assert raw.status(client.recv(1 << 16)) == 404
        client.sendall(b"this is no chunk\r\n")
        everything(client, 5)


@_in(HTTP)
def json_that_is_none(port: int) -> None:
    path, kind = "/v1/realtime/client_secrets", {"content_type": "application/json"}
    for body in (
        b"[" * 100_000, b'{"a":' * 50_000, b"{", b"[]", b"null", b'"x"', b"\xff\xfe{}", b"\x00",
        b'{"session": []}', b'{"session": {"audio": 5}}', b'{"expires_after": {"seconds": 1e99}}',
        b'{"expires_after": {"seconds": true}}', b'{"expires_after": [1]}',
        b'{"expires_after": {"seconds": ' + b"9" * 5000 + b"}}",
        b'{"session": {"audio": {"input": {"format": {"rate": ' + b"9" * 4000 + b"}}}}}",
        b'{"session": {"audio": {"input": {"turn_detection": {"type": "server_vad", '
        b'"silence_duration_ms": 1' + b"0" * 300 + b"}}}}}",
        b'{"x": "' + b"a" * 3_000_000 + b'"}',
    ):  # fmt: skip
        _refused(port, raw.request("POST", path, body, **kind))


@_in(HTTP)
def answers_that_are_not_read(port: int) -> None:
    with connection(port, unread=4096) as client, contextlib.suppress(OSError):
        client.settimeout(1)
        for _ in range(300):
            client.sendall(raw.request(path="/openapi.json", connection="keep-alive"))


# -- forms


@_in(FORMS)
def forms_without_what_they_need(port: int) -> None:
    good = hostile_media.packed(hostile_media.speech())
    for body in (
        b"", b"--EDGE--\r\n", raw.form([]), raw.form([("file", "text")]),
        raw.form([], [("upload", good)]), raw.form([("model", "nobody")], [("file", good)]),
        raw.form([("model", "a"), ("model", "b")], [("file", good)]),
        raw.form([("response_format", "exe")], [("file", good)]),
        raw.form([("language", "\x00")], [("file", good)]),
        raw.form([("stream", "perhaps")], [("file", good)]),
        raw.form([("latency_ms", "-1")], [("file", good)]),
        raw.form([("latency_ms", "9" * 50)], [("file", good)]),
        raw.form([("timestamp_granularities[]", "year")], [("file", good)]),
        raw.form([("chunking_strategy", '{"silence_duration_ms": 1' + "0" * 300 + "}")],
                 [("file", good)]),
        raw.form([("chunking_strategy", "[" * 5000)], [("file", good)]),
        raw.form([("chunking_strategy[threshold]", "nan"), ("chunking_strategy[type]", "x")],
                 [("file", good)]),
        raw.form([], [("language", good), ("file", good)]),
        raw.form([], [("file", good)] * 5),
        raw.form([("prompt", "p" * 2_000_000)], [("file", good)]),
        raw.form([("keywords[]", f"word {n}") for n in range(1001)], [("file", good)]),
        raw.form([("keywords[]", "w" * 201)], [("file", good)]),
        raw.form([(f"field {n}", "x") for n in range(2000)], [("file", good)]),
        raw.form([], [("file", good)])[:-4000],
    ):  # fmt: skip
        _refused(port, upload(body))


@_in(FORMS)
def forms_in_other_words(port: int) -> None:
    body = raw.form([("prompt", b"a-" + b"b7" * 30_000)], [("file", b"x")])
    for kind in (
        "text/plain", "application/json", "application/x-www-form-urlencoded", "", "multipart/",
        "multipart/form-data", "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\xff",
        "multipart/form-data; boundary=" + "E" * 5000, "multipart/mixed; boundary=EDGE",
        "multipart/form-data; boundary=EDGE; charset=punycode",
        "multipart/form-data; boundary=EDGE; charset=idna",
        "multipart/form-data; boundary=EDGE; charset=unicode_escape",
        "multipart/form-data; boundary=EDGE; boundary=OTHER",
        "multipart/form-data; boundary*=EDGE",
    ):  # fmt: skip
        _refused(port, upload(body, content_type=kind))


@_in(FORMS)
def forms_whose_parts_are_wrong(port: int) -> None:
    for part in (
        b"\r\n", b"X: y\r\n\r\nhello", b"Content-Disposition: form-data\r\n\r\nhello",
        b'Content-Disposition: form-data; name="file"; filename=""\r\n\r\n',
        b'Content-Disposition: attachment; filename="../../etc/passwd"\r\n\r\nx',
        b'Content-Disposition: form-data; name="file"; filename="' + b"a/" * 1500 + b'"\r\n\r\nx',
        b'Content-Disposition: form-data; name="' + b"n" * 100_000 + b'"\r\n\r\nx',
        b"".join(b"X-%d: y\r\n" % n for n in range(1000)) + b"\r\nx",
        b'Content-Disposition: form-data; name="file"; filename="a"\r\n'
        b"Content-Type: multipart/mixed; boundary=IN\r\n\r\n--IN\r\n\r\nx\r\n--IN--",
        b'Content-Disposition: form-data; name="file"; filename="a"\r\n'
        b"Content-Encoding: gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"H4sI" * 500,
    ):  # fmt: skip
        _refused(port, upload(b"--EDGE\r\n" + part + b"\r\n--EDGE--\r\n"))


@_in(FORMS)
def uploads_that_break_off(port: int) -> None:
    body = raw.form([("stream", "true")], [("file", hostile_media.bomb(300))])
    whole = upload(body)
    for share in (0.1, 0.5, 0.99, 1.0):
        with connection(port) as client:
            client.sendall(whole[: int(len(whole) * share)])
            raw.reset(client)


@_in(FORMS)
def unread_answers(port: int) -> None:
    """The client is gone before the first event, while its phrases are being understood."""
    letters = random.Random(5)
    words = ["".join(letters.choices("abcdefghij", k=14)) for _ in range(900)]
    fields = [("stream", "true"), *(("keywords[]", word) for word in words)]
    body = raw.form(fields, [("file", hostile_media.packed(hostile_media.speech()))])
    for seconds in (0.0, 0.02, 0.1):
        with connection(port) as client:
            client.sendall(upload(body))
            time.sleep(seconds)
            raw.reset(client)


@_in(FORMS)
def events_that_are_not_read(port: int) -> None:
    sound = hostile_media.packed(np.tile(hostile_media.speech(), 20))
    with connection(port, unread=4096) as client:
        client.sendall(upload(raw.form([("stream", "true")], [("file", sound)])))
        time.sleep(0.5)


@_in(FORMS)
def bombs(port: int) -> None:
    """Little that unpacks to much; the client goes before it is done."""
    loud = hostile_media.bomb(20, 655_350, 8)
    for sound in (hostile_media.bomb(2000), loud):
        with connection(port) as client:
            client.sendall(upload(raw.form([], [("file", sound)])))
            time.sleep(0.5)


def media(port: int, sound: bytes) -> int:
    """Uploads what is no audio; the status of the answer."""
    answer = exchange(port, upload(raw.form([], [("file", sound)])))
    return raw.status(answer)


@_in(FORMS)
def files_that_are_no_audio(port: int) -> None:
    for name, sound in hostile_media.files().items():
        assert media(port, sound) in (200, 400), name


# -- sockets


def _ended(port: int, *frames: bytes, path: str = "/ws", code: int | None) -> None:
    """Sends frames, and sees how the server closes."""
    with opened(port, path) as client:
        with contextlib.suppress(OSError):
            client.sendall(b"".join(frames))
        got = raw.to_close(client)
        assert raw.close_code(got) == code, (frames[0][:40], got[-300:])


@_in(SOCKETS)
def handshakes_that_are_none(port: int) -> None:
    for wrong in (
        {"sec_websocket_key": ""}, {"sec_websocket_key": "short"}, {"sec_websocket_version": "8"},
        {"sec_websocket_version": "13, 8"}, {"sec_websocket_key": "ä" * 20},
        {"sec_websocket_protocol": "," * 3000}, {"sec_websocket_extensions": "a;" * 3000},
        {"upgrade": "websocket, websocket"}, {"content_length": "5"},
    ):  # fmt: skip
        answer = raw.answer(port, raw.handshake(**wrong))
        assert raw.status(answer) in (101, *REFUSED), (wrong, answer[:200])
    for path in ("/", "/health", "/page/x", "/v1/models", "/v1/audio/transcriptions", "/nothing"):
        _refused(port, raw.handshake(path))
    assert raw.status(exchange(port, b"POST" + raw.handshake()[3:], 5)) in REFUSED


@_in(SOCKETS)
def frames_that_are_none(port: int) -> None:
    for wrong in (
        frame(BINARY, b"ab", mask=False), frame(TEXT, b"ping", flags=4), frame(3, b""),
        frame(11, b""), frame(PING, b"", fin=False), frame(PING, b"p" * 126), frame(0, b"x"),
        frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), frame(CLOSE, b"\x00"),
        frame(CLOSE, struct.pack(">H", 999)), frame(CLOSE, struct.pack(">H", 5000) + b"\xff"),
        b"\x82\xff" + b"\xff" * 8 + bytes(4),
    ):  # fmt: skip
        with opened(port) as client:
            client.sendall(wrong)
            code = raw.close_code(raw.to_close(client, 5))
            assert code in (1002, 1007, 1009), (wrong, code)
    for seed in range(20):
        with opened(port) as client, contextlib.suppress(OSError):
            client.sendall(random.Random(seed).randbytes(5000))
            client.shutdown(socket.SHUT_WR)
            everything(client, 5)


@_in(SOCKETS)
def text_that_is_no_unicode(port: int) -> None:
    for wrong in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ping\xff" * 1000):
        _ended(port, frame(TEXT, wrong), code=1007)
    _ended(port, frame(TEXT, b"\xc3", fin=False), frame(0, b"\x28"), code=1007)


@_in(SOCKETS)
def messages_that_are_too_large(port: int) -> None:
    claim = b"\x82\xff" + struct.pack(">Q", 1 << 40) + bytes(4)
    _ended(port, claim, code=1009)
    piece = frame(BINARY, bytes(1 << 20), fin=False)
    more = frame(0, bytes(1 << 20), fin=False)
    _ended(port, piece, *[more] * 25, code=1009)


@_in(SOCKETS)
def messages_that_are_left(port: int) -> None:
    """Megabytes of a message, and then nothing, or a client that has gone."""
    head = struct.pack(">Q", 19 << 20) + bytes(4)
    with contextlib.ExitStack() as held:
        for number in range(6):
            client = held.enter_context(opened(port))
            client.settimeout(1)
            with contextlib.suppress(OSError):
                client.sendall((b"\x81\xff" if number % 2 else b"\x82\xff") + head + bytes(5 << 20))


@_in(SOCKETS)
def clients_that_shut_their_sending_side(port: int) -> None:
    speech = frame(BINARY, hostile_media.speech().tobytes())
    for data in (b"", speech, speech[:5000], speech + frame(TEXT, b"finish")):
        with opened(port) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            raw.to_close(client, 10)
    for data in (upload(b"--EDGE\r\n"), upload(b"x", content_length="9"), raw.request()):
        with connection(port) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            everything(client, 10)


@_in(SOCKETS)
def floods_of_small_frames(port: int) -> None:
    """Tens of thousands of frames in one go: pings, fragments of nothing, fragments of a byte."""
    for flood in (
        frame(PING) * 50_000,
        frame(BINARY, fin=False) + frame(0, fin=False) * 50_000,
        frame(TEXT, b" ", fin=False) + frame(0, b" ", fin=False) * 50_000,
        frame(BINARY, b"\0\0") * 50_000,
        frame(10, b"pong") * 50_000,
    ):
        with opened(port) as client, contextlib.suppress(OSError):
            client.settimeout(0.5)
            client.sendall(flood)


@_in(SOCKETS)
def words_that_are_no_orders(port: int) -> None:
    for wrong in (
        b"{", b"[]", b"null", b'{"type": 5}', b'{"type": "x"}', b"[" * 90_000, b'{"a":' * 50_000,
        b'{"type": "switch", "latency_ms": 1e400}', b'{"type": "switch", "colour": 1}', b"\x00",
        b'{"type": "switch", "latency_ms": ' + b"9" * 5000 + b"}",
        b'"' + b"\\u0000" * 10_000 + b'"',
    ):  # fmt: skip
        _ended(port, frame(TEXT, wrong), code=1008)


@_in(SOCKETS)
def queries_that_are_none(port: int) -> None:
    for query in (
        "rate=" + "9" * 5000, "rate=nan", "rate=0", "rate=-16000", "channels=0", "channels=1e9",
        "latency=" + "9" * 400, "language=%00", "model=" + "a" * 3000, "encoding=" + "x" * 3000,
        "phrases=" + "x" * 201, "phrases=%ff%fe", "phrases=a&" * 300 + "x=1", "&&&===", "rate[]=1",
    ):  # fmt: skip
        with opened(port, f"/ws?{query}") as client:
            assert raw.close_code(raw.to_close(client, 5)) == 1008, query


@_in(SOCKETS)
def samples_that_are_none(port: int) -> None:
    nan, loud = struct.pack("<f", float("nan")), struct.pack("<f", 1e30)
    for wrong in (nan * 1000, loud * 1000, b"\xff" * 4003):
        path = "/ws?encoding=f32"
        _ended(port, frame(BINARY, wrong), path=path, code=1008)
    _ended(port, frame(BINARY, b"\1"), frame(TEXT, b"finish"), code=1000)


@_in(SOCKETS)
def cuts_all_the_time(port: int) -> None:
    """Each cut of a sample is a whole step of the model."""
    with opened(port) as client, contextlib.suppress(OSError):
        client.settimeout(2)
        client.sendall((frame(BINARY, b"\0\1") + frame(TEXT, b"end_turn")) * 3000)
        assert raw.close_code(raw.to_close(client, 5)) in (1013, None)


@_in(SOCKETS)
def hours_in_a_message(port: int) -> None:
    for encoding, rate in (("mulaw", 8000), ("s16", 47_999), ("f32", 16_000)):
        with opened(port, f"/ws?encoding={encoding}&rate={rate}") as client:
            client.sendall(frame(BINARY, bytes(8 << 20)))
            time.sleep(0.3)
            raw.reset(client)


@_in(SOCKETS)
def odd_rates(port: int) -> None:
    """Each of them needs a large filter of its own."""
    for rate in random.Random(7).sample(range(8001, 48_000), 20):
        with opened(port, f"/ws?rate={rate}") as client:
            client.sendall(frame(TEXT, b"finish"))
            raw.to_close(client)


@_in(SOCKETS)
def readers_that_never_read(port: int) -> None:
    speech = hostile_media.speech().tobytes()
    with opened(port, "/ws?latency=80", unread=4096) as client, contextlib.suppress(OSError):
        client.settimeout(1)
        for _ in range(20):
            client.sendall(frame(BINARY, speech) + frame(TEXT, b"ping") * 50)


@_in(SOCKETS)
def sockets_that_just_go(port: int) -> None:
    speech = hostile_media.speech().tobytes()
    for how in (raw.reset, socket.socket.close, lambda client: client.shutdown(socket.SHUT_RDWR)):
        for path in ("/ws", "/v1/realtime"):
            with opened(port, path) as client:
                client.sendall(frame(BINARY, speech))
                how(client)
            with connection(port) as client:
                client.sendall(raw.handshake(path))
                how(client)


# -- OpenAI's wire


def _event(**fields: object) -> bytes:
    return frame(TEXT, json.dumps(fields).encode())


@contextlib.contextmanager
def _realtime(port: int) -> Iterator[socket.socket]:
    with opened(port, "/v1/realtime?intent=transcription") as client:
        yield client
        client.sendall(frame(CLOSE, struct.pack(">H", 1000)))
        everything(client, 10)


@_in(REALTIME)
def events_that_are_none(port: int) -> None:
    """Each of them gets an error, and the session continues."""
    wrong = [
        b"", b"{", b"[]", b"[" * 90_000, b"null", b"5", b'{"type": 5}', b'{"type": "x"}', b"\x00",
        b'{"type": "response.create"}', b'{"type": "session.update"}',
        b'{"type": "session.update", "session": 5}',
        b'{"type": "input_audio_buffer.append"}',
        b'{"type": "input_audio_buffer.append", "audio": 5}',
        b'{"type": "input_audio_buffer.append", "audio": "%%%%"}',
        b'{"type": "input_audio_buffer.append", "audio": "AAA"}',
        b'{"type": "input_audio_buffer.append", "audio": "' + b"A=" * 4000 + b'"}',
        b'{"type": "input_audio_buffer.append", "audio": "\xc3\xa4\xc3\xa4"}',
        b'{"type": "input_audio_buffer.append", "event_id": "' + b"e" * 600 + b'", "audio": ""}',
        b'{"type": "x", "event_id": "' + b"e" * 500_000 + b'"}',
        b'{"type": "input_audio_buffer.commit"}', b'{"event_id": "e"}',
    ]  # fmt: skip
    for event in wrong:
        with _realtime(port) as client:
            client.sendall(frame(TEXT, event) + _event(type="input_audio_buffer.clear"))
            got = b""
            while b"input_audio_buffer.cleared" not in got:
                data = client.recv(1 << 16)
                assert data, (event[:60], got[-300:])
                got += data
            assert got.count(b'"type": "error"') == 1, (event[:60], got[-500:])
            assert len(got) < 5000, event[:60]


@_in(REALTIME)
def settings_that_are_none(port: int) -> None:
    sessions: list[object] = [
        {"type": "realtime"}, {"audio": []}, {"audio": {"input": {"format": {"type": "mp3"}}}},
        *({"audio": {"input": {"format": {"type": "audio/pcm", "rate": rate}}}}
          for rate in (0, -1, 1, 10**9, 10**30, 10**300, True, "fast", 1.5)),
        *({"audio": {"input": {"turn_detection": {"type": "server_vad", name: value}}}}
          for name in ("silence_duration_ms", "prefix_padding_ms", "idle_timeout_ms")
          for value in (-1, 10**300, "x", 0.5)),
        {"audio": {"input": {"turn_detection": {"type": "telepathy"}}}},
        {"audio": {"input": {"transcription": None}}},
        *({"audio": {"input": {"transcription": transcription}}} for transcription in (
            {"language": "tlh"}, {"language": "x" * 5000}, {"model": "nobody"}, {"delay": "never"},
            {"keywords": ["w"] * 1001}, {"keywords": ["w" * 5000]}, {"keywords": "x"},
            {"prompt": "p" * 100_000}, {"languages": ["en"] * 5000}, {"keywords": ["\u0000"]},
        )),
        {"include": ["everything"] * 500},
    ]  # fmt: skip
    with _realtime(port) as client:
        for session in sessions:
            client.sendall(_event(type="session.update", session=session))
        client.sendall(_event(type="input_audio_buffer.clear"))
        got = b""
        while b"input_audio_buffer.cleared" not in got:
            data = client.recv(1 << 16)
            assert data, got[-500:]
            got += data
        errors = got.count(b'"type": "error"')
        assert errors == len(sessions), (errors, len(sessions), got[-2000:])


@_in(REALTIME)
def changes_all_the_time(port: int) -> None:
    """Phrases, rates, latencies, cuts and clears, as fast as they go."""
    numbers = random.Random(11)
    with opened(port, "/v1/realtime") as client, contextlib.suppress(OSError):
        client.settimeout(2)
        for _ in range(150):
            words = ["".join(numbers.choices("abcdefghij ", k=12)) + "x" for _ in range(500)]
            transcription = {"keywords": words, "delay": numbers.choice(["minimal", "xhigh"])}
            form = {"type": "audio/pcm", "rate": numbers.randrange(8000, 48_000)}
            given = {"audio": {"input": {"format": form, "transcription": transcription}}}
            client.sendall(_event(type="session.update", session=given))
            client.sendall(_event(type="input_audio_buffer.append", audio="AAAA" * 100))
            client.sendall(_event(type=f"input_audio_buffer.{numbers.choice(['commit', 'clear'])}"))


@_in(REALTIME)
def json_of_megabytes(port: int) -> None:
    """None of it is parsed, and the session continues."""
    lists = b'{"type": "x", "a": [' + b"[]," * 2_000_000 + b"0]}"
    with _realtime(port) as client:
        client.sendall(frame(TEXT, lists))
        assert b"too_large" in raw.read_to(client, b"too_large")


@_in(REALTIME)
def phrases_of_many_sockets(port: int) -> None:
    """Each has a list of its own to be understood, again and again."""
    chance = random.Random(13)
    with contextlib.ExitStack() as held:
        clients = [held.enter_context(opened(port, "/v1/realtime")) for _ in range(8)]
        for _ in range(5):
            for client in clients:
                words = ["".join(chance.choices("aeinrst", k=15)) for _ in range(900)]
                given = {"audio": {"input": {"transcription": {"keywords": words}}}}
                client.sendall(_event(type="session.update", session=given))


@_in(REALTIME)
def rubbish_in_large_pieces(port: int) -> None:
    """Megabytes of invalid base64; the client reads none of the errors."""
    wrong = frame(
        TEXT, b'{"type": "input_audio_buffer.append", "audio": "' + b"%" * 8_000_000 + b'"}'
    )
    with opened(port, "/v1/realtime", unread=4096) as client, contextlib.suppress(OSError):
        client.settimeout(2)
        for _ in range(4):
            client.sendall(wrong)
        client.sendall(frame(TEXT, b"{") * 3000)


# -- crowds


@_in(CROWDS)
def a_thousand_connects(port: int) -> None:
    """More connections than the server accepts; none of them sends a byte."""
    with contextlib.ExitStack() as held:
        for _ in range(1200):
            with contextlib.suppress(OSError):
                held.enter_context(connection(port))
    time.sleep(0.2)


@_in(CROWDS)
def half_open_sockets(port: int) -> None:
    """Clients that disappear without a FIN."""
    with contextlib.ExitStack() as held:
        for _ in range(8):
            held.enter_context(opened(port, unread=4096))
        time.sleep(0.5)


@_in(CROWDS)
def processes_that_are_killed(port: int) -> None:
    """Clients in the middle of a stream, ended with SIGKILL."""
    command = [sys.executable, str(Path(__file__).with_name("noise_client.py")), str(port), raw.KEY]
    for _ in range(2):
        clients = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
        for client in clients:
            with client:
                client.stdout.readline()  # type: ignore[union-attr]
                client.kill()


ALL = HTTP | FORMS | SOCKETS | REALTIME | CROWDS
