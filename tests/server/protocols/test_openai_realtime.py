"""/v1/realtime: the raw wire, held to the types of OpenAI's SDK and to the rules of its guide."""

import base64
import io
import json
import time
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openai_wire import BUFFER, ITEM, Session
from server_process import running
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import wheatear

NULL = {"turn_detection": None}
PCM16 = {"format": {"type": "audio/pcm", "rate": 16_000}}


@pytest.fixture(scope="module")
def recognizer():
    return wheatear.load(threads=1)


@contextmanager
def session(server, query="intent=transcription", **audio_input):
    """A session with these settings."""
    with connect(f"{server.ws}/v1/realtime?{query}") as socket:
        s = Session(socket)
        assert s.take()["type"] == "session.created"
        if audio_input:
            assert s.update(**audio_input)["type"] == "session.updated"
        yield s


def types(events):
    """Types of events in their order, repeated ones once."""
    names = [e["type"].removeprefix(f"{ITEM}.").removeprefix(f"{BUFFER}.") for e in events]
    return [name for n, name in enumerate(names) if n == 0 or names[n - 1] != name]


# -- turns


@pytest.mark.parametrize(
    "detection",
    [
        {"type": "server_vad", "silence_duration_ms": 500},
        {"type": "semantic_vad", "eagerness": "auto"},
        {"type": "semantic_vad", "eagerness": "high"},
        {
            "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 600,
            "silence_duration_ms": 350, "create_response": False, "interrupt_response": True,
        },
    ],
)  # fmt: skip
def test_events_of_a_turn_have_the_order_of_the_guide(quiet_server, spoken, detection):
    with session(quiet_server, **PCM16, turn_detection=detection) as s:
        for _ in range(2):
            s.append(spoken)
        for _ in range(2):
            s.next(f"{ITEM}.completed")
        one = [
            "speech_started", "delta", "speech_stopped", "committed", "conversation.item.added",
            "conversation.item.done",
        ]  # fmt: skip
        got = [t for t in types(s.got) if not t.startswith("session")]
        late = [t for t in got if t != "delta"]
        assert late[:6] == [t for t in one if t != "delta"] + ["completed"]
        assert got[:6] == one
        s.check_rest()
        assert all("sorry" in text.lower() for text in s.transcripts)


def test_text_is_sent_during_speech(quiet_server, spoken):
    """Paced like a microphone, most text is there before the turn ends."""
    with session(quiet_server, **PCM16, transcription={"delay": "low"}) as s:
        for at in range(0, len(spoken), 1600):
            s.append(spoken[at : at + 1600])
            time.sleep(0.02)
        s.next(f"{ITEM}.completed")
        order = [e["type"].rpartition(".")[2] for e in s.got]
        assert order[: order.index("speech_stopped")].count("delta") >= 5


@pytest.mark.parametrize(("ms", "sentences"), [(200, 1), (2000, 2)])
def test_the_silence_of_turn_detection_ends_a_turn(quiet_server, spoken, ms, sentences):
    """Between two sentences of one breath a patient session ends no turn, a hasty one does."""
    pause = np.zeros(11_200, np.int16)  # 0.7 s, after what the recording has
    voice = spoken[: len(spoken) - 24_000]
    twice = np.concatenate([voice, pause, voice, np.zeros(40_000, np.int16)])
    detection = {"type": "server_vad", "silence_duration_ms": ms}
    with session(quiet_server, **PCM16, turn_detection=detection) as s:
        s.append(twice)
        assert s.next(f"{ITEM}.completed")["transcript"].count("sorry") == sentences


def test_a_long_wait_for_speech_triggers_a_timeout(quiet_server):
    detection = {"type": "server_vad", "idle_timeout_ms": 1000}
    with session(quiet_server, **PCM16, turn_detection=detection) as s:
        for _ in range(40):
            s.append(np.zeros(800, np.int16))
            time.sleep(0.01)
        answer = s.next(f"{BUFFER}.timeout_triggered")
        assert answer["audio_end_ms"] - answer["audio_start_ms"] >= 1000
        done = s.next(f"{ITEM}.completed")
        assert (done["item_id"], done["transcript"]) == (answer["item_id"], "")


