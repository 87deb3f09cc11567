"""/v1/listen: Deepgram's own SDK against a running server, and sockets without one."""

import asyncio
import hashlib
import io
import json
import re
import time
from contextlib import contextmanager

import httpx
import numpy as np
import pydantic
import pytest
import soundfile
from deepgram import AsyncDeepgramClient, DeepgramClient, DeepgramClientEnvironment
from deepgram.core.api_error import ApiError
from deepgram.core.events import EventType
from deepgram.listen.v1.types.listen_v1configure import ListenV1Configure
from deepgram.listen.v1.types.listen_v1configure_failure import ListenV1ConfigureFailure
from deepgram.listen.v1.types.listen_v1configure_success import ListenV1ConfigureSuccess
from deepgram.listen.v1.types.listen_v1error import ListenV1Error
from deepgram.listen.v1.types.listen_v1metadata import ListenV1Metadata
from deepgram.listen.v1.types.listen_v1results import ListenV1Results
from deepgram.listen.v1.types.listen_v1speech_started import ListenV1SpeechStarted
from deepgram.listen.v1.types.listen_v1utterance_end import ListenV1UtteranceEnd
from deepgram.types.listen_v1response import ListenV1Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_process import SAMPLE, running
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import wheatear
from wheatear.server.access.keys import make_key

TYPES = {
    "Results": ListenV1Results, "Metadata": ListenV1Metadata, "Error": ListenV1Error,
    "SpeechStarted": ListenV1SpeechStarted, "UtteranceEnd": ListenV1UtteranceEnd,
    "ConfigureSuccess": ListenV1ConfigureSuccess, "ConfigureFailure": ListenV1ConfigureFailure,
}  # fmt: skip
# The SDK uses what the newest websockets says will go.
pytestmark = [
    pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:connect:DeprecationWarning"),
]
PCM16 = "encoding=linear16&sample_rate=16000"
# Of Metadata: in Deepgram's documentation, not in its SDK.
MODEL_INFO = {"models", "model_info", "warnings", "extra", "tags"}


def check(message):
    """Every field is there that the SDK's type has, and none besides."""
    parsed = pydantic.TypeAdapter(TYPES[message["type"]]).validate_python(message)

    def look(value):
        if isinstance(value, list):
            for part in value:
                look(part)
        elif isinstance(value, pydantic.BaseModel):
            assert not set(value.model_extra or {}) - MODEL_INFO, value.model_extra
            for name in type(value).model_fields:
                look(getattr(value, name))

    look(parsed)


class Session:
    """A socket; whatever comes is held to the rules as it comes."""

    def __init__(self, socket):
        self.socket = socket
        self.got = []
        self.end = 0.0
        """Of the last fixed span."""
        self._interim = ""

    def send(self, type):  # noqa: A002
        self.socket.send(json.dumps({"type": type}))

    def push(self, samples, block=1600):
        for at in range(0, len(samples), block):
            self.socket.send(samples[at : at + block].tobytes())

    def next(self, type, **fields):  # noqa: A002
        """The next message of a type with these fields."""
        while True:
            message = self.take()
            if message["type"] == type and fields.items() <= message.items():
                return message

    def all(self):
        with pytest.raises(ConnectionClosed):  # noqa: PT012
            while True:
                self.take()
        return self.got

    def take(self, timeout=30):
        message = json.loads(self.socket.recv(timeout=timeout))
        self.got.append(message)
        check(message)
        if message["type"] == "Results":
            self._check_results(message)
        return message

    def _check_results(self, message):
        """Spans tile the audio; what was said in one only grows."""
        (heard,) = message["channel"]["alternatives"]
        assert message["start"] == pytest.approx(self.end, abs=2e-3)
        assert heard["transcript"].startswith(self._interim)
        assert " ".join(w["punctuated_word"] for w in heard["words"]) == heard["transcript"]
        starts = [w["start"] for w in heard["words"]]
        assert starts == sorted(starts)
        self._interim = heard["transcript"]
        if message["is_final"]:
            self.end = message["start"] + message["duration"]
            self._interim = ""
        else:
            assert not message["speech_final"]

    @property
    def finals(self):
        """The fixed spans with text."""
        results = [m for m in self.got if m["type"] == "Results" and m["is_final"]]
        return [m for m in results if m["channel"]["alternatives"][0]["transcript"]]

    @property
    def text(self):
        return " ".join(m["channel"]["alternatives"][0]["transcript"] for m in self.finals)


