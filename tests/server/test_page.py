"""The page in a real browser: a recording as its microphone, a real server behind it."""

import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import soundfile
import soxr
import srt
import webvtt
from axe_playwright_python.sync_playwright import Axe
from playwright import sync_api
from server_process import SAMPLE, Server, running
from websockets.sync.client import connect

import wheatear
from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.pcm import PcmDecoder
from wheatear.audio.reader import sample_speech
from wheatear.transcript.results import Final, Segment, Word
from wheatear.transcript.writers import create_writer

expect = sync_api.expect

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
if CHROMIUM is None and "CI" not in os.environ:
    pytest.skip("there is no Chromium here: apt-get install chromium", allow_module_level=True)

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream",
]  # fmt: skip
SPOKEN = {"sorry", "the", "person", "calling"}
"""Words of the sample at any latency."""
APART = 6.5
"""Seconds between one sample and the next."""
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        yield playwright


def _wav(path: Path, samples: np.ndarray) -> Path:
    """A file that Chromium takes for a microphone."""
    rate = 48_000
    soundfile.write(path, soxr.resample(samples, SAMPLE_RATE, rate), rate, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A microphone with the sample after a second of silence, and silence for ever."""
    samples = np.pad(sample_speech(), (SAMPLE_RATE, 0))
    return _wav(tmp_path_factory.mktemp("page") / "once.wav", samples)


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample twice."""
    samples = np.pad(sample_speech(), (SAMPLE_RATE, 0))
    apart = np.pad(samples, (0, round(APART * SAMPLE_RATE) - len(samples)))
    return _wav(tmp_path_factory.mktemp("page") / "twice.wav", np.tile(apart, 2))


@pytest.fixture
def open_page(playwright: Any, recording: Path, tmp_path: Path) -> Open:
    """Opens the page of a server in a browser of its own, whose profile is empty.

    Whatever the test does, the page sends requests only to its server, breaks no policy, and has no
    error; `unwell` lets it complain of a server that is not there or refuses.
    """

    @contextmanager
    def opened(
        server: Server, *, microphone: Path = recording, allowed: bool = True, unwell: bool = False,
        viewport: tuple[int, int] = (1000, 700), script: str = "",
        before: Callable[[Any], object] = lambda _page: None, **options: Any,
    ) -> Iterator[Any]:  # fmt: skip
        flags = [*FLAGS, f"--use-file-for-fake-audio-capture={microphone}%noloop"]
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=CHROMIUM, args=flags, headless=True,
            viewport=dict(zip(("width", "height"), viewport, strict=True)),
            permissions=["clipboard-read", "clipboard-write", *["microphone"] * allowed], **options,
        )  # fmt: skip
        context.set_default_timeout(20_000)
        expect.set_options(timeout=20_000)
        page, requested, complaints = context.pages[0], [], []
        context.on("request", lambda request: requested.append(request.url))
        page.on("websocket", lambda socket: requested.append(socket.url.replace("ws", "http", 1)))
        page.on(
            "console",
            lambda utterance: utterance.type == "error" and complaints.append(utterance.text),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', "
            f"event => console.error('policy: ' + event.violatedDirective)); {script}"
        )
        try:
            before(page)
            page.goto(server.url)
            expect(state(page)).to_have_text(re.compile("Ready|API key required"))
            yield page
        finally:
            context.close()
        local = (f"{server.url}/", f"blob:{server.url}/", "about:", "data:")
        assert all(url.startswith(local) for url in requested), requested
        if unwell:  # Chromium itself reports what cannot be reached
            complaints = [c for c in complaints if "WebSocket" not in c and "resource" not in c]
        assert not complaints

    return opened


def state(page: Any) -> Any:
    return page.locator("#state")


def saved(page: Any, form: str) -> str:
    """A file that the page makes."""
    page.locator("#save").click()
    with page.expect_download() as download:
        page.locator(f"#{form}").click()
    assert download.value.suggested_filename.endswith(f".{form}")
    return Path(download.value.path()).read_text(encoding="utf-8")


