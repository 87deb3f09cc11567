"""/v1/listen: Deepgram's own SDK against a running server, and sockets without one."""

import asyncio
import hashlib
import io
import json
import time

import httpx
import numpy as np
import pytest
import soundfile
from deepgram import AsyncDeepgramClient, DeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.core.events import EventType
from deepgram.listen.v1.types.listen_v1configure import ListenV1Configure
from deepgram.listen.v1.types.listen_v1metadata import ListenV1Metadata
from deepgram.listen.v1.types.listen_v1results import ListenV1Results
from deepgram.listen.v1.types.listen_v1speech_started import ListenV1SpeechStarted
from deepgram_wire import PCM16, environment, session
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_process import running
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import wheatear
from wheatear.server.access.keys import make_key

# The SDK uses what is deprecated in the newest websockets.
pytestmark = [
    pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:connect:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def recognizer():
    return wheatear.load(threads=1)


def expected(recognizer, samples, **options):
    latency = recognizer.model.manifest.default_mode.latency_ms
    return recognizer.transcribe(samples, latency_ms=latency, **options).text


# -- the wire


def test_a_stream_has_the_text_of_the_engine(quiet_server, recognizer, spoken):
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


def test_interim_results_grow_and_a_pause_is_marked(quiet_server, spoken):
    with session(quiet_server, f"{PCM16}&interim_results=true&endpointing=300") as s:
        s.push(np.tile(spoken, 2))
        for _ in range(2):
            final = s.next("Results", speech_final=True)
            assert final["is_final"]
            assert final["channel"]["alternatives"][0]["transcript"].endswith("calling.")
        assert sum(not m.get("is_final", True) for m in s.got) >= 8


def test_a_settled_span_without_a_pause_is_not_speech_final(quiet_server, spoken):
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


def test_without_endpointing_no_pause_is_marked(quiet_server, spoken):
    with session(quiet_server, f"{PCM16}&endpointing=false") as s:
        s.push(np.tile(spoken, 2))
        s.send("CloseStream")
        s.all()
        assert len(s.finals) == 2
        assert not any(m["speech_final"] for m in s.finals)


def test_short_pauses_do_not_split_words(quiet_server, recognizer, spoken):
    """Deepgram's default is 10 ms, which lie within any word."""
    with session(quiet_server, f"{PCM16}&endpointing=10") as s:
        s.push(spoken)
        s.send("CloseStream")
        s.all()
        assert s.text == expected(recognizer, spoken)


def test_finalize_settles_all_audio_at_once(quiet_server, recognizer, spoken):
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


def test_speech_started_and_utterance_end_are_sent(quiet_server, spoken):
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


def test_words_are_sent_bare_and_punctuated(quiet_server, spoken):
    with session(quiet_server) as s:
        s.push(spoken)
        s.send("CloseStream")
        s.all()
        words = [w for m in s.finals for w in m["channel"]["alternatives"][0]["words"]]
        assert words[-1]["punctuated_word"] == "calling."
        assert words[-1]["word"] == "calling"
        assert all(0 <= w["confidence"] <= 1 for w in words)


def test_requested_and_detected_languages_are_named(quiet_server, spoken):
    for query, languages in (("language=multi", ["en-US"]), ("detect_language=true", ["en-US"])):
        with session(quiet_server, f"{PCM16}&{query}") as s:
            s.push(spoken)
            s.send("CloseStream")
            s.all()
            assert s.finals[0]["channel"]["alternatives"][0]["languages"] == languages
    with session(quiet_server, f"{PCM16}&language=it") as s:
        s.push(spoken)
        s.send("CloseStream")
        s.all()
        assert "languages" not in s.finals[0]["channel"]["alternatives"][0]


@pytest.mark.parametrize(
    ("encoding", "rate", "channels"),
    [("linear16", 48_000, 2), ("linear32", 44_100, 1), ("mulaw", None, 1), ("alaw", 8000, 1)],
)
def test_audio_of_any_encoding_is_transcribed(quiet_server, spoken, encoding, rate, channels):
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


def test_keyterms_are_boosted(recognizer, spoken):
    terms, query = ["I'm sorry unable"], f"{PCM16}&keyterm=I'm+sorry+unable"
    result = recognizer.transcribe(spoken, latency_ms=1120, phrases=terms).text
    assert result != recognizer.transcribe(spoken, latency_ms=1120).text

    def check(s):
        s.push(spoken)
        s.send("CloseStream")
        s.all()
        assert s.text == result

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


def test_an_empty_message_ends_the_stream(quiet_server, spoken):
    with session(quiet_server) as s:
        s.push(spoken)
        s.socket.send(b"")
        assert s.all()[-1]["type"] == "Metadata"
        assert s.text


def test_an_idle_client_is_disconnected(quiet_server):
    """After ten seconds without a KeepAlive."""
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


def test_invalid_audio_is_rejected_with_a_reason(quiet_server):
    with session(quiet_server, "encoding=linear16&sample_rate=4000") as s:
        assert s.all()[-1]["variant"] == "DATA-0000"
        assert s.socket.close_code == 1008
    with session(quiet_server, "encoding=linear32&sample_rate=16000") as s:
        s.push(np.full(1600, 1e30, np.float32))
        assert s.all()[-1]["variant"] == "DATA-0000"


@pytest.mark.parametrize("message", ["{", "[]", '{"type": "Dance"}', '{"type": 7}', "KeepAlive"])
def test_an_unknown_message_is_an_error_and_the_stream_continues(quiet_server, spoken, message):
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


def test_messages_of_real_clients_without_effect_are_ignored(quiet_server, spoken):
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
    "message",
    [
        {"type": "Finalize", "now": True}, {"type": "Configure", "keyTerms": ["Elba"]},
        {"type": "Configure", "keyterms": "Elba"}, {"type": "KeepAlive", "seconds": 5},
    ],
)  # fmt: skip
def test_an_unknown_field_is_rejected_by_name(quiet_server, message):
    with session(quiet_server) as s:
        s.socket.send(json.dumps(message))
        error = s.next("Error")
        name = next(name for name in message if name != "type")
        assert error["variant"] == "SchemaError"
        assert name in error["description"]


def test_a_change_of_features_is_rejected(quiet_server):
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
def test_spans_tile_the_audio_for_any_order_of_messages(quiet_server, spoken, steps, endpointing):
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


def test_shutdown_delivers_all_text(spoken):
    with running(WHEATEAR_SERVE_DRAIN_SECONDS="1") as server, session(server) as s:
        s.push(spoken[:60_000])
        time.sleep(0.5)
        server.process.terminate()
        assert s.all()[-1]["type"] == "Metadata"
        assert "sorry" in s.text.lower()
        assert server.process.wait(30) == 0


# -- the SDK


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client() as http:
        yield DeepgramClient(api_key="none", environment=environment(server), httpx_client=http)


OPTIONS = {
    "model": "nova-3", "encoding": "linear16", "sample_rate": 16_000, "interim_results": True,
    "endpointing": 300, "vad_events": True, "smart_format": True, "punctuate": True,
}  # fmt: skip


def test_the_sdk_gets_all_message_types(client, quiet_server, spoken):
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


def test_the_sdk_changes_keyterms(client, quiet_server):
    with client.listen.v1.connect(**OPTIONS) as connection:
        connection.send_configure(ListenV1Configure(type="Configure", keyterms=["Ombrone"]))
        assert connection.recv().keyterms == ["Ombrone"]


def test_asynchronous_sdk_streams_have_the_same_text(quiet_server, spoken):
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


def test_the_sdk_with_a_wrong_key_is_rejected(tmp_path, spoken):
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