@contextmanager
def session(server, query=PCM16):
    with connect(f"{server.ws}/v1/listen?{query}") as socket:
        yield Session(socket)


@pytest.fixture(scope="module")
def recognizer():
    return wheatear.load(threads=1)


def expected(recognizer, samples, **options):
    latency = recognizer.bundle.manifest.default_mode.latency_ms
    return recognizer.transcribe(samples, latency_ms=latency, **options).text


# -- the wire


def test_a_stream_says_what_the_engine_says(quiet_server, recognizer, spoken):
    with session(quiet_server) as s:
        s.push(spoken, 777)
        s.send("CloseStream")
        *_, metadata = s.all()
        assert s.text == expected(recognizer, spoken)
        assert s.socket.close_code == 1000
    assert metadata["type"] == "Metadata"
    assert metadata["duration"] == pytest.approx(len(spoken) / 16_000, abs=1e-3)
    assert metadata["sha256"] == hashlib.sha256(spoken.tobytes()).hexdigest()
    assert s.end == pytest.approx(metadata["duration"], abs=2e-3)
    assert not [m for m in s.got if m["type"] == "Results" and not m["is_final"]]
    ids = {m.get("request_id") or m["metadata"]["request_id"] for m in s.got}
    assert len(ids) == 1


def test_interim_results_grow_and_the_pause_is_told(quiet_server, spoken):
    with session(quiet_server, f"{PCM16}&interim_results=true&endpointing=300") as s:
        s.push(np.tile(spoken, 2))
        for _ in range(2):
            final = s.next("Results", speech_final=True)
            assert final["is_final"]
            assert final["channel"]["alternatives"][0]["transcript"].endswith("calling.")
        assert sum(not m.get("is_final", True) for m in s.got) >= 8


def test_what_is_fixed_is_not_yet_a_pause(quiet_server, spoken):
    """Speech without a pause is fixed in spans, of which only the last one ends with one."""
    voice = spoken[: len(spoken) - 24_000 - 6000]
    long = np.concatenate([voice, voice, voice, spoken])
    with session(quiet_server, f"{PCM16}&endpointing=1000&vad_events=true") as s:
        s.push(long)
        s.next("Results", speech_final=True)
        assert [m["speech_final"] for m in s.finals] == [False] * (len(s.finals) - 1) + [True]
        assert len(s.finals) >= 2
        assert sum(m["type"] == "SpeechStarted" for m in s.got) == 1
        assert max(m["duration"] for m in s.finals) < 7.5


def test_without_endpointing_no_pause_is_told(quiet_server, spoken):
    with session(quiet_server, f"{PCM16}&endpointing=false") as s:
        s.push(np.tile(spoken, 2))
        s.send("CloseStream")
        s.all()
        assert len(s.finals) == 2
        assert not any(m["speech_final"] for m in s.finals)


def test_short_pauses_do_not_cut_words(quiet_server, recognizer, spoken):
    """Deepgram's default is 10 ms, which lie within any word."""
    with session(quiet_server, f"{PCM16}&endpointing=10") as s:
        s.push(spoken)
        s.send("CloseStream")
        s.all()
        assert s.text == expected(recognizer, spoken)


def test_finalize_tells_all_at_once(quiet_server, recognizer, spoken):
    cut = 40_000
    with session(quiet_server, f"{PCM16}&interim_results=true") as s:
        s.push(spoken[:cut])
        s.send("Finalize")
        final = s.next("Results", from_finalize=True)
        assert (final["is_final"], final["speech_final"]) == (True, True)
        assert s.text == expected(recognizer, spoken[:cut])
        assert s.end == pytest.approx(cut / 16_000, abs=2e-3)
        s.send("Finalize")  # of nothing
        assert s.next("Results", from_finalize=True)["duration"] == 0
        s.push(spoken[cut:])
        s.send("Finalize")
        s.next("Results", from_finalize=True)
        parts = (spoken[:cut], spoken[cut:])
        assert s.text == " ".join(expected(recognizer, part) for part in parts)
        assert s.finals[-1]["channel"]["alternatives"][0]["words"][0]["start"] >= cut / 16_000


