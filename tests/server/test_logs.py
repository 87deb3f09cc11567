"""What is in the log, and above all what is not: nobody's words, audio or keys."""

import base64
import json
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

import hostile_media
import pytest
import raw
from raw import exchange, request, upload
from serving import Server, events, running
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from wheatear.errors import SettingsError
from wheatear.server.keys import make_key
from wheatear.server.running import run
from wheatear.server.settings import Settings

SECRETS = ("Xanthippe", "Zaphod", "quagga", "we_", "ek_", "sorry", "calling", "locate")
"""What the test says and is told, none of which is anybody's business."""


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
    """Form and lines of the log of a server that tells all it can."""
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


def test_every_line_is_what_it_says_to_be(logged):
    """A record each: nobody who sends something makes a line of his own, nor do C libraries."""
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


def test_words_are_in_it_where_that_was_asked_for(spoken):
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


def test_attackers_do_not_fill_it(quiet_server):
    """What is no request leaves no line, and what is one leaves one."""
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