# -- commits


def transcript_of(server, samples, latency):
    """The same samples as a file."""
    wav = io.BytesIO()
    soundfile.write(wav, samples, 16_000, subtype="PCM_16", format="WAV")
    status, body = server.post_form(
        "/v1/audio/transcriptions", {"latency_ms": str(latency)}, wav.getvalue()
    )
    assert status == 200, body
    return json.loads(body)["text"]


@pytest.mark.parametrize(
    ("delay", "latency"),
    [("minimal", 80), ("low", 160), ("medium", 320), ("high", 560), ("xhigh", 1120)],
)
def test_a_commit_has_the_text_of_its_file(quiet_server, spoken, delay, latency):
    pieces = (spoken, spoken[20_000:70_000], spoken[:33_333])
    with session(quiet_server, **PCM16, **NULL, transcription={"delay": delay}) as s:
        for piece in pieces:  # without waiting for anything
            for at in range(0, len(piece), 4111):
                s.append(piece[at : at + 4111])
            s.send(f"{BUFFER}.commit")
        for piece in pieces:
            done = s.next(f"{ITEM}.completed")
            assert done["transcript"] == transcript_of(quiet_server, piece, latency)
            assert done["usage"] == {
                "type": "duration",
                "seconds": pytest.approx(len(piece) / 16_000, abs=1e-3),
            }
        s.check_rest()


def test_an_empty_commit_is_an_error_with_the_clients_id(quiet_server, spoken):
    with session(quiet_server, **PCM16, **NULL) as s:
        s.send(f"{BUFFER}.commit", event_id="mine")
        error = s.next("error")["error"]
        assert (error["event_id"], error["code"]) == ("mine", f"{BUFFER}_commit_empty")
        s.append(spoken)
        s.send(f"{BUFFER}.commit")
        s.send(f"{BUFFER}.commit")
        assert s.next("error")["error"]["code"] == f"{BUFFER}_commit_empty"
        assert s.next(f"{ITEM}.completed")["transcript"]


def test_a_clear_discards_only_the_buffer(quiet_server, spoken):
    with session(quiet_server, **PCM16, **NULL, transcription={"delay": "high"}) as s:
        s.append(spoken)
        s.send(f"{BUFFER}.commit")
        s.append(spoken)
        s.send(f"{BUFFER}.clear")
        s.append(np.zeros(16_000, np.int16))
        s.send(f"{BUFFER}.commit")
        s.next(f"{BUFFER}.cleared")
        s.next(f"{BUFFER}.committed")
        while len(s.completed) < 2:
            s.take()
        assert s.transcripts == [transcript_of(quiet_server, spoken, 560), ""]


def test_a_commit_in_the_middle_of_a_turn_ends_it(quiet_server, spoken):
    with session(quiet_server, **PCM16) as s:
        s.append(spoken[:40_000])
        s.next(f"{ITEM}.delta")
        s.send(f"{BUFFER}.commit")
        s.next(f"{ITEM}.completed")
        order = [t for t in types(s.got[2:]) if t != "delta"]
        assert order == [
            "speech_started", "speech_stopped", "committed", "conversation.item.added",
            "conversation.item.done", "completed",
        ]  # fmt: skip
        s.check_rest()


@pytest.mark.parametrize("model", ["gpt-realtime-whisper", "gpt-live-transcribe"])
def test_models_without_turn_detection_wait_for_a_commit(quiet_server, spoken, model):
    """Clients that know these models by name expect that."""
    for query, update in ((f"model={model}", {}), ("", {"transcription": {"model": model}})):
        with session(quiet_server, query, **PCM16, **update) as s:
            assert s.got[-1]["session"]["audio"]["input"].get("turn_detection") is None
            s.append(spoken)
            s.send(f"{BUFFER}.commit")
            s.next(f"{ITEM}.completed")
            assert not [e for e in s.got if "speech" in e["type"]]
            s.check_rest()