def test_voice_and_the_end_of_utterances(quiet_server, spoken):
    query = f"{PCM16}&interim_results=true&vad_events=true&utterance_end_ms=1000"
    with session(quiet_server, query) as s:
        long = np.concatenate([spoken, np.zeros(16_000, np.int16), spoken])
        for at in range(0, len(long), 1600):
            s.socket.send(long[at : at + 1600].tobytes())
            time.sleep(0.01)
        end = s.next("UtteranceEnd")
        kinds = [m["type"] for m in s.got]
        assert kinds.index("SpeechStarted") < kinds.index("Results")
        last = s.finals[0]["channel"]["alternatives"][0]["words"][-1]
        assert end["last_word_end"] == last["end"]
        s.next("SpeechStarted")
        s.send("CloseStream")
        s.all()
        assert sum(m["type"] == "UtteranceEnd" for m in s.got) <= 2


def test_words_are_told_twice(quiet_server, spoken):
    with session(quiet_server) as s:
        s.push(spoken)
        s.send("CloseStream")
        s.all()
        words = [w for m in s.finals for w in m["channel"]["alternatives"][0]["words"]]
        assert words[-1]["punctuated_word"] == "calling."
        assert words[-1]["word"] == "calling"
        assert all(0 <= w["confidence"] <= 1 for w in words)


def test_languages(quiet_server, spoken):
    for query, told in (("language=multi", ["en-US"]), ("detect_language=true", ["en-US"])):
        with session(quiet_server, f"{PCM16}&{query}") as s:
            s.push(spoken)
            s.send("CloseStream")
            s.all()
            assert s.finals[0]["channel"]["alternatives"][0]["languages"] == told
    with session(quiet_server, f"{PCM16}&language=it") as s:
        s.push(spoken)
        s.send("CloseStream")
        s.all()
        assert "languages" not in s.finals[0]["channel"]["alternatives"][0]


@pytest.mark.parametrize(
    ("encoding", "rate", "channels"),
    [("linear16", 48_000, 2), ("linear32", 44_100, 1), ("mulaw", None, 1), ("alaw", 8000, 1)],
)
def test_forms_of_audio(quiet_server, spoken, encoding, rate, channels):
    soxr = pytest.importorskip("soxr")
    samples = soxr.resample(spoken.astype(np.float32) / 32768, 16_000, rate or 8000)
    if encoding in ("mulaw", "alaw"):
        out = io.BytesIO()
        subtype = {"mulaw": "ULAW", "alaw": "ALAW"}[encoding]
        soundfile.write(out, samples, 8000, subtype=subtype, format="RAW")
        data = np.frombuffer(out.getvalue(), np.uint8)
    else:
        whole = np.round(samples * 32767).astype(np.int16)
        data = np.repeat(samples if encoding == "linear32" else whole, channels)
    rates = f"&sample_rate={rate}" if rate else ""
    with session(quiet_server, f"encoding={encoding}&channels={channels}{rates}") as s:
        s.push(data)
        s.send("CloseStream")
        assert s.all()[-1]["duration"] == pytest.approx(len(spoken) / 16_000, abs=2e-3)
        assert "sorry" in s.text.lower()


