"""Transcript files are read by the usual libraries, and are complete up to the last final."""

import io
import json
import re
from html import unescape

import pytest
import srt
import webvtt
from finals import turns

from wheatear.transcript.results import Final, Partial, Transcript
from wheatear.transcript.subtitles import CueRules
from wheatear.transcript.writers import FORMATS, create_writer

TURNS = turns(
    [
        ("Good", 0.5, 0.3),
        ("morning,", 0.1, 0.4),
        ("<Anna>", 0.0, 0.5),
        ("&", 0, 0.1),
        ("Bob.", 0, 0.3),
    ],
    [("Is", 0.2, 0.2), ("it", 0, 0.2), ("raining?", 0, 0.5)],
)
WHOLE = Transcript("Good morning, <Anna> & Bob. Is it raining?", "en-US", 4.0, ())


def written(form: str, finals: list[Final], **rules: object) -> str:
    out = io.StringIO()
    made = create_writer(form, out, "talk show.wav", CueRules(**rules))  # type: ignore[arg-type]
    for turn in finals:
        made.event(turn)
    made.close(WHOLE, complete=True)
    return out.getvalue()


def test_srt_and_vtt_have_the_same_cues() -> None:
    cues = list(srt.parse(written("srt", TURNS)))
    assert [cue.content for cue in cues] == ["Good morning, <Anna> & Bob.", "Is it raining?"]
    assert [cue.index for cue in cues] == [1, 2]
    assert cues[0].start.total_seconds() == 0.5
    others = list(webvtt.from_string(written("vtt", TURNS)))
    assert [unescape(cue.text) for cue in others] == [cue.content for cue in cues]
    assert others[0].end == "00:00:02.200"
    assert "&lt;Anna&gt; &amp;" in written("vtt", TURNS)


def test_tsv_and_ctm_have_rows_of_segments_and_words() -> None:
    rows = [line.split("\t") for line in written("tsv", TURNS).splitlines()]
    assert rows[0] == ["start", "end", "text"]
    assert rows[1] == ["500", "2200", "Good morning, <Anna> & Bob."]
    ctm = written("ctm", TURNS).splitlines()
    assert ctm[0] == "talk_show.wav 1 0.500 0.300 Good 0.800"
    assert len(ctm) == 8


def test_json_formats_have_the_fields_of_finals() -> None:
    data = json.loads(written("json", TURNS))
    assert (data["text"], data["complete"]) == (WHOLE.text, True)
    assert data["finals"][1]["words"][0]["text"] == "Is"
    lines = [json.loads(line) for line in written("jsonl", TURNS).splitlines()]
    assert [line["text"] for line in lines] == [turn.text for turn in TURNS]
    verbose = json.loads(written("verbose_json", TURNS))
    assert [s["id"] for s in verbose["segments"]] == [0, 1]
    assert verbose["words"][0] == {"word": "Good", "start": 0.5, "end": 0.8}
    assert -0.3 < verbose["segments"][0]["avg_logprob"] < -0.2


@pytest.mark.parametrize("form", FORMATS)
def test_finals_are_flushed_as_they_come(form: str) -> None:
    class Flushed(io.StringIO):
        seen = ""

        def flush(self) -> None:
            self.seen = self.getvalue()

    out = Flushed()
    made = create_writer(form, out, "a")  # type: ignore[arg-type]
    for turn in TURNS:
        made.event(turn)
        assert turn.words[0].text in out.seen
    made.close(WHOLE, complete=False)
    assert out.seen == out.getvalue()


def test_text_grows_with_partials() -> None:
    out = io.StringIO()
    made = create_writer("txt", out, "a")
    shown = []
    for text in ("Good", "Good mor"):
        made.event(Partial(text, (), 0, 1, None, ()))
        shown.append(out.getvalue())
    made.event(TURNS[0])
    assert shown == ["Good", "Good mor"]
    assert out.getvalue() == "Good morning, <Anna> & Bob.\n"


def test_text_that_looks_like_times_leaves_subtitles_valid() -> None:
    (turn,) = turns([("00:01", 0, 1), ("-->", 0, 1), ("00:02", 0, 1)])
    assert len(list(srt.parse(written("srt", [turn])))) == 1
    (cue,) = webvtt.from_string(written("vtt", [turn]))
    assert re.sub(r"\s+", " ", unescape(cue.text)) == "00:01 --> 00:02"