def settling(s, spoken):
    """Brings a session to where a turn has been committed and may still get more text."""
    s.append(np.concatenate([spoken[:16_000], np.zeros(9000, np.int16)]))
    s.next(f"{BUFFER}.committed")
    assert not s.completed


def test_a_commit_while_the_last_turn_settles_is_a_separate_item(quiet_server, spoken):
    with session(quiet_server, **PCM16, transcription={"delay": "minimal"}) as s:
        settling(s, spoken)
        s.append(spoken)
        s.send(f"{BUFFER}.commit")
        s.next(f"{BUFFER}.committed")
        while len(s.completed) < 2:
            s.take()
        s.check_rest()
        assert [text.split()[-1] for text in s.transcripts] == ["sorry", "calling."]


@pytest.mark.parametrize("what", ["clear", "update"])
def test_a_settling_turn_is_completed_after_any_event(quiet_server, spoken, what):
    with session(quiet_server, **PCM16, transcription={"delay": "minimal"}) as s:
        settling(s, spoken)
        if what == "clear":
            s.send(f"{BUFFER}.clear")
        else:
            s.send_update(**NULL)
        s.append(np.zeros(16_000, np.int16))
        s.send(f"{BUFFER}.commit")
        while len(s.completed) < 2:
            s.take()
        s.check_rest()
        assert s.transcripts == ["I'm sorry", ""]


step = st.one_of(
    st.tuples(st.just("say"), st.sampled_from([0, 9000, 24_000])),
    st.tuples(st.just("append"), st.sampled_from([0, 1, 333, 8000, 40_000])),
    st.tuples(st.just("rest"), st.sampled_from([0.05, 0.3])),
    st.tuples(st.sampled_from(["commit", "clear"])),
    st.tuples(st.just("detect"), st.sampled_from(["server_vad", "semantic_vad", None])),
    st.tuples(st.just("delay"), st.sampled_from(["minimal", "high"])),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(step, max_size=12))
@example([("say", 9000), ("rest", 0.3), ("commit",), ("clear",), ("say", 0), ("commit",)])
@example([("say", 24_000), ("detect", None), ("say", 9000), ("detect", "server_vad"), ("say", 0)])
def test_items_keep_their_rules_for_any_order_of_events(quiet_server, spoken, steps):
    """`Session` holds every event to them."""
    samples, at = np.tile(spoken, 8), 0
    with session(quiet_server, **PCM16, transcription={"delay": "minimal"}) as s:
        for what, *how in steps:
            match what:
                case "say":
                    s.append(np.concatenate([spoken[:16_000], np.zeros(how[0], np.int16)]))
                case "append":
                    s.append(samples[at : at + how[0]])
                    at += how[0]
                case "rest":
                    time.sleep(how[0])
                case "commit" | "clear":
                    s.send(f"{BUFFER}.{what}")
                case "detect":
                    s.send_update(turn_detection=how[0] and {"type": how[0]})
                case "delay":
                    s.send_update(transcription={"delay": how[0]})
        s.send_update(**NULL)
        s.append(np.zeros(1600, np.int16))
        s.send(f"{BUFFER}.commit", event_id="last")
        last = None
        while last not in s.completed:
            s.take()
            if s.updates == 0 and s.got[-1]["type"] == f"{BUFFER}.committed":
                last = s.got[-1]["item_id"]  # after the last update only the client commits
            if s.got[-1]["type"] == "error":
                assert s.got[-1]["error"]["code"] == f"{BUFFER}_commit_empty"
                assert s.got[-1]["error"]["event_id"] != "last"
        s.check_rest()


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.integers(0, 90_000), st.integers(1, 60_000), st.integers(100, 20_000)),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_each_committed_part_has_the_text_of_its_file(quiet_server, spoken, parts):
    pieces = [spoken[start : start + length] for start, length, _ in parts]
    with session(quiet_server, **PCM16, **NULL, transcription={"delay": "low"}) as s:
        for piece, (_, _, block) in zip(pieces, parts, strict=True):
            for at in range(0, len(piece), block):
                s.append(piece[at : at + block])
            s.send(f"{BUFFER}.commit")
        kept = [piece for piece in pieces if len(piece)]
        while len(s.completed) < len(kept):
            s.take()
        assert s.transcripts == [transcript_of(quiet_server, piece, 160) for piece in kept]