def test_terms_are_listened_for(recognizer, spoken):
    terms, query = ["I'm sorry unable"], f"{PCM16}&keyterm=I'm+sorry+unable"
    heard = recognizer.transcribe(spoken, latency_ms=1120, phrases=terms).text
    assert heard != recognizer.transcribe(spoken, latency_ms=1120).text

    def check(s):
        s.push(spoken)
        s.send("CloseStream")
        s.all()
        assert s.text == heard

    with running("--latency", "1120") as server:
        weighted = f"{PCM16}&keywords=I'm+sorry+unable:2&keywords=nobody:-3"
        for given in (query, weighted):
            with session(server, given) as s:
                check(s)
        with session(server) as s:
            for given in (terms, ["\u0bb5\u0ba3"], ["x"] * 5000, None):
                s.socket.send(json.dumps({"type": "Configure", "keyterms": given}))
            assert s.next("ConfigureSuccess")["keyterms"] == terms
            assert s.next("ConfigureFailure")["code"] == "CONFIGURE_INTERNAL_ERROR"
            assert s.next("ConfigureFailure")["code"] == "CONFIGURE_KEYTERM_LIMIT_EXCEEDED"
            assert "keyterms" not in s.next("ConfigureSuccess")
            check(s)


def test_an_empty_message_closes_the_stream(quiet_server, spoken):
    with session(quiet_server) as s:
        s.push(spoken)
        s.socket.send(b"")
        assert s.all()[-1]["type"] == "Metadata"
        assert s.text


def test_who_is_silent_is_let_go(quiet_server):
    """After ten seconds, unless it says that it is there."""
    with session(quiet_server) as idle, session(quiet_server) as alive:
        for _ in range(5):
            alive.send("KeepAlive")
            time.sleep(2.3)
        assert idle.all()[-1]["variant"] == "NET-0001"
        assert idle.socket.close_code == 1011
        assert idle.socket.close_reason.startswith("NET-0001")
        alive.send("CloseStream")
        assert [m["type"] for m in alive.all()] == ["Metadata"]


