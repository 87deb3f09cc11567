"""The `openai` package as a client: files, server-sent events, models, errors, realtime."""

import io
import json

import openai
import pytest
import soundfile
from openai.types import Model
from openai_client import SPOKEN, transcribe
from openai_wire import check
from server_process import SAMPLE

import wheatear

# The SDK opens sockets in a way that is deprecated in the newest websockets.
pytestmark = pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")


# -- files


@pytest.mark.parametrize("language", ["en", "en-US", "it"])
def test_a_language_or_its_detection_is_accepted(openai_client, language):
    got = transcribe(openai_client, language=language, response_format="verbose_json")
    assert got.language.startswith(language)


def test_prompt_and_keywords_are_boosted(openai_client):
    term = "I'm sorry unable"
    recognizer = wheatear.load(threads=1)
    latency = max(recognizer.latencies_ms)
    plain, listened = (
        recognizer.transcribe(SAMPLE, latency_ms=latency, phrases=phrases).text
        for phrases in ((), (term,))
    )
    assert plain != listened
    assert transcribe(openai_client).text == plain
    assert (
        transcribe(openai_client, prompt=f"A recording of a telephone. Words: {term}.").text
        == listened
    )
    assert transcribe(openai_client, extra_body={"keywords": [term]}).text == listened
    with pytest.raises(openai.BadRequestError) as refused:
        transcribe(openai_client, extra_body={"keywords": ["\u0bb5\u0ba3"]})
    assert refused.value.param == "keywords"


def test_fields_without_effect_are_accepted(openai_client):
    """Fields of common clients that have no effect."""
    got = transcribe(openai_client, temperature=0.2, chunking_strategy="auto")
    assert SPOKEN in got.text
    strategy = {"type": "server_vad", "silence_duration_ms": 300}
    assert SPOKEN in transcribe(openai_client, chunking_strategy=strategy).text


def test_audio_of_other_formats_is_transcribed(openai_client):
    samples, rate = soundfile.read(SAMPLE)
    for form, subtype in (("WAV", "PCM_16"), ("OGG", "OPUS"), ("MP3", None), ("OGG", "VORBIS")):
        file = io.BytesIO()
        soundfile.write(file, samples, rate, format=form, subtype=subtype)
        got = openai_client.audio.transcriptions.create(
            file=(f"a.{form.lower()}", file.getvalue()), model="whisper-1"
        )
        assert SPOKEN in got.text


# -- what is refused


def test_translation_is_rejected(openai_client):
    with (
        pytest.warns(DeprecationWarning, match="deprecated"),
        pytest.raises(openai.BadRequestError, match="translates nothing"),
    ):
        openai_client.audio.translations.create(file=SAMPLE, model="whisper-1")


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
def test_a_bad_request_is_rejected_by_its_parameter(openai_client, options, param):
    with pytest.raises(openai.BadRequestError) as refused:
        transcribe(openai_client, **options)
    assert refused.value.param == param


def test_a_file_without_audio_is_rejected(openai_client):
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.audio.transcriptions.create(file=("a.wav", b"nothing"), model="whisper-1")
    assert refused.value.code == "invalid_audio"


def test_models_are_listed_for_the_sdk(openai_client, server):
    listed = openai_client.models.list().data
    assert [model.id for model in listed] == ["wheatear-small"]
    check(json.loads(server.get("/v1/models/wheatear-small")[1]), Model, "model")
    assert openai_client.models.retrieve("wheatear-small").owned_by == "wheatear"
    with pytest.raises(openai.NotFoundError) as refused:
        openai_client.models.retrieve("nobody")
    assert refused.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        openai_client.audio.transcriptions.create(file=SAMPLE, model="nobody")


# -- keys


# -- realtime