def words_on(page: Any) -> list[str]:
    """The words of settled turns, as they are read."""
    return " ".join(page.locator("#turns .words").all_inner_texts()).split()


def letters_of(words: list[str]) -> set[str]:
    """Words without what is around them."""
    return {word.strip(",.?!").lower() for word in words}


def finals_of(saved_json: str) -> list[Final]:
    """The finals in a JSON file of the page."""
    return [
        Final(
            f["text"], tuple(Word(**w) for w in f["words"]), f["start"], f["end"], f["language"],
            tuple(
                Segment(
                    s["text"], tuple(Word(**w) for w in s["words"]), s["start"], s["end"],
                    s["language"], None,
                )
                for s in f["segments"]
            ),
            (),
        )
        for f in json.loads(saved_json)["finals"]
    ]  # fmt: skip


def written(finals: list[Final], form: Any, path: Path) -> str:
    """The subtitles that the engine's own writer makes of finals."""
    with path.open("w", encoding="utf-8") as out:
        for_form = create_writer(form, out, "")
        for final in finals:
            for_form.final(final)
    return path.read_text(encoding="utf-8")


class Stage:
    """The server's side of the page's socket, played by the test."""

    def __init__(self, page: Any) -> None:
        page.route_web_socket(re.compile("/ws\\?"), self._open)
        self.orders: list[dict[str, Any]] = []
        self.opened = 0
        self.end = 0.0

    def _open(self, socket: Any) -> None:
        self._socket, self.url = socket, socket.url
        self.opened += 1
        socket.on_message(lambda data: isinstance(data, str) and self._take(json.loads(data)))
        self.send("ready", latency_ms=320)

    def _take(self, order: dict[str, Any]) -> None:
        self.orders.append(order)
        if order["type"] == "finish":
            self.send("end", duration=self.end, language="en-US")
            self._socket.close(code=1000)

    def close(self, code: int) -> None:
        self._socket.close(code=code)

    def send(self, kind: str, **fields: Any) -> None:
        self._socket.send(json.dumps({"type": kind, **fields}))

    def send_text(self, text: str, kind: str = "final", language: str = "en-US") -> None:
        """Sends a text with a second for each word and decreasing confidence."""
        start = self.end
        words = [
            {"text": word, "start": start + n, "end": start + n + 0.9,
             "confidence": max(0.05, 1 - n / 10), "space_before": True}
            for n, word in enumerate(text.split())
        ]  # fmt: skip
        end = start + len(words)
        utterance = {"text": text, "start": start, "end": end, "language": language}
        self.send(kind, **utterance, words=words, segments=[utterance])
        if kind == "final":
            self.end = end


# -- the microphone