# -- what is refused


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "encoding"),
        ("encoding=linear16", "sample_rate"),
        ("encoding=opus&sample_rate=48000", "linear16"),
        ("encoding=linear16&sample_rate=x", "sample_rate"),
        ("encoding=linear16&sample_rate=16000&channels=2&multichannel=true", "multichannel"),
        (f"{PCM16}&model=nobody", "nobody"),
        (f"{PCM16}&language=tlh", "tlh"),
        (f"{PCM16}&interim_results=maybe", "interim_results"),
        (f"{PCM16}&endpointing=-1", "endpointing"),
        (f"{PCM16}&utterance_end_ms=1000000", "utterance_end_ms"),
        (f"{PCM16}&redact=pci", "redact"),
        (f"{PCM16}&diarize=true", "diarize"),
        (f"{PCM16}&callback=http://localhost/", "callback"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_socket_opens(quiet_server, query, says):
    with pytest.raises(InvalidStatus) as refused, session(quiet_server, query):
        pass
    assert refused.value.response.status_code == (404 if "nobody" in query else 400)
    assert says in json.loads(refused.value.response.body)["error"]["message"]


def test_audio_that_cannot_be_is_refused_with_a_reason(quiet_server):
    with session(quiet_server, "encoding=linear16&sample_rate=4000") as s:
        assert s.all()[-1]["variant"] == "DATA-0000"
        assert s.socket.close_code == 1008
    with session(quiet_server, "encoding=linear32&sample_rate=16000") as s:
        s.push(np.full(1600, 1e30, np.float32))
        assert s.all()[-1]["variant"] == "DATA-0000"


@pytest.mark.parametrize("message", ["{", "[]", '{"type": "Dance"}', '{"type": 7}', "KeepAlive"])
def test_messages_that_nobody_knows_are_told_and_passed_over(quiet_server, spoken, message):
    with session(quiet_server) as s:
        s.socket.send(message)
        error = s.next("Error")
        assert (error["variant"], error["message"]) == ("SchemaError", message)
        s.push(spoken)
        s.send("CloseStream")
        s.all()
        assert "sorry" in s.text.lower()


PARAMETERS = (
    "model=nova-3-general&language=en&punctuate=True&smart_format=true&numerals=true&dictation="
    "false&detect_entities=false&diarize=false&multichannel=false&profanity_filter=false&no_delay="
    "true&filler_words=true&mip_opt_out=true&tag=a&tag=b&version=latest&some_new_thing=1"
)


def test_what_real_clients_send_besides_is_passed_over(quiet_server, spoken):
    with session(quiet_server, f"{PCM16}&{PARAMETERS}") as s:
        s.push(spoken)
        s.send("CloseStream")
        metadata = s.all()[-1]
        assert "sorry" in s.text.lower()
    assert metadata["tags"] == ["a", "b"]
    assert {w["parameter"] for w in metadata["warnings"]} == {
        "numerals", "filler_words", "some_new_thing",
    }  # fmt: skip
    assert all(w["parameter"] in w["message"] and w["type"] for w in metadata["warnings"])


@pytest.mark.parametrize(
    "query",
    [
        "language=&model=&channels=&keyterm=", "model=general", "model=phonecall", "model=base",
        "model=2-meeting", "model=Nova-2-Medical", "model=enhanced-general", "multichannel=false",
        "interim_results=True&vad_events=0", "redact=False&diarize=0", "utterance_end_ms=false",
    ],
)  # fmt: skip
def test_what_means_the_default_is_no_fault(quiet_server, spoken, query):
    with session(quiet_server, f"{PCM16}&{query}") as s:
        s.push(spoken)
        s.send("CloseStream")
        metadata = s.all()[-1]
        assert "sorry" in s.text.lower()
    assert "warnings" not in metadata


@pytest.mark.parametrize(
    ("query", "name", "meant"),
    [
        ("sampel_rate=8000", "sampel_rate", "sample_rate"),
        ("sampleRate=8000", "sampleRate", "sample_rate"),
        ("interimResults=true", "interimResults", "interim_results"),
        ("Language=it", "Language", "language"),
        ("endpoint=300", "endpoint", "endpointing"),
        ("keyterms=Elba", "keyterms", "keyterm"),
    ],
)
def test_a_misspelled_parameter_is_named(quiet_server, query, name, meant):
    for answer in (_refused(quiet_server, f"{PCM16}&{query}"), _posted(quiet_server, query)):
        assert answer["param"] == name
        assert repr(meant) in answer["message"]


def _refused(server, query):
    with pytest.raises(InvalidStatus) as refused, session(server, query):
        pass
    assert refused.value.response.status_code == 400
    return json.loads(refused.value.response.body)["error"]


def _posted(server, query, body=None, status=400, **headers):
    """The answer to a file, or its error."""
    body = SAMPLE.read_bytes() if body is None else body
    url = f"{server.url}/v1/listen?{query}"
    response = httpx.post(url, content=body, headers=headers, timeout=60)
    assert response.status_code == status, response.text
    return response.json()["error" if status >= 400 else "results"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("sample_rate=8000&sample_rate=16000", "sample_rate"),
        ("language=en&language=it", "language"),
        ("channels=0", "channels"), ("sample_rate=0", "sample_rate"),
        ("sample_rate=16e3", "sample_rate"), ("sample_rate=-1", "sample_rate"),
        ("sample_rate=nan", "sample_rate"), ("utterance_end_ms=true", "utterance_end_ms"),
        ("endpointing=0.5", "endpointing"), ("vad_events=yes", "vad_events"),
        ("detect_language=tlh", "detect_language"), ("extra=nothing", "extra"),
        ("translate=es", "translate"), ("detect_topics=true", "detect_topics"),
        ("multichannel=true", "multichannel"), ("encoding=banana&sample_rate=1", "encoding"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_named(quiet_server, query, name):
    asked = query if "encoding" in query else f"encoding=linear16&{query}"
    if "sample_rate" not in asked:
        asked += "&sample_rate=16000"
    assert _refused(quiet_server, asked)["param"] == name
    assert _posted(quiet_server, query)["param"] == name


def test_many_parameters_that_nobody_knows_are_refused(quiet_server):
    query = "&".join(f"some_new_thing_{n}=1" for n in range(50))
    assert "50" in _refused(quiet_server, f"{PCM16}&{query}")["message"]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "Finalize", "now": True}, {"type": "Configure", "keyTerms": ["Elba"]},
        {"type": "Configure", "keyterms": "Elba"}, {"type": "KeepAlive", "seconds": 5},
    ],
)  # fmt: skip
def test_a_field_that_is_not_known_is_named(quiet_server, message):
    with session(quiet_server) as s:
        s.socket.send(json.dumps(message))
        error = s.next("Error")
        name = next(name for name in message if name != "type")
        assert error["variant"] == "SchemaError"
        assert name in error["description"]


