"""The query of /v1/listen: parameters are applied, rejected, or listed as warnings."""

import json

import httpx
import pytest
from deepgram_wire import PCM16, session
from fuzzing import attempt, words
from hypothesis import given
from hypothesis import strategies as st
from server_process import SAMPLE
from starlette.datastructures import QueryParams
from websockets.exceptions import InvalidStatus

from wheatear.server.protocols import deepgram_query


@pytest.mark.parametrize(
    ("query", "expected_text"),
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
def test_an_unsupported_query_is_rejected_before_the_socket_opens(
    quiet_server, query, expected_text
):
    with pytest.raises(InvalidStatus) as refused, session(quiet_server, query):
        pass
    assert refused.value.response.status_code == (404 if "nobody" in query else 400)
    assert expected_text in json.loads(refused.value.response.body)["error"]["message"]


@pytest.mark.parametrize(
    "query",
    [
        "language=&model=&channels=&keyterm=", "model=general", "model=phonecall", "model=base",
        "model=2-meeting", "model=Nova-2-Medical", "model=enhanced-general", "multichannel=false",
        "interim_results=True&vad_events=0", "redact=False&diarize=0", "utterance_end_ms=false",
    ],
)  # fmt: skip
def test_values_that_mean_the_default_are_accepted(quiet_server, spoken, query):
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
def test_a_misspelled_parameter_is_rejected_with_the_known_name(quiet_server, query, name, meant):
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
def test_an_invalid_value_is_rejected_by_name(quiet_server, query, name):
    parsed = query if "encoding" in query else f"encoding=linear16&{query}"
    if "sample_rate" not in parsed:
        parsed += "&sample_rate=16000"
    assert _refused(quiet_server, parsed)["param"] == name
    assert _posted(quiet_server, query)["param"] == name


def test_many_unknown_parameters_are_rejected(quiet_server):
    query = "&".join(f"some_new_thing_{n}=1" for n in range(50))
    assert "50" in _refused(quiet_server, f"{PCM16}&{query}")["message"]


parameters = st.sampled_from(sorted(deepgram_query.KNOWN))


settings_of_query = st.tuples(
    parameters | parameters.map(str.title) | parameters.map(lambda name: f"{name}[]") | words,
    words
    | st.sampled_from(["true", "False", "0", "", "16000", "linear16", "opus", "nova-3", "multi"])
    | st.integers().map(str),
)


@given(st.lists(settings_of_query, max_size=6), st.booleans())
def test_any_query_is_read_or_rejected(service, given, live):
    query = QueryParams([*given, ("encoding", "linear16"), ("sample_rate", "16000")])
    parsed, refusal = attempt(lambda: deepgram_query.read_query(query, service.models, live))
    if refusal is not None:
        assert 400 <= refusal.status < 500, refusal
        json.dumps(refusal.body)
    else:
        json.dumps(parsed.metadata(["a warning"]), allow_nan=False)
        assert parsed.turn_rules.end_ms >= 240
        unknown = {name.removesuffix("[]") for name, value in given if value.strip()}
        unknown -= set(deepgram_query.KNOWN)
        assert {name[:80] for name in unknown} <= {w["parameter"] for w in parsed.warnings}
