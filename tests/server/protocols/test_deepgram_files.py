"""POST /v1/listen: files, by the SDK and by hand."""

import hashlib
import io
import re

import httpx
import numpy as np
import pytest
import soundfile
from deepgram import DeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.types.listen_v1response import ListenV1Response
from deepgram_wire import PCM16, environment
from server_process import SAMPLE

import wheatear

# The SDK uses what is deprecated in the newest websockets.
pytestmark = [
    pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:connect:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def recognizer():
    return wheatear.load(threads=1)


def _posted(server, query, body=None, status=400, **headers):
    """The answer to a file, or its error."""
    body = SAMPLE.read_bytes() if body is None else body
    url = f"{server.url}/v1/listen?{query}"
    response = httpx.post(url, content=body, headers=headers, timeout=60)
    assert response.status_code == status, response.text
    return response.json()["error" if status >= 400 else "results"]


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client() as http:
        yield DeepgramClient(api_key="none", environment=environment(server), httpx_client=http)


def test_a_file_is_transcribed_by_the_sdk(client, quiet_server, recognizer):
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


def test_invalid_files_are_rejected(client, quiet_server):
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


def _transcript(results):
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
def test_a_body_without_a_header_is_read_by_the_request(
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
        assert _transcript(results) == whole.text
    else:
        assert "sorry" in _transcript(results).lower()


@pytest.mark.parametrize("query", ["encoding=mulaw", "encoding=linear16", "sample_rate=8000"])
def test_a_file_with_a_header_is_read_by_its_header(quiet_server, recognizer, query):
    url = f"{quiet_server.url}/v1/listen?{query}"
    answer = httpx.post(url, content=SAMPLE.read_bytes(), timeout=60).json()
    whole = recognizer.transcribe(SAMPLE, latency_ms=max(recognizer.latencies_ms))
    assert _transcript(answer["results"]) == whole.text
    (warning,) = answer["metadata"]["warnings"]
    assert warning["parameter"] == query.partition("=")[0]
    assert "header" in warning["message"]


def test_a_body_without_a_description_is_rejected_with_advice(quiet_server, spoken):
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
    warnings = {warning["parameter"]: warning["message"] for warning in metadata["warnings"]}
    assert set(warnings) == {"language", "numerals", "interim_results", "audio"}
    assert "en-US" in warnings["language"] or "en-GB" in warnings["language"]
    assert "cut off" in warnings["audio"]
    assert (metadata["extra"], metadata["tags"]) == ({"a": "b:c"}, ["x"])