def test_features_cannot_be_changed(quiet_server):
    with session(quiet_server) as s:
        s.socket.send(json.dumps({"type": "Configure", "features": {"numerals": True}}))
        assert "numerals" in s.next("ConfigureFailure")["description"]


step = st.one_of(
    st.tuples(st.just("push"), st.sampled_from([1, 333, 8000, 40_000])),
    st.tuples(st.just("say"), st.sampled_from([0, 9000, 24_000])),
    st.tuples(st.sampled_from(["Finalize", "KeepAlive", "rest", "nonsense"])),
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(step, max_size=12), st.sampled_from(["10", "300", "false"]))
def test_whatever_a_client_does_spans_tile_the_audio(quiet_server, spoken, steps, endpointing):
    """`Session` holds every message to the rules."""
    samples, at, pushed = np.tile(spoken, 8), 0, 0
    query = f"{PCM16}&interim_results=true&vad_events=true&utterance_end_ms=500"
    with session(quiet_server, f"{query}&endpointing={endpointing}") as s:
        for what, *size in steps:
            match what:
                case "push":
                    s.push(samples[at : at + size[0]], 4000)
                    at, pushed = at + size[0], pushed + size[0]
                case "say":
                    s.push(np.concatenate([spoken[:16_000], np.zeros(size[0], np.int16)]), 4000)
                    pushed += 16_000 + size[0]
                case "rest":
                    time.sleep(0.05)
                case _:
                    s.send(what)
        s.send("CloseStream")
        metadata = s.all()[-1]
        count = [what for what, *_ in steps].count
        assert metadata["duration"] == pytest.approx(pushed / 16_000, abs=2e-3)
        assert s.end == pytest.approx(pushed / 16_000, abs=3e-3 * (1 + count("Finalize")))
        assert sum(m.get("from_finalize", False) for m in s.got) == count("Finalize")
        assert sum(m["type"] == "Error" for m in s.got) == count("nonsense")


def test_going_down_tells_what_was_said(spoken):
    with running(WHEATEAR_SERVE_DRAIN_SECONDS="1") as server, session(server) as s:
        s.push(spoken[:60_000])
        time.sleep(0.5)
        server.process.terminate()
        assert s.all()[-1]["type"] == "Metadata"
        assert "sorry" in s.text.lower()
        assert server.process.wait(30) == 0


# -- the SDK


def environment(server):
    return DeepgramClientEnvironment(
        base=server.url, production=server.ws, agent=server.ws, agent_rest=server.url
    )


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client() as http:
        yield DeepgramClient(api_key="none", environment=environment(server), httpx_client=http)


OPTIONS = {
    "model": "nova-3", "encoding": "linear16", "sample_rate": 16_000, "interim_results": True,
    "endpointing": 300, "vad_events": True, "smart_format": True, "punctuate": True,
}  # fmt: skip


def test_the_sdk(client, quiet_server, spoken):
    with client.listen.v1.connect(**OPTIONS) as connection:
        got = []
        connection.on(EventType.MESSAGE, got.append)
        connection.send_keep_alive()
        for at in range(0, len(spoken), 1600):
            connection.send_media(spoken[at : at + 1600].tobytes())
        connection.send_finalize()
        connection.send_close_stream()
        connection.start_listening()
    kinds = [type(message) for message in got]
    assert (kinds[0], kinds[-1]) == (ListenV1SpeechStarted, ListenV1Metadata)
    results = [m for m in got if isinstance(m, ListenV1Results)]
    finals = [m for m in results if m.is_final]
    text = " ".join(m.channel.alternatives[0].transcript for m in finals).strip()
    assert "calling." in text
    assert any(m.speech_final for m in finals)
    assert sum(bool(m.from_finalize) for m in finals) == 1
    assert len(results) > len(finals)


def test_the_sdk_configures(client, quiet_server):
    with client.listen.v1.connect(**OPTIONS) as connection:
        connection.send_configure(ListenV1Configure(type="Configure", keyterms=["Ombrone"]))
        assert connection.recv().keyterms == ["Ombrone"]


