"""Settings of realtime sessions, and the secrets that are for them."""

import asyncio
import base64
import json
from typing import Any

import httpx
import msgspec
import numpy as np
import openai
import pytest
from fuzzing import attempt, json_values, sessions
from hypothesis import given
from openai.types.realtime.client_secret_create_response import ClientSecretCreateResponse
from openai_client import SPOKEN, transcribe
from openai_wire import BUFFER, EVENTS, ITEM, check
from server_process import running

from wheatear.server.app import Service
from wheatear.server.protocols import openai_events as realtime_events
from wheatear.server.protocols import openai_session as realtime


@given(sessions)
def test_any_update_is_applied_or_rejected(service, given):
    session = realtime.RealtimeSession(service.models.default, "whisper-1")
    try:
        update = msgspec.convert(given, realtime_events.SessionUpdate)
    except msgspec.ValidationError:
        return
    _updated(session, update, service)


def _updated(session: Any, update: Any, service: Service) -> None:
    changed, refusal = attempt(lambda: session.updated(update, service.models))
    if refusal is not None:
        assert 400 <= refusal.status < 500, refusal
        assert refusal.param
        json.dumps(refusal.body, allow_nan=False)
    else:
        json.dumps(changed.describe("sess_1", 5), allow_nan=False)
        service.models.default.recognizer.check(changed.options)


@given(json_values)
def test_any_secret_is_for_a_session_or_rejected(service, given):
    request, refusal = attempt(lambda: realtime_events.secret_request({"session": given}))
    if refusal is None:
        session, refusal = attempt(
            lambda: realtime.secret_session(service.models, 5, request.session)
        )
        if refusal is None:
            assert session["id"]
            json.dumps(session, allow_nan=False)
            return
    assert refusal.status in range(400, 500)
    assert refusal.param.startswith("session")


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A server with a key, and the key."""
    from wheatear.server.access.keys import make_key

    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    key = make_key(file, "somebody")
    with running("--api-key-file", str(file)) as server:
        yield server, key


@pytest.fixture(scope="module")
def right(locked):
    """A client with the key."""
    server, key = locked
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as openai_client:
        yield openai_client


def test_a_wrong_key_is_rejected(right):
    wrong = right.with_options(api_key="we_wrong")
    assert right.models.list().data
    with pytest.raises(openai.AuthenticationError) as refused:
        wrong.models.list()
    assert refused.value.code == "invalid_api_key"
    with pytest.raises(openai.AuthenticationError):
        transcribe(wrong)
    with pytest.raises(openai.AuthenticationError):
        wrong.realtime.client_secrets.create()
    assert SPOKEN in transcribe(right).text


def test_a_secret_opens_the_session_that_it_describes(right, spoken_24k):
    wanted = {"type": "transcription", "audio": {"input": {"transcription": {"language": "en"}}}}
    secret = right.realtime.client_secrets.create(
        session=wanted, expires_after={"anchor": "created_at", "seconds": 60}
    )
    check(secret.to_dict(), ClientSecretCreateResponse)
    assert secret.session.audio.input.transcription.language == "en"
    other = right.with_options(api_key=secret.value)
    with other.realtime.connect(extra_query={"intent": "transcription"}) as socket:
        assert SPOKEN in converse(socket, spoken_24k)[-1].transcript


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"sesion": {}}, "sesion"), ({"expires_after": {"minutes": 1}}, "expires_after.minutes"),
        ({"expires_after": {"seconds": "60"}}, "expires_after.seconds"),
        ({"expires_after": {"seconds": 9}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "now"}}, "expires_after.anchor"),
        ({"session": {"voice": "alloy"}}, "session.voice"), ({"session": 7}, "session"),
    ],
)  # fmt: skip
def test_an_invalid_request_for_a_secret_is_rejected_by_its_field(server, body, param):
    answer = httpx.post(f"{server.url}/v1/realtime/client_secrets", json=body, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


# The SDK opens sockets in a way that is deprecated in the newest websockets.
pytestmark = pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")


COMPLETED = f"{ITEM}.completed"


SESSION = {
    "type": "transcription",
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "transcription": {"model": "gpt-4o-transcribe", "language": "en"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 500},
        }
    },
}


@pytest.fixture(scope="module")
def spoken_24k(spoken):
    import soxr

    samples = soxr.resample(spoken.astype(np.float32) / 32768, 16_000, 24_000)
    return np.round(samples * 32767).astype(np.int16)


def converse(socket, samples, session=SESSION):
    """The SDK's events of one turn, up to its transcript."""
    got = [socket.recv()]
    socket.session.update(session=session)
    got.append(socket.recv())
    for at in range(0, len(samples), 1200):
        piece = samples[at : at + 1200].tobytes()
        socket.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
    while got[-1].type not in (COMPLETED, "error"):
        got.append(socket.recv())
    return got


def test_the_sdk_gets_the_events_of_a_turn(openai_client, quiet_server, spoken_24k):
    with openai_client.realtime.connect(extra_query={"intent": "transcription"}) as socket:
        got = converse(socket, spoken_24k)
    assert all(type(event) is EVENTS[event.type] for event in got)
    assert [e.type for e in got[:3]] == [
        "session.created", "session.updated", f"{BUFFER}.speech_started",
    ]  # fmt: skip
    deltas = "".join(e.delta for e in got if e.type == f"{ITEM}.delta")
    assert deltas == got[-1].transcript
    assert SPOKEN in deltas
    assert [language.code for language in got[-1].languages] == ["en"]


def test_the_sdk_commits_and_gets_errors(openai_client, quiet_server, spoken_24k):
    with openai_client.realtime.connect(model="gpt-live-transcribe") as socket:
        assert socket.recv().session.audio.input.turn_detection is None
        socket.input_audio_buffer.commit(event_id="mine")
        error = socket.recv()
        assert error.type == "error"
        assert error.error.event_id == "mine"
        audio = base64.b64encode(spoken_24k.tobytes()).decode()
        socket.input_audio_buffer.append(audio=audio)
        socket.input_audio_buffer.clear()
        while (event := socket.recv()).type != f"{BUFFER}.cleared":
            assert event.type == f"{ITEM}.delta"
        socket.input_audio_buffer.append(audio=audio)
        socket.input_audio_buffer.commit()
        transcript = next(event.transcript for event in socket if event.type == COMPLETED)
        assert SPOKEN in transcript


def test_asynchronous_sdk_sessions_have_the_same_text(quiet_server, spoken_24k):
    """Several sessions of one event loop."""

    async def up_to_completed(socket):
        async for event in socket:
            if event.type == COMPLETED:
                yield event
                return

    async def one(openai_client):
        async with openai_client.realtime.connect(
            extra_query={"intent": "transcription"}
        ) as socket:
            await socket.session.update(session=SESSION)
            for at in range(0, len(spoken_24k), 4800):
                piece = base64.b64encode(spoken_24k[at : at + 4800].tobytes()).decode()
                await socket.input_audio_buffer.append(audio=piece)
            done = [event.transcript async for event in up_to_completed(socket)]
            return done[-1]

    async def several():
        async with openai.AsyncOpenAI(
            base_url=f"{quiet_server.url}/v1", api_key="none", max_retries=0
        ) as openai_client:
            return await asyncio.gather(*[one(openai_client) for _ in range(4)])

    texts = asyncio.run(several())
    assert len(set(texts)) == 1
    assert SPOKEN in texts[0]