# -- forms of audio


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_any_rate_is_transcribed(quiet_server, spoken, rate):
    samples = spoken.astype(np.float32) / 32768
    pcm = np.round(soxr.resample(samples, 16_000, rate) * 32767).astype(np.int16)
    with session(quiet_server, format={"type": "audio/pcm", "rate": rate}, **NULL) as s:
        s.append(pcm)
        s.send(f"{BUFFER}.commit")
        done = s.next(f"{ITEM}.completed")
        assert "sorry" in done["transcript"].lower()
        assert done["usage"]["seconds"] == pytest.approx(len(spoken) / 16_000, abs=2e-3)


@pytest.mark.parametrize(("form", "subtype"), [("audio/pcmu", "ULAW"), ("audio/pcma", "ALAW")])
def test_g711_is_transcribed(quiet_server, spoken, form, subtype):
    samples = soxr.resample(spoken.astype(np.float32) / 32768, 16_000, 8000)
    raw = io.BytesIO()
    soundfile.write(raw, samples, 8000, subtype=subtype, format="RAW")
    with session(quiet_server, format={"type": form}, **NULL) as s:
        s.append(raw.getvalue())
        s.send(f"{BUFFER}.commit")
        done = s.next(f"{ITEM}.completed")
        assert "sorry" in done["transcript"].lower()
        assert done["usage"]["seconds"] == pytest.approx(len(spoken) / 16_000, abs=2e-3)


def test_the_address_may_have_the_rate(quiet_server, spoken):
    with session(quiet_server, "sample_rate=16000", **NULL) as s:
        assert s.got[0]["session"]["audio"]["input"]["format"]["rate"] == 16_000
        s.append(spoken)
        s.send(f"{BUFFER}.commit")
        assert "sorry" in s.next(f"{ITEM}.completed")["transcript"].lower()


def test_silence_commits_to_an_empty_transcript(quiet_server):
    with session(quiet_server, **NULL) as s:
        s.append(bytes(48_000))
        s.send(f"{BUFFER}.commit")
        assert s.next(f"{ITEM}.completed")["transcript"] == ""


# -- settings and errors


def test_fields_left_out_of_an_update_keep_their_values(quiet_server):
    with session(quiet_server) as s:
        s.update(
            format={"type": "audio/pcm", "rate": 8000},
            transcription={
                "model": "gpt-4o-transcribe", "language": "en", "prompt": "Ombrone, Elba",
                "keywords": ["Wheatear"], "delay": "medium",
            },
        )  # fmt: skip
        answer = s.update(turn_detection={"type": "semantic_vad", "eagerness": "low"})
        given = answer["session"]["audio"]["input"]
        assert given["format"] == {"type": "audio/pcm", "rate": 8000}
        assert given["transcription"] == {
            "model": "gpt-4o-transcribe", "language": "en", "prompt": "Ombrone, Elba",
            "keywords": ["Wheatear"], "delay": "medium",
        }  # fmt: skip
        assert given["turn_detection"] == {"type": "semantic_vad", "eagerness": "low"}
        s.update(turn_detection=None)
        s.update(transcription={"language": None, "keywords": None, "prompt": None})
        given = s.got[-1]["session"]["audio"]["input"]
        assert given["turn_detection"] is None
        assert given["transcription"]["language"] is None
        assert "keywords" not in given["transcription"]


