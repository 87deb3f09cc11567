"""Whatever comes, a parser understands it or refuses it, in the words of the wire."""

import base64
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import FormData, Headers, QueryParams

from wheatear.errors import SettingsError
from wheatear.server import audio_formats as encodings
from wheatear.server.access import keys
from wheatear.server.access import middleware as gate
from wheatear.server.api_errors import ApiError
from wheatear.server.app import Service
from wheatear.server.protocols import deepgram_query
from wheatear.server.protocols import openai_events as realtime_events
from wheatear.server.protocols import openai_form as file_form
from wheatear.server.protocols import openai_session as realtime
from wheatear.server.protocols import plain_websocket as plain
from wheatear.server.settings import Settings

words = st.text(max_size=40)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=10,
)


def tried(call: Callable[[], Any]) -> tuple[Any, Any]:
    """What is returned, or how it is refused."""
    try:
        return call(), None
    except (ApiError, SettingsError) as refusal:
        return None, refusal


@pytest.fixture(scope="module")
def service():
    service = Service(Settings())
    yield service
    service.close()


# -- the gate

headers = st.lists(
    st.tuples(
        st.sampled_from(
            ["authorization", "api-key", "x-api-key", "sec-websocket-protocol", "host", "origin"]
        ),
        st.binary(max_size=60)
        | words.map(lambda w: f"Bearer {w}".encode())
        | words.map(lambda w: f"realtime, key.{w},{w}".encode())
        | words.map(lambda w: f"token, {w}".encode()),
    ),
    max_size=4,
).map(lambda raw: Headers(raw=[(name.encode(), value) for name, value in raw]))


@given(headers)
def test_a_key_is_found_or_it_is_not(given):
    key = gate.key_of(given)
    assert key is None or key in " ".join(given.values())
    ring = keys.Keyring((keys.Client(name="a", sha256="0" * 64),))
    assert ring.client(key or "") is None


@given(headers)
def test_hosts_and_origins_are_answered_to_or_refused(service, given):
    _, refusal = tried(lambda: service._app._check_host(given, "1.1"))
    assert refusal is None or refusal.status in (400, 403)
    if "host" in given:  # whose absence has been refused
        _, refusal = tried(lambda: service._app._check_origin(given))
        assert refusal is None or refusal.status == 403


@given(st.text())
def test_an_address_is_a_name(client):
    assert gate.anonymous_client(client).name.isprintable()


@given(st.binary(max_size=300))
def test_a_key_file_holds_keys_or_is_refused(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "any-keys.toml"
    file.write_bytes(content)
    ring, error = tried(lambda: keys.read_keys(file))
    assert str(file) in str(error) if ring is None else ring.clients


@given(words, st.none() | st.integers(), st.none() | st.integers())
def test_a_key_is_made_and_found_again_or_refused(tmp_path_factory, name, streams, rate):
    file = tmp_path_factory.getbasetemp() / "made-keys.toml"
    file.unlink(missing_ok=True)
    key, error = tried(lambda: keys.make_key(file, name, streams, rate))
    if error is not None:
        assert not file.exists() or not file.read_text()
        return
    holder = keys.read_keys(file).client(key)
    assert holder is not None
    assert (holder.name, holder.streams, holder.requests_per_minute) == (name, streams, rate)


# -- forms


fields = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "model", "language", "languages[]", "prompt", "keywords[]", "keywords",
                "response_format", "timestamp_granularities[]", "timestamp_granularities[0]",
                "include[]", "chunking_strategy", "chunking_strategy[silence_duration_ms]",
                "chunking_strategy[type]", "stream", "latency_ms", "known_speaker_names[]",
            ]
        )
        | words,
        words
        | st.sampled_from(["json", "verbose_json", "true", "word", "logprobs", "560", "auto", "en"])
        | st.integers().map(str)
        | values.map(json.dumps)
        | st.builds(lambda n: json.dumps({"silence_duration_ms": n}), st.integers()),
    ),
    max_size=6,
)  # fmt: skip


@given(fields)
def test_a_form_is_understood_or_refused(service, given):
    upload = file_form.UploadFile(None)  # type: ignore[arg-type]
    form = FormData([("file", upload), *given])
    understood, refusal = tried(lambda: file_form.read_request(form, service.models))
    if refusal is not None:
        assert 400 <= refusal.status < 500, refusal
        json.dumps(refusal.body)
    else:
        task = understood.task
        assert task.upload is upload
        assert task.options.latency_ms in task.model.recognizer.latencies_ms


# -- sockets


@given(words | values.map(json.dumps) | st.binary(max_size=40).map(lambda b: b.decode("latin-1")))
def test_an_order_is_understood_or_refused(message):
    order, refusal = tried(lambda: plain.read_message(message))
    assert refusal.status == 400 if order is None else isinstance(order.type, str)


names = st.sampled_from([field.name for field in msgspec.structs.fields(plain.SocketQuery)]) | words


@given(st.lists(st.tuples(names, words | st.integers().map(str) | st.just("1")), max_size=5))
def test_a_query_is_understood_or_refused(query):
    asked, refusal = tried(lambda: plain.read_query(QueryParams(query)))
    assert refusal.status == 400 if asked is None else asked.rate is not None


