"""The form of POST /v1/audio/transcriptions: every field is obeyed, or refused by its name."""

import io
import json

import httpx
import numpy as np
import pytest
import soundfile
import soxr
from fuzzing import attempt, json_values, words
from hypothesis import given
from hypothesis import strategies as st
from server_process import SAMPLE
from starlette.datastructures import FormData

import wheatear
from wheatear.server.protocols import openai_form as file_form
from wheatear.server.protocols.openai_responses import WARNING_HEADER

SPOKEN = "sorry"


def post(server, fields=(), files=None, query=""):
    """The answer to a form; a file of its own if none is given."""
    files = [("file", ("speech.flac", SAMPLE.read_bytes()))] if files is None else files
    parts = [*files, *((name, (None, value)) for name, value in fields)]
    url = f"{server.url}/v1/audio/transcriptions{query}"
    return httpx.post(url, files=parts, timeout=60)


def fault(response, status=400):
    assert response.status_code == status, response.text
    return response.json()["error"]


# -- names and json_values


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("langauge", "language"), ("responseFormat", "response_format"), ("Prompt", "prompt"),
        ("timestamp-granularities", "timestamp_granularities"), ("hotwords", ""), ("model[]", ""),
        ("language[0]", ""), ("top_p", ""),
    ],
)  # fmt: skip
def test_an_unknown_field_is_rejected_by_name(quiet_server, name, meant):
    error = fault(post(quiet_server, [(name, "en")]))
    assert (error["param"], error["code"]) == (name, "unknown_parameter")
    assert name in error["message"]
    assert meant in error["message"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task", "translate"), ("task", "Translate"), ("temperature", "hot"),
        ("temperature", "nan"), ("temperature", "-1"), ("temperature", "7"),
        ("latency_ms", "0"), ("latency_ms", "-560"), ("latency_ms", "1e3"), ("stream", "perhaps"),
        ("response_format", "docx"), ("sample_rate", "16000"), ("sample_rate", "-1"),
        ("encoding", "banana"), ("encoding", "linear16"), ("languages[]", "tlh"),
        ("chunking_strategy", '{"type": "server_vad", "silence": 3}'),
        ("chunking_strategy[silence_duration]", "300"),
    ],
)  # fmt: skip
def test_an_invalid_value_is_rejected_by_name(quiet_server, name, value):
    error = fault(post(quiet_server, [(name, value)]))
    assert error["message"]
    known = {
        "languages[]": "language", "chunking_strategy[silence_duration]": "chunking_strategy",
        "sample_rate": "encoding" if value == "16000" else "sample_rate",
        "encoding": "sample_rate" if value == "linear16" else "encoding",
    }  # fmt: skip
    assert error["param"] == known.get(name, name)


@pytest.mark.parametrize(
    "fields",
    [
        [("task", "transcribe"), ("temperature", "0"), ("seed", "7"), ("user", "me")],
        [("response_format", "JSON"), ("stream", "False"), ("language", "")],
        [("prompt", ""), ("temperature", "0.2"), ("timestamp_granularities[]", "")],
        [("response_format", "verbose_json"), ("timestamp_granularities[0]", "Word")],
    ],
)
def test_equivalent_and_empty_values_are_accepted(quiet_server, fields):
    response = post(quiet_server, fields)
    assert response.status_code == 200, response.text
    assert SPOKEN in response.json()["text"]
    assert "warning" not in response.json()


def test_settings_in_the_address_are_rejected(quiet_server):
    assert fault(post(quiet_server, query="?language=en"))["param"] == "language"
    assert post(quiet_server, query="?api-version=2025-01-01").status_code == 200


@pytest.mark.parametrize(
    ("fields", "expected_text"),
    [
        ([("timestamp_granularities[]", "word")], "timestamp_granularities"),
        ([("language", "en-AU")], "en-AU"),
        ([("response_format", "srt"), ("include[]", "logprobs")], "include"),
    ],
)
def test_a_setting_without_effect_is_a_warning(quiet_server, fields, expected_text):
    assert expected_text in post(quiet_server, fields).headers[WARNING_HEADER]


# -- the file


def test_a_second_file_is_rejected(quiet_server):
    one = ("file", ("a.flac", SAMPLE.read_bytes()))
    error = fault(post(quiet_server, files=[one, one]))
    assert error["param"] == "file"
    assert "2 times" in error["message"]


def test_the_text_of_all_fields_is_bounded(quiet_server):
    fields = [("prompt", "a" * ((1 << 20) - 100)), ("keywords[]", "b" * 200)]
    assert fault(post(quiet_server, fields), 413)["param"] == "keywords[]"


# -- prompts


def test_the_last_part_of_a_long_prompt_is_used(quiet_server):
    """Clients send the previous transcript as the prompt."""
    term = "I'm sorry unable"
    recognizer = wheatear.load(threads=1)
    latency = max(recognizer.latencies_ms)
    expected = recognizer.transcribe(SAMPLE, latency_ms=latency, phrases=[term]).text
    assert expected != recognizer.transcribe(SAMPLE, latency_ms=latency).text
    so_far = "and so on it went, with words that mean nothing to anybody. " * 3000
    response = post(quiet_server, [("prompt", f"{so_far}, {term}")])
    assert response.json()["text"] == expected


@pytest.mark.parametrize("prompt", ["p" * 200_000, "a, b; c\n" * 7000, ", " * 20_000])
def test_a_prompt_of_any_length_is_accepted(quiet_server, prompt):
    assert SPOKEN in post(quiet_server, [("prompt", prompt)]).json()["text"]


