"""A server with OpenAI's API, on the loopback."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import numpy as np
import pytest
import soundfile
from fake_engines import tone

from wheatear.errors import WheatearError
from wheatear.evaluate.engines.engine import Hypothesis
from wheatear.evaluate.engines.registry import open_engine


class _Server(BaseHTTPRequestHandler):
    seen: ClassVar[list[dict]] = []
    answer: tuple[int, bytes] = (200, b"{}")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        form = BytesParser().parsebytes(head + body)
        fields = {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in form.get_payload()
        }
        self.seen.append({"path": self.path, "key": self.headers["Authorization"], **fields})
        code, answer = self.answer
        self.send_response(code)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def server() -> Iterator[str]:
    _Server.seen = []
    made = HTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}/v1"
    made.shutdown()
    made.server_close()
    thread.join()


def test_server_gets_a_form_with_a_wav_file(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    engine = open_engine(f"openai:{server}/#small", 1)
    _Server.answer = 200, json.dumps({"text": " Bonjour. "}).encode()
    assert engine.transcribe(tone(5), engine.language_for("fr-CA")) == Hypothesis("Bonjour.")
    _Server.answer = 200, json.dumps({"text": "Hi", "language": "english"}).encode()
    assert engine.transcribe(tone(5), None) == Hypothesis("Hi", "english")
    given, auto = _Server.seen
    assert (given["path"], given["key"]) == ("/v1/audio/transcriptions", "Bearer sesame")
    assert (given["model"], given["language"]) == (b"small", b"fr")
    assert "language" not in auto
    assert auto["response_format"] == b"verbose_json"
    samples, rate = soundfile.read(io.BytesIO(given["file"]), dtype="float32")
    assert rate == 16_000
    assert np.abs(samples - tone(5)).max() < 1e-4


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((500, b"no memory"), "answered 500: no memory"),
        ((200, b"<html>"), "cannot be used"),
        ((200, b"[]"), "not an object"),
    ],
)
def test_failing_server_is_an_error(server, answer, message):
    _Server.answer = answer
    with pytest.raises(WheatearError, match=message):
        open_engine(f"openai:{server}", 1).transcribe(tone(5), "en")


def test_missing_server_is_an_error(server):
    with pytest.raises(WheatearError, match="is no URL"):
        open_engine("openai:localhost:1", 1)
    gone = HTTPServer(("127.0.0.1", 0), _Server)
    gone.server_close()
    with pytest.raises(WheatearError, match="cannot be used"):
        open_engine(f"openai:http://127.0.0.1:{gone.server_port}", 1).transcribe(tone(5), "en")