sessions = st.builds(
    lambda given, form, turns, words: (
        given
        | {"audio": {"input": {"format": form, "turn_detection": turns, "transcription": words}}}
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "type": values,
            "include": values,
            "voice": values,
            "input_audio_format": values | st.sampled_from(["pcm16", "g711_ulaw", "g711_alaw"]),
            "input_audio_transcription": values | st.fixed_dictionaries({"language": words}),
            "turn_detection": values | st.just({"type": "semantic_vad"}),
            "input_audio_noise_reduction": values | st.just({"type": "near_field"}),
        },
    ),
    values | st.fixed_dictionaries({"type": st.just("audio/pcm"), "rate": values}),
    values
    | st.fixed_dictionaries(
        {"type": st.just("server_vad")},
        optional={
            name: st.integers() | values
            for name in ("silence_duration_ms", "prefix_padding_ms", "idle_timeout_ms", "threshold")
        },
    ),
    values
    | st.dictionaries(
        st.sampled_from(["model", "language", "languages", "prompt", "keywords", "delay"]),
        values | st.lists(words, max_size=3),
        max_size=3,
    ),
)
events = values | st.fixed_dictionaries(
    {"type": st.sampled_from(["session.update", "input_audio_buffer.append", "x"])},
    optional={
        "event_id": values, "session": values | sessions,
        "audio": values | st.binary(max_size=20).map(lambda b: base64.b64encode(b).decode()),
    },
)  # fmt: skip


@given(events.map(json.dumps) | words)
def test_an_event_is_understood_or_refused(service, message):
    session = realtime.RealtimeSession(service.models.default, "whisper-1")
    try:
        event = realtime_events.decode_event(message)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        event_id, refusal = realtime_events.invalid_event(message, error)
        assert refusal.status == 400
        assert event_id is None or len(event_id) <= 512
        json.dumps(refusal.body)
        return
    if isinstance(event, realtime_events.Update):
        _updated(session, event.session, service)


@given(sessions)
def test_a_session_is_changed_or_left_as_it_is(service, given):
    session = realtime.RealtimeSession(service.models.default, "whisper-1")
    try:
        update = msgspec.convert(given, realtime_events.SessionUpdate)
    except msgspec.ValidationError:
        return
    _updated(session, update, service)


def _updated(session: Any, update: Any, service: Service) -> None:
    changed, refusal = tried(lambda: session.updated(update, service.models))
    if refusal is not None:
        assert 400 <= refusal.status < 500, refusal
        assert refusal.param
        json.dumps(refusal.body, allow_nan=False)
    else:
        json.dumps(changed.describe("sess_1", 5), allow_nan=False)
        service.models.default.recognizer.check(changed.options)


@given(values)
def test_a_secret_is_for_a_session_or_refused(service, given):
    request, refusal = tried(lambda: realtime_events.secret_request({"session": given}))
    if refusal is None:
        session, refusal = tried(
            lambda: realtime.secret_session(service.models, 5, request.session)
        )
        if refusal is None:
            assert session["id"]
            json.dumps(session, allow_nan=False)
            return
    assert refusal.status in range(400, 500)
    assert refusal.param.startswith("session")


# -- Deepgram's query, types of media


parameters = st.sampled_from(sorted(deepgram_query.KNOWN))
settings_of_query = st.tuples(
    parameters | parameters.map(str.title) | parameters.map(lambda name: f"{name}[]") | words,
    words
    | st.sampled_from(["true", "False", "0", "", "16000", "linear16", "opus", "nova-3", "multi"])
    | st.integers().map(str),
)


@given(st.lists(settings_of_query, max_size=6), st.booleans())
def test_a_query_of_deepgrams_is_understood_or_refused(service, given, live):
    query = QueryParams([*given, ("encoding", "linear16"), ("sample_rate", "16000")])
    asked, refusal = tried(lambda: deepgram_query.read_query(query, service.models, live))
    if refusal is not None:
        assert 400 <= refusal.status < 500, refusal
        json.dumps(refusal.body)
    else:
        json.dumps(asked.metadata(["a warning"]), allow_nan=False)
        assert asked.turn_rules.end_ms >= 240
        unknown = {name.removesuffix("[]") for name, value in given if value.strip()}
        unknown -= set(deepgram_query.KNOWN)
        assert {name[:80] for name in unknown} <= {w["parameter"] for w in asked.warnings}


media_types = st.builds(
    lambda kind, parameters: ";".join([f"audio/{kind}", *parameters]),
    st.sampled_from(sorted(encodings._MEDIA_TYPES)) | words,
    st.lists(
        st.builds(
            lambda name, value: f"{name}={value}",
            st.sampled_from(sorted(encodings._PARAMETERS)) | words,
            st.sampled_from(["8000", "16000", "1", "big-endian", "s16le", "float"]) | words,
        ),
        max_size=4,
    ),
)


@given(media_types | words)
def test_a_media_type_is_understood_or_refused(text):
    raw, refusal = tried(lambda: encodings.format_of_media_type(text))
    if refusal is not None:
        assert refusal.status == 400
        assert refusal.param in ("content-type", "sample_rate", "encoding")
    elif raw is not None:
        assert raw.rate > 0
        assert raw.channels > 0