# -- headerless audio


def telephone(spoken, subtype):
    samples = soxr.resample(spoken.astype(np.float32) / 32768, 16_000, 8000)
    out = io.BytesIO()
    soundfile.write(out, samples, 8000, subtype=subtype, format="RAW", endian="LITTLE")
    return out.getvalue()


L16 = "audio/l16;rate=16000"


@pytest.mark.parametrize(
    ("fields", "name", "kind", "form"),
    [
        ([("encoding", "linear16"), ("sample_rate", "16000")], "x", None, "s16"),
        ([("encoding", "LINEAR16"), ("sample_rate", "16000"), ("channels", "1")], "x", L16, "s16"),
        ([], "x", L16, "s16"), ([], "x", "audio/L16; rate=16000; channels=1", "s16be"),
        ([], "x", "audio/pcm; rate=16000; endianness=big-endian", "s16be"),
        ([("sample_rate", "16000")], "x", "audio/pcm", "s16"), ([], "x.PCM", None, "s16"),
        ([("sample_rate", "8000")], "x.raw", None, "8k"), ([], "x", "audio/basic", "ULAW"),
        ([("encoding", "alaw")], "x", None, "ALAW"),
        ([], "x", "audio/x-raw, format=(string)F32LE, rate=(int)16000", "f32"),
    ],
)  # fmt: skip
def test_headerless_audio_is_read_by_the_request(quiet_server, spoken, fields, name, kind, form):
    match form:
        case "s16":
            data = spoken.tobytes()
        case "s16be":
            data = spoken.astype(">i2").tobytes()
        case "f32":
            data = (spoken / np.float32(32768)).tobytes()
        case "8k":
            data = telephone(spoken, "PCM_16")
        case _:
            data = telephone(spoken, form)
    file = ("file", (name, data, kind) if kind else (name, data))
    response = post(quiet_server, fields, [file])
    assert response.status_code == 200, response.text
    answer = response.json()
    assert SPOKEN in answer["text"].lower()
    assert answer["usage"]["seconds"] == pytest.approx(len(spoken) / 16_000, abs=2e-3)
    assert "warning" not in answer


def test_a_file_with_a_header_is_read_by_its_header(quiet_server, spoken):
    wav = io.BytesIO()
    soundfile.write(wav, spoken, 16_000, format="WAV")
    fields = [("encoding", "mulaw"), ("sample_rate", "8000")]
    answer = post(quiet_server, fields, [("file", ("x", wav.getvalue()))]).json()
    assert SPOKEN in answer["text"].lower()
    assert "header" in answer["warning"]


@pytest.mark.parametrize(
    "kind", ["audio/l16", "audio/pcm;rate=x", "audio/l16;rate=16000;bits=24", "audio/pcm;depth=2"]
)
def test_an_incomplete_media_type_is_rejected(quiet_server, spoken, kind):
    error = fault(post(quiet_server, files=[("file", ("x", spoken.tobytes(), kind))]))
    assert error["param"] in ("sample_rate", "content-type")


@pytest.mark.parametrize("form", ["<i2", ">i2", "<f4"])
def test_headerless_audio_without_a_description_is_rejected_with_advice(quiet_server, spoken, form):
    data = (spoken / (1 if "i" in form else 32768)).astype(form).tobytes()
    files = [("file", ("x", data))]
    for response in (
        post(quiet_server, files=files),
        httpx.post(f"{quiet_server.url}/v1/listen", content=data, timeout=60),
    ):
        error = fault(response)
        assert error["code"] == "invalid_audio"
        assert "sample_rate" in error["message"]
        assert "audio/l16;rate=16000" in error["message"]


# -- warnings


@pytest.mark.parametrize("form", ["json", "verbose_json", "text", "srt", "vtt"])
def test_a_warning_reaches_every_format(quiet_server, spoken, form):
    wav = io.BytesIO()
    soundfile.write(wav, spoken, 16_000, format="WAV")
    cut = wav.getvalue()[:-40_000]
    response = post(quiet_server, [("response_format", form)], [("file", ("x.wav", cut))])
    assert "cut off" in response.headers[WARNING_HEADER]
    if "json" in form:
        assert response.json()["warning"] == response.headers[WARNING_HEADER]
    else:
        assert "cut off" not in response.text


def test_a_warning_comes_with_events(quiet_server, spoken):
    wav = io.BytesIO()
    soundfile.write(wav, spoken, 16_000, format="WAV")
    file = ("file", ("x.wav", wav.getvalue()[:-40_000]))
    lines = post(quiet_server, [("stream", "true")], [file]).text.splitlines()
    done = next(json.loads(x[6:]) for x in lines if "transcript.text.done" in x)
    assert "cut off" in done["warning"]


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
        | json_values.map(json.dumps)
        | st.builds(lambda n: json.dumps({"silence_duration_ms": n}), st.integers()),
    ),
    max_size=6,
)  # fmt: skip


@given(fields)
def test_any_form_is_read_or_rejected(service, given):
    upload = file_form.UploadFile(None)  # type: ignore[arg-type]
    form = FormData([("file", upload), *given])
    understood, refusal = attempt(lambda: file_form.read_request(form, service.models))
    if refusal is not None:
        assert 400 <= refusal.status < 500, refusal
        json.dumps(refusal.body)
    else:
        task = understood.task
        assert task.upload is upload
        assert task.options.latency_ms in task.model.recognizer.latencies_ms
