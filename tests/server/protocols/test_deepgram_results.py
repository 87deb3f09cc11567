"""Deepgram's JSON for events and for whole files."""

from datetime import UTC, datetime

import pytest

from wheatear.server.protocols.deepgram_query import ListenQuery
from wheatear.server.protocols.deepgram_results import alternative, file_results, metadata
from wheatear.server.scheduler.events import StreamEnded
from wheatear.transcript.results import Final, Segment, Word

WORDS = (Word("¿Qué", 0.1234, 0.5, 0.9), Word("tal?", 0.6, 1.0, 0.7))
SEGMENT = Segment("¿Qué tal?", WORDS, 0.1, 1.0, "es-ES", None)
FINAL = Final("¿Qué tal?", WORDS, 0.0, 1.5, "es-ES", (SEGMENT,), ())


@pytest.fixture
def query(service):
    return ListenQuery(service.models.default, multilingual=True, utterances=True)


def test_words_are_bare_and_as_written_with_rounded_times():
    result = alternative(FINAL, multilingual=False)
    assert result["transcript"] == "¿Qué tal?"
    assert result["confidence"] == 0.8
    first = {"word": "qué", "start": 0.123, "end": 0.5, "confidence": 0.9}
    assert result["words"][0] == first | {"punctuated_word": "¿Qué"}
    assert "languages" not in result


def test_silence_has_no_words_no_confidence_and_no_language():
    silence = Final("", (), 0.0, 1.0, "es-ES", (), ())
    empty = {"transcript": "", "confidence": 0.0, "words": [], "languages": []}
    assert alternative(silence, multilingual=True) == empty


def test_a_file_has_one_channel_and_an_utterance_for_each_segment(query):
    results = file_results([FINAL, FINAL], StreamEnded(3.0, "es-ES"), query)
    (channel,) = results["channels"]
    assert channel["detected_language"] == "es-ES"
    assert channel["alternatives"][0]["transcript"] == "¿Qué tal? ¿Qué tal?"
    assert [u["transcript"] for u in results["utterances"]] == ["¿Qué tal?"] * 2
    assert len({u["id"] for u in results["utterances"]}) == 2


def test_metadata_names_the_model_by_the_same_uuid_each_time(query):
    created = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
    first, second = (metadata(query, id_, "", created, 1.5) for id_ in ("a", "b"))
    assert first["created"] == "2026-01-02T03:04:05.678Z"
    assert first["models"] == second["models"] == list(first["model_info"])