def test_audio_of_the_microphone_becomes_captions(server, open_page, tmp_path):
    """Partials come and settle, are those of the engine, and can be taken along."""
    recorded: list[bytes] = []
    rates: list[str] = []

    def watch(socket: Any) -> None:
        rates.append(parse_qs(urlsplit(socket.url).query)["rate"][0])
        socket.on("framesent", lambda data: isinstance(data, bytes) and recorded.append(data))

    with open_page(server) as page:
        page.on("websocket", watch)
        page.locator("#language").select_option("en-US")
        page.locator("#latency").select_option("160")
        page.locator("#start").click()
        expect(state(page)).to_have_text("Live")
        expect(page.locator("#partial .words")).to_contain_text("sorry")
        assert page.locator("#turns li").count() == 0
        level = page.locator("#meter")
        assert float(level.get_attribute("aria-valuenow")) > 10
        expect(page.locator("#pace")).to_have_text("on time")
        expect(page.locator("#turns li")).to_have_count(1)
        expect(page.locator("#partial")).to_be_hidden()
        assert page.locator("#turns time").inner_text() in ("0:00", "0:01")
        page.locator("#start").click()
        expect(state(page)).to_have_text("Ready")
        assert float(level.get_attribute("aria-valuenow")) == 0

        pcm = PcmDecoder(int(rates[0]), "s16", 1)
        samples = np.concatenate([*map(pcm.push, recorded), pcm.finish()])
        engine = wheatear.load(threads=1)
        expected = engine.transcribe(samples, language="en-US", latency_ms=160)
        shown = words_on(page)
        assert shown == [word.text for word in expected.words]
        assert letters_of(shown) >= SPOKEN

        everything = saved(page, "json")
        finals = finals_of(everything)
        whole = json.loads(everything)
        assert whole["text"] == " ".join(shown)
        assert whole["complete"] is True
        assert whole["duration"] == pytest.approx(len(samples) / SAMPLE_RATE, abs=0.01)
        assert all(0 < word.confidence <= 1 for final in finals for word in final.words)
        cues, captions = saved(page, "srt"), saved(page, "vtt")
        page.locator("#save").click()
        page.locator("#copy").click()
        assert page.evaluate("navigator.clipboard.readText()") == " ".join(shown)

    assert cues == written(finals, "srt", tmp_path / "srt")
    assert captions == written(finals, "vtt", tmp_path / "vtt")
    assert " ".join(cue.content for cue in srt.parse(cues)).split() == shown
    read = webvtt.from_string(captions)
    assert " ".join(caption.text for caption in read).split() == shown


def test_audio_during_an_outage_is_captioned(open_page, repeated):
    """The server is killed during a turn; finals stay, and no text is lost."""
    with running() as server, open_page(server, microphone=repeated, unwell=True) as page:
        page.locator("#language").select_option("en-US")
        page.locator("#start").click()
        expect(page.locator("#turns li")).to_have_count(1)
        first = page.locator("#turns li").inner_text()
        expect(page.locator("#partial .words")).to_contain_text("sorry")
        server.stop(signal.SIGKILL)
        expect(state(page)).to_have_text("Reconnecting")
        expect(page.locator("#problem")).to_contain_text("cannot be reached")
        expect(page.locator("#partial .words")).to_contain_text("sorry")
        assert page.locator("#turns li").inner_text() == first
        with running(WHEATEAR_SERVE_PORT=str(server.port)):
            expect(state(page)).to_have_text("Live")
            expect(page.locator("#problem")).to_be_hidden()
            expect(page.locator("#turns li")).to_have_count(2)
            page.locator("#start").click()
            expect(state(page)).to_have_text("Ready")
        finals = finals_of(saved(page, "json"))
    for final in finals:
        assert letters_of(final.text.split()) >= SPOKEN, final.text
    assert len(finals) == 2
    assert finals[1].start == finals[0].end
    assert finals[1].words[0].start - finals[0].words[0].start == pytest.approx(APART, abs=0.3)


def test_a_denied_microphone_is_a_problem_on_the_page(server, open_page):
    with open_page(server, allowed=False) as page:
        page.locator("#start").click()
        expect(page.locator("#problem")).to_contain_text("may not use the microphone")
        expect(state(page)).to_have_text("Ready")
        expect(page.locator("#start")).to_have_text("Start")


def test_a_silent_microphone_is_a_problem_on_the_page(server, open_page, tmp_path):
    silence = _wav(tmp_path / "silence.wav", np.zeros(SAMPLE_RATE, np.float32))
    with open_page(server, microphone=silence) as page:
        page.locator("#start").click()
        expect(page.locator("#problem")).to_contain_text("The microphone is silent")
        expect(page.locator("#meter")).to_have_attribute("aria-valuetext", "silent")


def test_an_unplugged_microphone_is_a_problem_on_the_page(server, open_page):
    watched = (
        "const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);"
        "navigator.mediaDevices.getUserMedia = async (what) => window.stream = await open(what);"
    )
    with open_page(server, script=watched) as page:
        page.locator("#start").click()
        expect(page.locator("#partial .words")).to_contain_text("sorry")
        page.evaluate("stream.getTracks()[0].dispatchEvent(new Event('ended'))")
        expect(state(page)).to_have_text("Ready")
        expect(page.locator("#problem")).to_contain_text("unplugged")
        expect(page.locator("#turns")).to_contain_text("sorry")