@pytest.mark.parametrize("language", ["en", "en-US", "it", "fr-CA"])
def test_requested_and_detected_languages_are_named(quiet_server, spoken, language):
    with session(quiet_server, **PCM16, **NULL, transcription={"language": language}) as s:
        s.append(spoken)
        s.send(f"{BUFFER}.commit")
        codes = s.next(f"{ITEM}.completed")["languages"]
        assert [code["code"].partition("-")[0] for code in codes] == [language[:2]]


def test_tokens_of_logprobs_joined_are_the_text(quiet_server, spoken):
    with session(quiet_server, **PCM16) as s:
        s.send(
            "session.update",
            session={
                "type": "transcription", "include": ["item.input_audio_transcription.logprobs"],
            },
        )  # fmt: skip
        s.next("session.updated")
        s.append(spoken)
        done = s.next(f"{ITEM}.completed")
        joined = b"".join(bytes(p["bytes"]) for p in done["logprobs"]).decode()
        assert joined.strip() == done["transcript"]
        assert all(p["logprob"] <= 0 for p in done["logprobs"])
        deltas = [e for e in s.got if e["type"] == f"{ITEM}.delta"]
        assert [p for e in deltas for p in e["logprobs"]] == done["logprobs"]


UPDATE = "session.update"
WRONG = [
    ("{", None),
    ("[]", None),
    ('{"event_id": "mine"}', "type"),
    ('{"type": 7, "event_id": "mine"}', "type"),
    ('{"type": "response.create", "event_id": "mine"}', "type"),
    ('{"type": "input_audio_buffer.append", "event_id": "mine"}', "audio"),
    ('{"type": "input_audio_buffer.append", "audio": "%%", "event_id": "mine"}', "audio"),
    ('{"type": "session.update", "event_id": "mine"}', "session"),
]
SETTINGS = [
    ({"type": "realtime"}, "session.type"),
    ({"include": ["everything"]}, "session.include"),
    ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 4000}}}}, "format.rate"),
    ({"audio": {"input": {"format": {"type": "audio/mp3"}}}}, "format.type"),
    ({"audio": {"input": {"transcription": {"model": "nobody"}}}}, "transcription.model"),
    ({"audio": {"input": {"transcription": {"language": "tlh"}}}}, "transcription.language"),
    ({"audio": {"input": {"transcription": {"delay": "never"}}}}, "transcription.delay"),
    ({"audio": {"input": {"transcription": {"keywords": ["வ"]}}}}, "transcription.keywords"),
    ({"audio": {"input": {"transcription": None}}}, "transcription"),
    ({"audio": {"input": {"turn_detection": {"type": "psychic"}}}}, "turn_detection.type"),
    ({"audio": {"input": {"turn_detection": {"silence_duration_ms": 1}}}}, "turn_detection.type"),
]
SETTINGS += [
    ({"voice": "alloy"}, "session.voice"), ({"inputAudioFormat": "pcm16"}, "inputAudioFormat"),
    ({"input_audio_format": "PCM16"}, "session.input_audio_format"),
    ({"input_audio_format": None}, "session.input_audio_format"),
    ({"input_audio_format": "opus", "turn_detection": None}, "session.input_audio_format"),
    ({"input_audio_transcription": {"langauge": "en"}}, "input_audio_transcription.langauge"),
    ({"input_audio_transcription": {"language": "tlh"}}, "input_audio_transcription.language"),
    ({"input_audio_transcription": {"model": "nobody"}}, "input_audio_transcription.model"),
    ({"input_audio_transcription": None}, "session.input_audio_transcription"),
    ({"turn_detection": {"type": "server_vad", "silence_ms": 5}}, "turn_detection.silence_ms"),
    ({"turn_detection": "server_vad"}, "session.turn_detection"),
    ({"turn_detection": {"type": "none"}}, "session.turn_detection.type"),
    ({"input_audio_noise_reduction": {"type": "loud"}}, "input_audio_noise_reduction.type"),
    ({"modalities": ["video"]}, "modalities[0]"), ({"audio": {"output": {}}}, "audio.output"),
    ({"audio": {"input": {"language": "en"}}}, "session.audio.input.language"),
    ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": "16000"}}}}, "format.rate"),
    ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": -1}}}}, "format.rate"),
    ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 1e99}}}}, "format.rate"),
    ({"audio": {"input": {"format": {"rate": 8000, "channels": 2}}}}, "format.channels"),
    ({"audio": {"input": {"format": "pcm16"}}}, "input.format"),
    ({"audio": {"input": {"transcription": {"languages": ["en", "tlh"]}}}}, "language"),
    ({"audio": {"input": {"transcription": {"keywords": "Elba"}}}}, "transcription.keywords"),
    ({"audio": {"input": {"noise_reduction": {"type": "x"}}}}, "noise_reduction.type"),
    ({"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": "0.5"}}}},
     "turn_detection.threshold"),
    ({"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 9e5}}}},
     "turn_detection.silence_duration_ms"),
    ({"audio": {"input": {"turn_detection": None}}, "turn_detection": None}, "turn_detection"),
]  # fmt: skip
WRONG += [
    ('{"type": "input_audio_buffer.append", "audio": "", "rate": 8000}', "rate"),
    ('{"type": "input_audio_buffer.commit", "final": true}', "final"),
    ('{"type": "session.update", "session": {}, "model": "x"}', "model"),
    ('{"type": "transcription_session.update", "session": {"model": "x"}}', "session.model"),
    ('{"type": "transcription_session.update"}', "session"),
]
WRONG += [
    (json.dumps({"type": UPDATE, "event_id": "mine", "session": given}), param)
    for given, param in SETTINGS
]