def test_the_sdk_asynchronously(quiet_server, spoken):
    async def one(client):
        async with client.listen.v1.connect(**OPTIONS, language="en") as connection:
            for at in range(0, len(spoken), 4800):
                await connection.send_media(spoken[at : at + 4800].tobytes())
            await connection.send_close_stream()
            text = ""
            async for message in connection:
                if isinstance(message, ListenV1Results) and message.is_final:
                    text += message.channel.alternatives[0].transcript
        return text

    async def several():
        client = AsyncDeepgramClient(api_key="none", environment=environment(quiet_server))
        return await asyncio.gather(*[one(client) for _ in range(4)])

    texts = asyncio.run(several())
    assert len(set(texts)) == 1
    assert "calling." in texts[0]


def test_the_sdk_with_a_wrong_key(tmp_path, spoken):
    file = tmp_path / "keys.toml"
    key = make_key(file, "somebody")
    with running("--api-key-file", str(file)) as server:
        for given in (key, "wrong"):
            client = DeepgramClient(api_key=given, environment=environment(server))
            if given == key:
                with client.listen.v1.connect(**OPTIONS) as connection:
                    connection.send_close_stream()
                    assert isinstance(connection.recv(), ListenV1Metadata)
                continue
            # The SDK means to raise ApiError, and knows the error of an older websockets.
            with pytest.raises((ApiError, InvalidStatus), match="401"):
                client.listen.v1.connect(**OPTIONS).__enter__()
        with connect(f"{server.ws}/v1/listen?{PCM16}", subprotocols=["token", key]) as socket:
            assert socket.subprotocol == "token"  # as pages do


# -- whole files


def test_a_file(client, quiet_server, recognizer):
    audio = SAMPLE.read_bytes()
    got = client.listen.v1.media.transcribe_file(
        request=audio, model="nova-3", smart_format=True, utterances=True, detect_language=True
    )
    assert isinstance(got, ListenV1Response)
    (channel,) = got.results.channels
    whole = recognizer.transcribe(SAMPLE, latency_ms=max(recognizer.latencies_ms))
    assert channel.alternatives[0].transcript == whole.text
    assert [w.punctuated_word for w in channel.alternatives[0].words] == whole.text.split()
    assert channel.detected_language == "en-US"
    assert [u.transcript for u in got.results.utterances] == [s.text for s in whole.segments]
    assert got.metadata.sha256 == hashlib.sha256(audio).hexdigest()
    assert got.metadata.duration == pytest.approx(whole.duration)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(got.metadata.created)) or (
        got.metadata.created.year >= 2024
    )
    bare = client.listen.v1.media.transcribe_file(request=audio, model="wheatear-small")
    assert bare.results.utterances is None


def test_files_that_are_refused(client, quiet_server):
    for options, status in (
        ({"request": b"nothing"}, 400), ({"request": b""}, 400),
        ({"request": SAMPLE.read_bytes(), "diarize": True}, 400),
        ({"request": SAMPLE.read_bytes(), "language": "tlh"}, 400),
    ):  # fmt: skip
        with pytest.raises(ApiError) as refused:
            client.listen.v1.media.transcribe_file(model="nova-3", **options)
        assert refused.value.status_code == status
    with pytest.raises(ApiError) as refused:
        client.listen.v1.media.transcribe_url(url="http://localhost/a.wav", model="nova-3")
    assert refused.value.status_code == 415


def _coded(spoken, form):
    """The recording at 8 kHz, headerless."""
    soxr = pytest.importorskip("soxr")
    samples = soxr.resample(spoken.astype(np.float32) / 32768, 16_000, 8000)
    out = io.BytesIO()
    soundfile.write(out, samples, 8000, subtype=form, format="RAW", endian="LITTLE")
    return out.getvalue()


def _said(results):
    return results["channels"][0]["alternatives"][0]["transcript"]


