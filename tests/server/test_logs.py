"""The log: its lines and formats, and no words, audio or keys of clients."""

import base64
import json
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

import hostile_media
import pytest
import raw_socket as raw
from raw_socket import exchange, request, upload
from server_process import Server, events, running
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from wheatear.errors import SettingsError
from wheatear.server.access.keys import make_key
from wheatear.server.logs import JsonFormatter, TextFormatter
from wheatear.server.main import run
from wheatear.server.settings import Settings

SECRETS = ("Xanthippe", "Zaphod", "quagga", "we_", "ek_", "sorry", "calling", "locate")
"""Data of clients and of their answers, which must not be logged."""


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.toml"


@pytest.fixture(scope="module")
def key(key_file: Path) -> str:
    return make_key(key_file, "front desk")


def used(server: Server, key: str, spoken) -> None:
    """Does whatever may leave something in the log."""
    headers = {"x-api-key": key}
    sound = hostile_media.packed(hostile_media.speech())
    fields = [("prompt", "Xanthippe, Zaphod"), ("keywords[]", "quagga")]
    form = raw.form(fields, [("file", sound)])
    assert raw.status(exchange(server.port, upload(form, x_api_key=key))) == 200
    stream = raw.form([*fields, ("stream", "true")], [("file", sound)])
    exchange(server.port, upload(stream, x_api_key=key))
    wrong_language = raw.form([("language", "Xanthippe")], [("file", sound)])
    exchange(server.port, upload(wrong_language, x_api_key=key))
    for name in ("noise", "mp3 of noise", "flac cut off", "wav of NaN"):
        broken = raw.form(fields, [("file", hostile_media.files()[name])])
        exchange(server.port, upload(broken, x_api_key=key))
    address = f"{server.ws}/ws?phrases=quagga&phrases=Zaphod"
    with connect(address, additional_headers=headers) as socket:
        socket.send(spoken.tobytes())
        socket.send("finish")
        events(socket, "end")
    with connect(f"{server.ws}/v1/realtime", additional_headers=headers) as socket:
        words = {"prompt": "Xanthippe", "keywords": ["quagga"], "language": "Zaphod"}
        change = {"audio": {"input": {"transcription": words}}}
        socket.send(json.dumps({"type": "session.update", "session": change}))
        socket.send('{"type": "Xanthippe"}')
        socket.send("Zaphod {")
        audio = base64.b64encode(spoken[:60_000].tobytes()).decode()
        socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        socket.send('{"type": "input_audio_buffer.commit"}')
        events(socket, "conversation.item.input_audio_transcription.completed")
    for wrong in ("we_Xanthippe", "ek_Zaphod"):
        server.get("/v1/models", **{"x-api-key": wrong})
        with (
            pytest.raises(InvalidStatus),
            connect(
                f"{server.ws}/ws",
                subprotocols=["wheatear", f"key.{wrong}"],  # type: ignore[list-item]
            ),
        ):
            pass
    exchange(server.port, request(path=f"/v1/models?key={key}", x_api_key=key))
    exchange(server.port, request("POST", "/v1/realtime/client_secrets", b"{}", x_api_key=key))
    exchange(server.port, request(path="/\nforged%0A2026-01-01 ERROR forged%1b[31m", x_api_key=key))
    exchange(server.port, request(path="/%0A2026-01-01 ERROR forged%1b[31m".replace(" ", "%20")))
    exchange(server.port, b"Xanthippe\r\n\r\n")
    with raw.opened(server.port, "/ws", key=key) as client:
        client.sendall(raw.frame(raw.TEXT, b"Zaphod\xff"))
        raw.to_close(client)
    server.wait_for_rest()


@pytest.fixture(scope="module", params=["text", "json"])
def logged(request, key_file: Path, key: str, spoken) -> Iterator[tuple[str, list[str]]]:
    """Format and lines of the log of a server at its most detailed level."""
    environment = {
        "WHEATEAR_SERVE_LOG_FORMAT": request.param, "WHEATEAR_SERVE_LOG_LEVEL": "debug",
    }  # fmt: skip
    with running("--api-key-file", str(key_file), **environment) as server:
        server.key = key
        used(server, key, spoken)
        assert server.stop() == 0
        yield request.param, server.log.splitlines()


@pytest.mark.parametrize("secret", SECRETS)
def test_nobodys_words_and_no_key_are_in_it(logged, secret):
    lines = logged[1]
    assert len(lines) > 20
    assert [line for line in lines if secret.lower() in line.lower()] == []


def test_no_audio_is_in_it(logged, spoken):
    text = "\n".join(logged[1])
    audio = base64.b64encode(spoken[20_000:30_000].tobytes()).decode()
    assert not any(audio[at : at + 24] in text for at in range(0, len(audio) - 24, 100))
    assert not re.search(r"[A-Za-z0-9+/=]{200}", text)


def test_every_line_has_the_format(logged):
    """One record a line: neither clients nor C libraries add lines."""
    form, lines = logged
    for line in lines:
        if form == "json":
            record = json.loads(line)
            assert {"time", "level", "logger", "message"} <= set(record)
            assert record["level"] in logging.getLevelNamesMapping()
        else:
            assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ [\w.]+: ", line), line
        assert line.isprintable()
    assert any("forged" in line for line in lines)