def test_a_dead_connection_is_detected(server, open_page):
    """The server neither answers nor closes the socket."""

    stage: list[Stage] = []

    def before(page: Any) -> None:
        page.clock.install()
        stage.append(Stage(page))

    with open_page(server, before=before) as page:
        page.locator("#start").click()
        expect(state(page)).to_have_text("Live")
        page.clock.run_for(30_000)
        page.wait_for_timeout(100)
        expect(state(page)).to_have_text("Live")
        assert stage[0].opened == 2


def test_audio_that_waited_for_a_connection_is_no_alarm(server, open_page):
    """After a reconnect the page reports its progress instead of a slow network."""
    stage: list[Stage] = []
    with open_page(server, before=lambda page: stage.append(Stage(page))) as page:
        page.evaluate(
            """async () => {
              const { Connection } = await import("/page/connection.js");
              Object.defineProperty(Connection.prototype, "waiting", {get: () => waiting});
              window.waiting = 0;
            }"""
        )
        page.locator("#start").click()
        expect(state(page)).to_have_text("Live")
        page.evaluate("window.waiting = 15 * 48000")
        stage[0].close(1012)
        expect(state(page)).to_have_text("Reconnecting")
        expect(state(page)).to_have_text("Live")
        expect(page.locator("#pace")).to_have_text(re.compile(r"^Catching up, \d+ s$"))
        expect(page.locator("#problem")).to_be_hidden()
        page.evaluate("window.waiting = 0")
        expect(page.locator("#pace")).to_have_text("on time")
        page.evaluate("window.waiting = 15 * 48000")  # nothing had waited for a connection
        expect(page.locator("#problem")).to_contain_text("The network is too slow")


def test_a_slow_network_is_a_problem_on_the_page(server, open_page):
    stuck = (
        "Object.defineProperty(WebSocket.prototype, 'bufferedAmount', {get: () => 1e6});"
        "const send = WebSocket.prototype.send;"
        "WebSocket.prototype.send = function (data) {"
        "  if (typeof data !== 'string') window.fed = true; send.call(this, data); };"
    )
    with open_page(server, script=stuck) as page:
        page.locator("#start").click()
        expect(page.locator("#problem")).to_contain_text("The network is too slow")
        expect(page.locator("#pace")).to_contain_text("s behind")
        assert not page.evaluate("'fed' in window")


def test_a_full_server_can_be_tried_again(open_page, spoken):
    with (
        running(WHEATEAR_SERVE_LOAD="0.0001") as server,
        open_page(server) as page,
    ):
        with connect(f"{server.ws}/ws") as other:
            assert json.loads(other.recv(timeout=10))["type"] == "ready"
            page.locator("#start").click()
            expect(state(page)).to_have_text("Server full")
            expect(page.locator("#problem")).to_contain_text("Try later")
            expect(page.locator("#start")).to_have_text("Start")
        server.wait_for_rest()
        page.locator("#again").click()
        expect(state(page)).to_have_text("Live")


def test_a_rejected_socket_is_a_problem_on_the_page(open_page):
    with (
        running(WHEATEAR_SERVE_LIMITS_STREAMS="1") as server,
        connect(f"{server.ws}/ws"),
        open_page(server, unwell=True) as page,
    ):
        page.locator("#start").click()
        expect(state(page)).to_have_text("Server full")
        expect(page.locator("#problem")).to_contain_text("accepts no more streams")


def test_an_unreachable_server_is_a_problem_until_it_is_back(open_page):
    with running() as server, open_page(server, unwell=True) as page:
        server.stop(signal.SIGKILL)
        page.locator("#start").click()
        expect(page.locator("#problem")).to_contain_text("cannot be reached")
        with running(WHEATEAR_SERVE_PORT=str(server.port)):
            page.locator("#start").click()
            expect(state(page)).to_have_text("Live")