@pytest.mark.parametrize(
    ("query", "kind", "form"),
    [
        (PCM16, "application/octet-stream", "s16"),
        (PCM16, "application/x-www-form-urlencoded", "s16"), (PCM16, "audio/wav", "s16"),
        (f"{PCM16}&channels=2", "audio/*", "stereo"), ("", "audio/l16;rate=16000", "s16"),
        ("", "audio/L16; rate=16000", "s16be"), ("sample_rate=16000", "audio/pcm", "s16"),
        ("", "audio/raw;encoding=signed-int;bits=16;rate=16000", "s16"),
        ("encoding=mulaw&sample_rate=8000", "audio/wav", "ULAW"), ("encoding=alaw", "", "ALAW"),
        ("", "audio/basic", "ULAW"), ("encoding=linear32&sample_rate=16000", "", "f32"),
        ("encoding=linear16&sample_rate=8000", "", "PCM_16"),
    ],
)  # fmt: skip
def test_a_body_without_a_header_is_read_as_the_request_says(
    quiet_server, recognizer, spoken, query, kind, form
):
    bodies = {
        "s16": spoken, "s16be": spoken.astype(">i2"), "stereo": np.repeat(spoken, 2),
        "f32": spoken / np.float32(32768),
    }  # fmt: skip
    body = bodies[form].tobytes() if form in bodies else _coded(spoken, form)
    headers = {"content-type": kind} if kind else {}
    url = f"{quiet_server.url}/v1/listen?{query}"
    answer = httpx.post(url, content=body, headers=headers, timeout=60).json()
    metadata, results = answer["metadata"], answer["results"]
    assert metadata["duration"] == pytest.approx(len(spoken) / 16_000, abs=2e-3)
    assert "warnings" not in metadata
    if form in bodies:
        whole = recognizer.transcribe(spoken, latency_ms=max(recognizer.latencies_ms))
        assert _said(results) == whole.text
    else:
        assert "sorry" in _said(results).lower()


@pytest.mark.parametrize("query", ["encoding=mulaw", "encoding=linear16", "sample_rate=8000"])
def test_a_file_with_a_header_is_read_as_what_it_is(quiet_server, recognizer, query):
    url = f"{quiet_server.url}/v1/listen?{query}"
    answer = httpx.post(url, content=SAMPLE.read_bytes(), timeout=60).json()
    whole = recognizer.transcribe(SAMPLE, latency_ms=max(recognizer.latencies_ms))
    assert _said(answer["results"]) == whole.text
    (warning,) = answer["metadata"]["warnings"]
    assert warning["parameter"] == query.partition("=")[0]
    assert "header" in warning["message"]


def test_a_body_that_is_not_described_is_refused_with_advice(quiet_server, spoken):
    raw = spoken.tobytes()
    assert _posted(quiet_server, "encoding=linear16", raw)["param"] == "sample_rate"
    for encoding in ("opus", "flac", "AMR-WB"):
        error = _posted(quiet_server, f"encoding={encoding}&sample_rate=16000", raw)
        assert (error["param"], encoding.lower() in error["message"]) == ("encoding", True)
    assert "empty" in _posted(quiet_server, PCM16, b"")["message"]
    kind = {"content-type": "audio/l16"}
    assert _posted(quiet_server, "", raw, **kind)["param"] == "sample_rate"
    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert "not a form" in _posted(quiet_server, "", raw, 415, **kind)["message"]


def test_warnings_of_a_file_are_in_its_metadata(quiet_server, spoken):
    wav = io.BytesIO()
    soundfile.write(wav, spoken, 16_000, format="WAV")
    query = "language=en-AU&numerals=true&interim_results=true&extra=a:b:c&tag=x"
    url = f"{quiet_server.url}/v1/listen?{query}"
    metadata = httpx.post(url, content=wav.getvalue()[:-40_000], timeout=60).json()["metadata"]
    told = {warning["parameter"]: warning["message"] for warning in metadata["warnings"]}
    assert set(told) == {"language", "numerals", "interim_results", "audio"}
    assert "en-US" in told["language"] or "en-GB" in told["language"]
    assert "cut off" in told["audio"]
    assert (metadata["extra"], metadata["tags"]) == ({"a": "b:c"}, ["x"])