@pytest.mark.parametrize(("message", "param"), WRONG)
def test_an_error_names_the_field_and_the_session_continues(quiet_server, spoken, message, param):
    with session(quiet_server, **PCM16, **NULL) as s:
        s.socket.send(message)
        error = s.next("error")["error"]
        assert error["type"] == "invalid_request_error"
        assert error["event_id"] == ("mine" if "mine" in message else None)
        if param:
            assert error["param"].endswith(param)
            assert error["message"]
        assert "session.updated" not in [e["type"] for e in s.got[2:]]
        s.append(spoken)
        s.send(f"{BUFFER}.commit")
        assert s.next(f"{ITEM}.completed")["transcript"]
        s.socket.send(b"bytes")
        assert "base64" in s.next("error")["error"]["message"]


def test_the_model_can_change_only_before_audio(spoken):
    with (
        running("--model", "a=wheatear-small", "--model", "b=wheatear-small") as server,
        session(server, "model=b") as s,
    ):
        assert s.got[0]["session"]["audio"]["input"]["transcription"]["model"] == "b"
        phrases = {"model": "a", "keywords": ["Ombrone"]}  # these take a moment to understand
        answer = s.update(**PCM16, **NULL, transcription=phrases)
        assert answer["session"]["audio"]["input"]["transcription"]["model"] == "a"
        s.append(spoken)
        assert s.update(transcription={"model": "b"})["type"] == "error"
        s.send(f"{BUFFER}.commit")
        assert s.next(f"{ITEM}.completed")["transcript"]
        s.socket.close()
        server.wait_for_rest()
        assert server.metric("wheatear_streams") == 0


