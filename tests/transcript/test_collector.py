"""A collector has the text of all finals, and gives writers the end of the transcript."""

import io

import pytest
from finals import turns

from wheatear.transcript.collector import TranscriptCollector
from wheatear.transcript.results import Partial, Turn
from wheatear.transcript.writers import create_writer

FIRST, SECOND = turns([("Good", 0.5, 0.3), ("day.", 0.1, 0.4)], [("Rain?", 0.2, 0.2)])


def test_finals_are_joined_and_counted() -> None:
    collector = TranscriptCollector()
    for event in (Turn("started", 1, 0.5), FIRST, SECOND):
        collector.add(event)
    assert (collector.word_count, collector.language, collector.end) == (3, "en-US", SECOND.end)
    assert collector.partial is None


@pytest.mark.parametrize(("duration", "complete"), [(9.0, "true"), (None, "false")])
def test_writers_get_the_whole_text_and_its_duration(duration: float, complete: str) -> None:
    out = io.StringIO()
    collector = TranscriptCollector(create_writer("json", out, "a.wav"))
    collector.add(FIRST)
    collector.add(SECOND)
    collector.close(duration, ["it is cut off"])
    end = out.getvalue().splitlines()[-1]
    assert '"text": "Good day. Rain?"' in end
    assert f'"duration": {duration or SECOND.end}' in end
    assert f'"warnings": ["it is cut off"], "complete": {complete}' in end


def test_open_turn_of_interrupted_audio_is_written() -> None:
    out = io.StringIO()
    collector = TranscriptCollector(create_writer("txt", out, "a.wav"))
    collector.add(FIRST)
    collector.add(Partial("Rain", (), FIRST.end, 2.0, "en-US", ()), write=False)
    collector.close(None)
    assert out.getvalue() == "Good day.\nRain\n"