def test_every_request_is_in_it_with_its_id_and_whose_it_was(logged):
    form, lines = logged
    if form == "json":
        access = [r for r in map(json.loads, lines) if r["logger"] == "wheatear.access"]
        posts = [r for r in access if r["message"].startswith("POST /v1/audio/transcriptions ")]
        assert {r["message"].rpartition(" ")[2] for r in posts} == {"200", "400"}
        assert {r["holder"] for r in posts} == {"front desk"}
        assert len({r["request_id"] for r in access}) == len(access)
        assert all(r["seconds"] >= 0 for r in access)
        assert [r for r in access if r["message"] == "SOCKET /ws 101"]
        assert [r for r in access if r["message"] == "GET /v1/models 401" and r["holder"] is None]
    else:
        pattern = r"POST /v1/\S+ 200 request_id=req_\w+ seconds="
        assert any(re.search(pattern, line) for line in lines)


def test_transcripts_are_logged_with_log_transcripts(spoken):
    with running(WHEATEAR_SERVE_LOG_TRANSCRIPTS="true") as server:
        with connect(f"{server.ws}/ws") as socket:
            session = events(socket, "ready")[-1]["session"]
            socket.send(spoken.tobytes())
            socket.send("finish")
            events(socket, "end")
        server.wait_for_rest()
        for _ in range(100):  # the log is read by a thread of the tests
            lines = [line for line in server.log.splitlines() if session in line]
            if any("sorry" in line for line in lines):
                break
            time.sleep(0.05)
        else:
            pytest.fail(server.log)


HARMFUL = "\x1b[31m \x9b31m \x7f \x07 \r \u2028 \u202e \ud800 \U000e0001 \x85"


@pytest.mark.parametrize(
    "form", [JsonFormatter(), TextFormatter("%(levelname)s %(name)s: %(message)s")]
)
def test_no_character_that_a_terminal_obeys_is_in_it(form):
    """Neither of a message nor of its fields, nor of a traceback; and no line is forged."""
    error = ValueError(f"{HARMFUL}\nERROR wheatear: forged")
    fault = (ValueError, error, None)
    record = logging.LogRecord(
        "a", logging.ERROR, __file__, 1, "%s\nERROR wheatear: forged", (HARMFUL,), fault
    )
    record.holder = HARMFUL
    text = form.format(record)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert not [line for line in text.splitlines() if line.startswith("ERROR wheatear: forged")]
    if isinstance(form, JsonFormatter):
        assert len(text.splitlines()) == 1
        read = json.loads(text)
        assert read["holder"] == HARMFUL
        assert HARMFUL in read["message"]
        assert HARMFUL in read["fault"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_escape_sequence_of_a_client_reaches_it(form):
    """In the path, headers, names of files and fields, on every wire."""
    sound = hostile_media.packed(hostile_media.speech())
    harm = "\x1b]0;forged\x07\x9b31m\x7f"
    name = harm.encode("latin-1")
    form_of = b'--EDGE\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n'
    bodies = [form_of % (field, name, sound) + b"--EDGE--\r\n" for field in (b"file", name)]
    with running(
        "--wyoming-port", "0", WHEATEAR_SERVE_LOG_FORMAT=form, WHEATEAR_SERVE_LOG_LEVEL="debug"
    ) as server:
        port = int(server.process.stdout.readline().split(":")[-1].split()[0])
        for path in (
            "/%1b]0;forged%07%9b%c2%9b31m%7f",
            "/v1/models/%1b[31m%e2%80%ae",
            "/%F3%A0%80%81",
        ):
            exchange(server.port, request(path=path))
            exchange(server.port, raw.handshake(path))
        for header in (
            "user_agent",
            "x_request_id",
            "host",
            "origin",
            "x_forwarded_for",
            "referer",
        ):
            exchange(server.port, request(path="/v1/models", **{header: harm}))
        for body in bodies:
            exchange(server.port, upload(body))
        for query in ("model=%1b[31m", "%1b[31m=%9b", "language=%1b[31m&%c2%9b=1"):
            exchange(server.port, request("POST", f"/v1/listen?{query}", sound), 10)
            exchange(server.port, raw.handshake(f"/ws?{query}"), 1)
            exchange(server.port, raw.handshake(f"/v1/realtime?{query}"), 1)
        for event in (
            {"type": harm}, {"type": "transcribe", "data": {harm: 1, "name": harm}},
            {"type": "audio-start", "data": {harm: 1}},
        ):  # fmt: skip
            exchange(port, json.dumps(event).encode() + b"\n", 1)
        assert server.stop() == 0
        lines = server.log.split("\n")
    assert any("forged" in line for line in lines)
    assert [line for line in lines if not line.isprintable()] == []
    assert "Traceback" not in server.log


def test_attackers_do_not_fill_it(quiet_server):
    """A request leaves one line, other data none."""
    before = len(quiet_server.log)
    for _ in range(50):
        exchange(quiet_server.port, b"\x16\x03\x01nonsense\r\n\r\n", 2)
    exchange(quiet_server.port, request(path="/" + "a" * 5000))
    time.sleep(0.2)
    assert len(quiet_server.log) - before < 600


def test_a_server_that_does_not_start_leaves_the_logs_as_they_were(tmp_path):
    """Or what its caller's program logs later goes to a stream that may be closed by then."""
    root, websockets = logging.getLogger(), logging.getLogger("websockets")
    before = root.handlers, root.level, websockets.level
    make_key(tmp_path / "keys.toml", "somebody")
    settings = Settings(api_key_file=tmp_path / "keys.toml", wyoming_port=0, log_level="debug")
    with pytest.raises(SettingsError, match="wyoming_open"):
        run(settings, print)
    assert (root.handlers, root.level, websockets.level) == before