def test_shutdown_completes_the_items(spoken):
    """Though the client goes on to send audio."""
    with running(WHEATEAR_SERVE_DRAIN_SECONDS="1") as server:
        with session(server, **PCM16) as a, session(server, **PCM16, **NULL) as b:
            for s in (a, b):
                s.append(spoken[:60_000])
                s.next(f"{ITEM}.delta")
            server.process.terminate()
            for s in (a, b):
                with pytest.raises(ConnectionClosed):  # noqa: PT012
                    for _ in range(200):
                        s.append(bytes(3200))
                        time.sleep(0.02)
                s.all()
                s.check_rest()
                assert "sorry" in s.transcripts[0].lower()
                assert s.socket.close_code == 1000
        assert server.process.wait(30) == 0


def test_a_session_ends_at_its_time_limit(spoken):
    with (
        running(WHEATEAR_SERVE_LIMITS_SESSION_SECONDS="2") as server,
        session(server, **PCM16, **NULL) as s,
    ):
        s.append(spoken)
        s.all()
        assert "sorry" in s.transcripts[0].lower()
        s.check_rest()


def test_large_appends_are_transcribed(quiet_server, spoken):
    """Minutes of audio in one event of 15 MiB."""
    minutes = np.tile(spoken, 12 * (1 << 20) * 3 // 4 // (2 * len(spoken)))
    with session(quiet_server, **PCM16, **NULL, transcription={"delay": "xhigh"}) as s:
        s.append(minutes)
        s.send(f"{BUFFER}.commit")
        done = s.next(f"{ITEM}.completed", timeout=120)
        assert done["usage"]["seconds"] == pytest.approx(len(minutes) / 16_000)
        assert done["transcript"].lower().count("sorry") > 20


def test_appends_that_cut_samples_in_two_are_transcribed(quiet_server, spoken):
    with session(quiet_server, **PCM16, **NULL, transcription={"delay": "high"}) as s:
        for at in range(0, len(spoken) * 2, 6_001):  # odd bytes, samples cut in two
            piece = spoken.tobytes()[at : at + 6_001]
            s.send(f"{BUFFER}.append", audio=base64.b64encode(piece).decode())
        s.send(f"{BUFFER}.commit")
        done = s.next(f"{ITEM}.completed")["transcript"]
        assert done == transcript_of(quiet_server, spoken, 560)


# -- the beta's shape


def ulaw(spoken):
    raw = io.BytesIO()
    samples = soxr.resample(spoken.astype(np.float32) / 32768, 16_000, 8000)
    soundfile.write(raw, samples, 8000, subtype="ULAW", format="RAW")
    return raw.getvalue()


BETA = {
    "input_audio_format": "g711_ulaw", "turn_detection": None,
    "input_audio_transcription": {"model": "gpt-4o-transcribe", "language": "en"},
    "input_audio_noise_reduction": {"type": "near_field"}, "modalities": ["text"],
    "include": ["item.input_audio_transcription.logprobs"],
}  # fmt: skip


@pytest.mark.parametrize("kind", ["session", "transcription_session"])
def test_the_flat_shape_of_the_beta_is_applied(quiet_server, spoken, kind):
    with connect(f"{quiet_server.ws}/v1/realtime?intent=transcription") as socket:

        def take(type):  # noqa: A002
            while (event := json.loads(socket.recv(timeout=30)))["type"] != type:
                assert event["type"] != "error", event
            return event

        def send(type, **fields):  # noqa: A002
            socket.send(json.dumps({"type": type, **fields}))

        send(f"{kind}.update", session=BETA)
        answer = take(f"{kind}.updated")["session"]
        assert answer["input_audio_format"] == "g711_ulaw"
        assert answer["input_audio_transcription"]["language"] == "en"
        assert answer["turn_detection"] is None
        assert answer["input_audio_noise_reduction"] is None
        assert answer["audio"]["input"]["format"] == {"type": "audio/pcmu"}
        send(f"{BUFFER}.append", audio=base64.b64encode(ulaw(spoken)).decode())
        send(f"{BUFFER}.commit")
        done = take(f"{ITEM}.completed")
        assert "sorry" in done["transcript"].lower()
        assert done["usage"]["seconds"] == pytest.approx(len(spoken) / 16_000, abs=2e-3)
        assert done["logprobs"]


def test_the_flat_shape_keeps_the_rate_of_the_address(quiet_server, spoken):
    with session(quiet_server, "sample_rate=16000") as s:
        s.socket.send(
            json.dumps(
                {
                    "type": "session.update",
                    "session": {"input_audio_format": "pcm16", "turn_detection": None},
                }
            )
        )
        updated = json.loads(s.socket.recv(timeout=30))["session"]
        assert updated["audio"]["input"]["format"]["rate"] == 16_000
        s.append(spoken)
        s.send(f"{BUFFER}.commit")
        assert "sorry" in s.next(f"{ITEM}.completed")["transcript"].lower()


def test_both_shapes_may_be_combined(quiet_server):
    with session(quiet_server) as s:
        form = {"type": "audio/pcm", "rate": 8000}
        update = {"audio": {"input": {"format": form}}, "turn_detection": None}
        s.send("session.update", session=update)
        answer = json.loads(s.socket.recv(timeout=30))["session"]
        assert answer["audio"]["input"]["format"] == form
        assert answer["audio"]["input"]["turn_detection"] is None


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("language=en", "language"), ("sampleRate=16000", "sampleRate"), ("intent=chat", "intent"),
        ("dialect=vllm", "dialect"),
        ("sample_rate=8000&sample_rate=16000", "sample_rate"), ("sample_rate=8e3", None),
    ],
)  # fmt: skip
def test_an_invalid_address_is_rejected_by_its_parameter(quiet_server, query, param):
    with connect(f"{quiet_server.ws}/v1/realtime?{query}") as socket:
        error = json.loads(socket.recv(timeout=30))
        assert error["type"] == "error"
        if param:
            assert error["error"]["param"] == param