def test_a_key_is_requested_and_stays_in_its_tab(open_page, tmp_path):
    keys = tmp_path / "keys"
    command = [sys.executable, "-m", "wheatear", "key", "tester", "--file", str(keys)]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    key = made.split()[-1]
    with (
        running("--api-key-file", str(keys)) as server,
        open_page(server, unwell=True) as page,
    ):
        expect(state(page)).to_have_text("API key required")
        field = page.get_by_label("API key")
        expect(field).to_be_focused()
        expect(page.locator("#settings")).to_be_hidden()
        assert field.get_attribute("type") == "password"
        field.fill("not this one")
        field.press("Enter")
        expect(page.locator("#problem")).to_contain_text("not known")
        field.fill(key)
        field.press("Enter")
        expect(state(page)).to_have_text("Ready")
        expect(page.locator("#settings")).to_be_visible()
        page.set_input_files("#file", SAMPLE)
        expect(page.locator("#turns li")).to_have_count(1)
        page.locator("#start").click()
        expect(page.locator("#partial .words")).to_contain_text("sorry")
        assert key not in page.url
        assert key not in page.evaluate("JSON.stringify(localStorage)")
        assert key in page.evaluate("JSON.stringify(sessionStorage)")


# -- files


def test_files_are_transcribed_and_played(server, open_page, recording, tmp_path):
    with open_page(server) as page:
        page.set_input_files("#file", [SAMPLE, recording])
        shelf = page.locator("#transcripts button")
        expect(shelf).to_have_text(["en-US.flac", "once.wav"])
        expect(page.locator("#notice")).to_have_text("once.wav is transcribed")
        shelf.first.click()
        shown = words_on(page)
        engine = wheatear.load(threads=1)
        expected = engine.transcribe(SAMPLE, latency_ms=1120)
        assert shown == [word.text for word in expected.words]
        finals = finals_of(saved(page, "json"))
        shown_words = [word for final in finals for word in final.words]
        assert [w.space_before for w in shown_words] == [w.space_before for w in expected.words]
        for word, other in zip(shown_words, expected.words, strict=True):
            assert word.confidence == pytest.approx(other.confidence, abs=1e-3)
            assert word.start == pytest.approx(other.start, abs=1e-3)
        expect(page.locator("#player")).to_be_visible()
        page.locator("#turns button").first.click()
        page.evaluate(
            "new Promise((done) => document.getElementById('player').ontimeupdate = done)"
        )


def test_a_dropped_file_is_transcribed(server, open_page):
    with open_page(server) as page:
        page.evaluate(
            """async (bytes) => {
              const transfer = new DataTransfer();
              transfer.items.add(new File([new Uint8Array(bytes)], "dropped.flac"));
              const happen = (kind) => document.body.dispatchEvent(
                new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
              happen("dragover");
              if (!document.body.classList.contains("dropping")) throw new Error("not shown");
              happen("drop");
            }""",
            list(SAMPLE.read_bytes()),
        )
        expect(page.locator("#turns li")).to_have_count(1)
        assert letters_of(words_on(page)) >= SPOKEN
        expect(page.locator("#transcripts button")).to_have_text("dropped.flac")


def test_a_file_without_audio_is_a_problem_on_the_page(server, open_page, tmp_path):
    bad = tmp_path / "notes.txt"
    bad.write_text("no audio")
    with open_page(server, unwell=True) as page:
        page.set_input_files("#file", bad)
        expect(page.locator("#problem")).to_contain_text("Cannot decode")
        expect(page.locator("#again")).to_be_visible()
        tabs = page.locator("#transcripts button")
        expect(tabs).to_have_class("failed")
        page.set_input_files("#file", SAMPLE)
        expect(page.locator("#turns li")).to_have_count(1)
        expect(tabs).to_have_text(["en-US.flac"])  # the file without text has left no tab
        expect(page.locator("#problem")).to_be_hidden()
        page.set_input_files("#file", bad)
        expect(page.locator("#problem")).to_contain_text("Cannot decode")
        page.locator("#clear").click()
        expect(tabs).to_have_text(["en-US.flac"])


