"""The `openai` package as a client: files, server-sent events, models, errors, realtime."""

import io
import json

import openai
import pytest
import soundfile
from openai.types import Model
from openai_wire import check
from server_process import SAMPLE

import wheatear

SPOKEN = "sorry"
# The SDK opens sockets in a way that is deprecated in the newest websockets.
pytestmark = pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def transcribe(client, **options):
    return client.audio.transcriptions.create(file=SAMPLE, model="whisper-1", **options)


def raw(client, **options):
    """The JSON of the answer, as the server sent it."""
    with_raw = client.audio.transcriptions.with_raw_response
    return json.loads(with_raw.create(file=SAMPLE, model="whisper-1", **options).text)


# -- files


@pytest.mark.parametrize("language", ["en", "en-US", "it"])
def test_a_language_or_its_detection_is_accepted(client, language):
    got = transcribe(client, language=language, response_format="verbose_json")
    assert got.language.startswith(language)


def test_prompt_and_keywords_are_boosted(client):
    term = "I'm sorry unable"
    recognizer = wheatear.load(threads=1)
    latency = max(recognizer.latencies_ms)
    plain, listened = (
        recognizer.transcribe(SAMPLE, latency_ms=latency, phrases=phrases).text
        for phrases in ((), (term,))
    )
    assert plain != listened
    assert transcribe(client).text == plain
    assert transcribe(client, prompt=f"A recording of a telephone. Words: {term}.").text == listened
    assert transcribe(client, extra_body={"keywords": [term]}).text == listened
    with pytest.raises(openai.BadRequestError) as refused:
        transcribe(client, extra_body={"keywords": ["\u0bb5\u0ba3"]})
    assert refused.value.param == "keywords"


def test_fields_without_effect_are_accepted(client):
    """Fields of common clients that have no effect."""
    got = transcribe(client, temperature=0.2, chunking_strategy="auto")
    assert SPOKEN in got.text
    strategy = {"type": "server_vad", "silence_duration_ms": 300}
    assert SPOKEN in transcribe(client, chunking_strategy=strategy).text


def test_audio_of_other_formats_is_transcribed(client):
    samples, rate = soundfile.read(SAMPLE)
    for form, subtype in (("WAV", "PCM_16"), ("OGG", "OPUS"), ("MP3", None), ("OGG", "VORBIS")):
        file = io.BytesIO()
        soundfile.write(file, samples, rate, format=form, subtype=subtype)
        got = client.audio.transcriptions.create(
            file=(f"a.{form.lower()}", file.getvalue()), model="whisper-1"
        )
        assert SPOKEN in got.text


# -- what is refused


def test_translation_is_rejected(client):
    with (
        pytest.warns(DeprecationWarning, match="deprecated"),
        pytest.raises(openai.BadRequestError, match="translates nothing"),
    ):
        client.audio.translations.create(file=SAMPLE, model="whisper-1")


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"response_format": "diarized_json"}, "response_format"),
        ({"language": "tlh"}, "language"),
        ({"include": ["everything"]}, "include"),
        ({"timestamp_granularities": ["letter"]}, "timestamp_granularities"),
        ({"chunking_strategy": {"type": "psychic"}}, "chunking_strategy"),
        ({"extra_body": {"known_speaker_names": ["me"]}}, "known_speaker_names"),
    ],
)
def test_a_bad_request_is_rejected_by_its_parameter(client, options, param):
    with pytest.raises(openai.BadRequestError) as refused:
        transcribe(client, **options)
    assert refused.value.param == param


def test_a_file_without_audio_is_rejected(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.transcriptions.create(file=("a.wav", b"nothing"), model="whisper-1")
    assert refused.value.code == "invalid_audio"


def test_models_are_listed_for_the_sdk(client, server):
    listed = client.models.list().data
    assert [model.id for model in listed] == ["wheatear-small"]
    check(json.loads(server.get("/v1/models/wheatear-small")[1]), Model, "model")
    assert client.models.retrieve("wheatear-small").owned_by == "wheatear"
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("nobody")
    assert refused.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.audio.transcriptions.create(file=SAMPLE, model="nobody")


# -- keys


# -- realtime