def test_empty_values_in_the_address_count_as_absent(quiet_server):
    with session(quiet_server, "intent=&model=&sample_rate=&api-version=2025-04-01") as s:
        assert s.got[0]["session"]["audio"]["input"]["format"]["rate"] == 24_000


# -- base64


@pytest.mark.parametrize("form", ["lines", "crlf", "url-safe", "spaces"])
def test_base64_with_spaces_and_lines_is_decoded(quiet_server, spoken, form):
    data = spoken.tobytes()
    text = {
        "lines": base64.encodebytes(data).decode(),
        "crlf": base64.encodebytes(data).decode().replace("\n", "\r\n"),
        "url-safe": base64.urlsafe_b64encode(data).decode(),
        "spaces": f"  {base64.b64encode(data).decode()}\t",
    }[form]
    with session(quiet_server, **PCM16, **NULL, transcription={"delay": "high"}) as s:
        s.send(f"{BUFFER}.append", audio=text)
        s.send(f"{BUFFER}.commit")
        assert s.next(f"{ITEM}.completed")["transcript"] == transcript_of(quiet_server, spoken, 560)


@pytest.mark.parametrize(
    "text", ["%%", "ab=c", "a", "AAA", "A\nAA", "\u00e4\u00e4", "data:audio/pcm;base64,AAAA"]
)
def test_invalid_base64_is_rejected(quiet_server, text):
    with session(quiet_server) as s:
        s.send(f"{BUFFER}.append", audio=text)
        error = s.next("error")["error"]
        assert (error["param"], error["code"]) == ("audio", "invalid_value")


def test_the_last_part_of_a_long_prompt_is_used(quiet_server, spoken):
    """Not an error about keywords."""
    prompt = "and so on it went, in other words. " * 1500
    with session(quiet_server, **PCM16, **NULL) as s:
        assert s.update(transcription={"prompt": prompt})["type"] == "session.updated"
        answer = s.update(transcription={"keywords": ["k" * 15_001]})
        assert answer["error"]["param"].endswith("keywords")