ANSWERED_BY_TEST = """
  window.XMLHttpRequest = class {
    upload = {};
    responseText = "";
    open() {}
    setRequestHeader() {}
    abort() {}
    send() {
      window.request = this;
      this.upload.onload();
      this.status = 200;
    }
    emit(event) {
      this.responseText += `data: ${JSON.stringify(event)}\n\n`;
      this.onprogress();
    }
    end(event) {
      this.responseText += `data: ${JSON.stringify(event)}\n\ndata: [DONE]\n\n`;
      this.onload();
    }
  };
"""


def test_the_text_of_a_file_grows_with_its_progress(server, open_page):
    """Settled turns, growing text and a bar, before the answer is complete."""
    with open_page(server, script=ANSWERED_BY_TEST) as page:
        page.set_input_files("#file", SAMPLE)
        events = [
            {"type": "transcript.text.delta", "delta": "I'm sorry."},
            _segment(0, "I'm sorry.", "en-US"),
            {"type": "transcript.progress", "seconds": 61.0, "duration": 244.0},
            {"type": "transcript.text.delta", "delta": " The person"},
        ]
        for event in events:
            page.evaluate("event => request.emit(event)", event)
        expect(page.locator("#turns .words")).to_have_text(["I'm sorry."])
        expect(page.locator("#partial .words")).to_have_text("The person")
        expect(page.locator("#job p")).to_have_text("Transcribing: 1:01 of 4:04")
        assert page.locator("#job progress").evaluate("bar => bar.value") == 0.25
        page.evaluate("event => request.emit(event)", _segment(1, "The person.", None))
        done = {"type": "transcript.text.done", "text": "", "duration": 4.0}
        warning = "en-US.flac is cut off at 2.0 s"
        page.evaluate("event => request.end(event)", done | {"warning": warning})
        expect(page.locator("#notice")).to_have_text("en-US.flac is transcribed")
        expect(page.locator("#turns .words")).to_have_text(["I'm sorry.", "The person."])
        expect(page.locator("#problem")).to_contain_text("is cut off at 2.0 s")
        expect(page.locator("#again")).to_be_hidden()
        expect(page.locator("#job")).to_be_hidden()
        finals = finals_of(saved(page, "json"))
        assert [(f.start, f.end, f.language) for f in finals] == [
            (0, 1, "en-US"), (1, 2, None),
        ]  # fmt: skip


def test_text_of_a_file_survives_its_failure(server, open_page):
    with open_page(server, script=ANSWERED_BY_TEST) as page:
        page.set_input_files("#file", SAMPLE)
        page.evaluate("event => request.emit(event)", _segment(0, "I'm sorry.", "en-US"))
        page.evaluate("event => request.end(event)", {"error": {"message": "the disk is full"}})
        expect(page.locator("#problem")).to_contain_text("The disk is full.")
        expect(page.locator("#turns .words")).to_have_text(["I'm sorry."])
        expect(page.locator("#again")).to_be_visible()
        page.set_input_files("#file", SAMPLE)
        expect(page.locator("#transcripts button")).to_have_count(2)


def _segment(number: int, text: str, language: str | None) -> dict[str, Any]:
    words = [
        {"word": word, "start": number + n / 4, "end": number + n / 4 + 0.2, "confidence": 0.9}
        for n, word in enumerate(text.split())
    ]
    return {
        "type": "transcript.text.segment", "id": number, "start": number + 0.1, "end": number + 1,
        "text": text, "language": language, "words": words,
    }  # fmt: skip


# -- what is shown


def test_hours_of_captions_keep_few_elements_and_all_text(server, open_page):
    stage: list[Stage] = []
    with open_page(server, before=lambda page: stage.append(Stage(page))) as page:
        page.locator("#start").click()
        expect(state(page)).to_have_text("Live")
        for n in range(1000):
            stage[0].send_text(f"caption {n}")
        rows = page.locator("#turns li")
        expect(rows.last).to_contain_text("caption 999")
        expect(rows).to_have_count(200)
        assert at_bottom(page)

        page.mouse.move(500, 300)
        page.mouse.wheel(0, -2000)
        expect(page.locator("#latest")).to_be_visible()
        before = page.evaluate("scrollY")
        stage[0].send_text("one more")
        expect(rows.last).to_contain_text("one more")
        assert page.evaluate("scrollY") == before
        page.locator("#earlier").click()
        expect(rows.first).to_contain_text("caption 700")
        assert rows.count() <= 300
        page.locator("#latest").click()
        expect(rows.last).to_contain_text("one more")
        assert at_bottom(page)
        stage[0].send_text("and the last")
        expect(rows.last).to_contain_text("and the last")
        assert at_bottom(page)

        page.locator("#start").click()
        expect(state(page)).to_have_text("Ready")
        finals = finals_of(saved(page, "json"))
        assert len(finals) == 1002
        assert finals[7].text == "caption 7"
        assert len(list(srt.parse(saved(page, "srt")))) == 1002


def at_bottom(page: Any) -> bool:
    return page.evaluate("document.documentElement.scrollHeight - innerHeight - scrollY < 2")


def test_text_is_never_html_and_has_the_direction_of_its_script(server, open_page):
    stage: list[Stage] = []
    evil = "<img/src=x/onerror=alert(1)> & --> <b>"
    with open_page(server, before=lambda page: stage.append(Stage(page))) as page:
        page.locator("#start").click()
        expect(state(page)).to_have_text("Live")
        stage[0].send_text(evil, "partial")
        expect(page.locator("#partial .words")).to_have_text(evil)
        stage[0].send_text(evil)
        stage[0].send_text("שלום עולם", language="he-IL")
        rows = page.locator("#turns .words")
        expect(rows).to_have_text([evil, "שלום עולם"])
        assert page.locator("#turns img, #turns b").count() == 0
        direction = "element => getComputedStyle(element).direction"
        assert rows.first.evaluate(direction) == "ltr"
        assert rows.last.evaluate(direction) == "rtl"
        assert rows.last.get_attribute("lang") == "he-IL"
        captions = webvtt.from_string(saved(page, "vtt"))
        assert html.unescape(captions[0].text.replace("\n", " ")) == evil


def test_settings_are_stored_and_sent_to_the_session(server, open_page):
    stage: list[Stage] = []
    with open_page(server, before=lambda page: stage.append(Stage(page))) as page:
        page.locator("#language").select_option(label="German (Germany)")
        page.locator("#latency").select_option("1120")
        page.get_by_text("More", exact=True).click()
        page.locator("#phrases").fill("Wheatear, Nguyen ,")
        page.locator("#shade").uncheck()
        page.reload()
        expect(page.locator("#language")).to_have_value("de-DE")
        expect(page.locator("#latency")).to_have_value("1120")
        expect(page.locator("#phrases")).to_have_value("Wheatear, Nguyen ,")
        expect(page.locator("#shade")).not_to_be_checked()
        page.locator("#start").click()
        expect(state(page)).to_have_text("Live")
        parsed = parse_qs(urlsplit(stage[0].url).query)
        assert (parsed["language"], parsed["latency"]) == (["de-DE"], ["1120"])
        assert parsed["phrases"] == ["Wheatear", "Nguyen"]
        page.locator("#latency").select_option("80")
        page.wait_for_timeout(100)
        switch = {"type": "switch", "language": "de-DE", "latency_ms": 80}
        assert switch in stage[0].orders


# -- accessibility


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(server, open_page, scheme):
    """axe-core finds nothing, whatever is on the page."""
    stage: list[Stage] = []
    with open_page(
        server, before=lambda page: stage.append(Stage(page)), color_scheme=scheme,
        reduced_motion="reduce",
    ) as page:  # fmt: skip
        check(page)
        page.get_by_text("More", exact=True).click()
        check(page)
        page.locator("#start").click()
        expect(state(page)).to_have_text("Live")
        stage[0].send_text("one two three four five six seven eight nine ten")
        stage[0].send_text("half a turn", "partial")
        expect(page.locator("#partial")).to_be_visible()
        check(page)
        assert faintest(page) >= 4.5
        page.locator("#save").click()
        check(page)
        page.keyboard.press("Escape")
        stage[0].send("error", code="overloaded", message="no more")
        stage[0].close(1013)
        expect(state(page)).to_have_text("Reconnecting")
        check(page)
        page.set_input_files("#file", SAMPLE)
        expect(page.locator("#turns button")).to_have_count(1)
        check(page)
        page.locator("#clear").click()
        expect(page.locator("dialog")).to_be_visible()
        check(page)


def check(page: Any) -> None:
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


def faintest(page: Any) -> float:
    """The least contrast of a caption with its ground."""
    return page.evaluate(
        """() => {
          const light = (color) => {
            const [r, g, b] = color.match(/[\\d.]+/g).map((value) => {
              const part = value / 255;
              return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
          };
          const ground = light(getComputedStyle(document.documentElement).backgroundColor);
          const words = [...document.querySelectorAll("#turns .words span, #partial .words span")];
          const levels = words.map((word) => light(getComputedStyle(word).color));
          if (new Set(levels).size < 6) throw new Error("not all shades are there");
          return Math.min(...levels.map((l) => Math.max(l, ground) / Math.min(l, ground)));
        }"""
    )


def test_the_page_fits_a_small_telephone(server, open_page):
    stage: list[Stage] = []
    with open_page(
        server, before=lambda page: stage.append(Stage(page)), viewport=(320, 640),
        has_touch=True, is_mobile=True,
    ) as page:  # fmt: skip
        fits(page)
        page.get_by_text("More", exact=True).tap()
        fits(page)
        page.locator("#start").tap()
        expect(state(page)).to_have_text("Live")
        stage[0].send_text("Donaudampfschifffahrtsgesellschaftskapitänswitwenrente " * 3)
        stage[0].send_text("half", "partial")
        expect(page.locator("#partial")).to_be_visible()
        fits(page)
        page.locator("#save").tap()
        fits(page)


def fits(page: Any) -> None:
    """Nothing is wider than the screen, and what is to be touched is large enough for it."""
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    for button in page.locator("footer button:visible").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 40
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 320


def test_a_keyboard_reaches_every_control(server, open_page):
    with open_page(server) as page:
        reached = [focused(page) for _ in range(7) if not page.keyboard.press("Tab")]
        assert reached == ["skip", "language", "latency", "model", "more", "start", "open"]
        page.keyboard.press("Control+Enter")
        expect(state(page)).to_have_text("Live")
        expect(page.locator("#turns li")).to_have_count(1)
        page.keyboard.press("Control+Enter")
        expect(state(page)).to_have_text("Ready")
        page.keyboard.press("Tab")
        assert focused(page) == "save"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert focused(page) == "copy"
        page.keyboard.press("Tab")
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        assert download.value.suggested_filename == "Microphone.srt"
        button = page.locator("#start")
        assert button.get_attribute("aria-keyshortcuts") == "Control+Enter"
        expect(button).to_have_accessible_description("Ctrl Enter starts and stops")
        log = page.get_by_role("log")
        assert log.get_attribute("aria-live") in ("polite", "off")


def focused(page: Any) -> str:
    """The focused element, whose outline must be visible."""
    return page.evaluate(
        """() => {
          const element = document.activeElement;
          const { outlineStyle, outlineWidth } = getComputedStyle(element);
          if (outlineStyle === "none" || outlineWidth === "0px") throw new Error("not seen");
          return element.id || element.className || element.textContent.trim().toLowerCase();
        }"""
    )
