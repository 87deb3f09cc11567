"""Files of transcripts, read by the libraries that others read them with."""

import io
import json
import re
from html import unescape

import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from wheatear.transcript.results import Final, Partial, Segment, Token, Transcript, Word
from wheatear.transcript.segments import text_of
from wheatear.transcript.writers import FORMATS, CueCutter, CueRules, writer


def final(words: list[Word], start: float, end: float) -> Final:
    segments = (Segment(text_of(words), tuple(words), words[0].start, words[-1].end, "en-US", 0.9),)
    token = Token(1, f" {text_of(words)}", start, start + 0.08, 0.5)
    return Final(
        text_of(words), tuple(words), start, end, "en-US", segments if words else (), (token,)
    )


def turns(*gaps: list[tuple[str, float, float]]) -> list[Final]:
    """Turns of words (text, pause before, length)."""
    found, time, begun = [], 0.0, 0.0
    for turn in gaps:
        words = []
        for text, pause, length in turn:
            words.append(Word(text, time + pause, time + pause + length, 0.8))
            time += pause + length
        time += 0.6
        found.append(final(words, begun, time))
        begun = time
    return found


SAID = turns(
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
    made = writer(form, out, "talk show.wav", CueRules(**rules))  # type: ignore[arg-type]
    for turn in finals:
        made.event(turn)
    made.close(WHOLE, complete=True)
    return out.getvalue()


def test_srt_and_vtt_say_the_same() -> None:
    cues = list(srt.parse(written("srt", SAID)))
    assert [cue.content for cue in cues] == ["Good morning, <Anna> & Bob.", "Is it raining?"]
    assert [cue.index for cue in cues] == [1, 2]
    assert cues[0].start.total_seconds() == 0.5
    others = list(webvtt.from_string(written("vtt", SAID)))
    assert [unescape(cue.text) for cue in others] == [cue.content for cue in cues]
    assert others[0].end == "00:00:02.200"
    assert "&lt;Anna&gt; &amp;" in written("vtt", SAID)


def test_tables() -> None:
    rows = [line.split("\t") for line in written("tsv", SAID).splitlines()]
    assert rows[0] == ["start", "end", "text"]
    assert rows[1] == ["500", "2200", "Good morning, <Anna> & Bob."]
    ctm = written("ctm", SAID).splitlines()
    assert ctm[0] == "talk_show.wav 1 0.500 0.300 Good 0.800"
    assert len(ctm) == 8


def test_json_forms() -> None:
    data = json.loads(written("json", SAID))
    assert (data["text"], data["complete"]) == (WHOLE.text, True)
    assert data["finals"][1]["words"][0]["text"] == "Is"
    lines = [json.loads(line) for line in written("jsonl", SAID).splitlines()]
    assert [line["text"] for line in lines] == [turn.text for turn in SAID]
    verbose = json.loads(written("verbose_json", SAID))
    assert [s["id"] for s in verbose["segments"]] == [0, 1]
    assert verbose["words"][0] == {"word": "Good", "start": 0.5, "end": 0.8}
    assert -0.3 < verbose["segments"][0]["avg_logprob"] < -0.2


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_final_is_written_at_once(form: str) -> None:
    """A kill at any time finds it in the file."""

    class Flushed(io.StringIO):
        seen = ""

        def flush(self) -> None:
            self.seen = self.getvalue()

    out = Flushed()
    made = writer(form, out, "a")  # type: ignore[arg-type]
    for turn in SAID:
        made.event(turn)
        assert turn.words[0].text in out.seen
    made.close(WHOLE, complete=False)
    assert out.seen == out.getvalue()


def test_text_grows_as_it_is_said() -> None:
    out = io.StringIO()
    made = writer("txt", out, "a")
    shown = []
    for text in ("Good", "Good mor"):
        made.event(Partial(text, (), 0, 1, None, ()))
        shown.append(out.getvalue())
    made.event(SAID[0])
    assert shown == ["Good", "Good mor"]
    assert out.getvalue() == "Good morning, <Anna> & Bob.\n"


LETTERS = st.text(alphabet="abcdef-.?今日", min_size=1, max_size=16)
TURN = st.lists(st.tuples(LETTERS, st.floats(0, 2), st.floats(0.001, 3)), min_size=1, max_size=40)


@given(
    st.lists(TURN, max_size=5), st.integers(8, 60), st.integers(1, 3), st.floats(1, 30),
)  # fmt: skip
def test_cues_hold_every_word_once_in_time_and_space(
    said: list[list[tuple[str, float, float]]], letters: int, lines: int, speed: float
) -> None:
    finals = turns(*said)
    cutter = CueCutter(CueRules(letters, lines, speed))
    cues = [cue for turn in finals for cue in cutter.cues(turn)]
    assert " ".join(line for cue in cues for line in cue.lines).split() == [
        word.text for turn in finals for word in turn.words
    ]
    time = 0.0
    for cue in cues:
        assert time <= cue.start < cue.end
        time = cue.end
        assert 1 <= len(cue.lines) <= lines
        assert all(len(line) <= letters or " " not in line for line in cue.lines)
    assert len(list(srt.parse(written("srt", finals)))) >= (1 if finals else 0)


def test_a_cue_stays_on_for_as_long_as_it_takes_to_read() -> None:
    (turn,) = turns([("a" * 34, 0, 0.2)])
    (cue,) = CueCutter(CueRules()).cues(final(list(turn.words), 0, 9))
    assert cue.end == pytest.approx(2.0)
    (cue,) = CueCutter(CueRules()).cues(final(list(turn.words), 0, 0.9))
    assert cue.end == pytest.approx(0.9)  # the next turn may begin there


def test_rolling_lines_move_up() -> None:
    words = [(word, 0.1, 0.3) for word in ["one", "two", "three", "four", "five", "six", "seven"]]
    cues = [c for t in turns(words) for c in CueCutter(CueRules(letters=9, rolling=True)).cues(t)]
    assert [cue.lines for cue in cues] == [
        ("one two",), ("one two", "three"), ("three", "four five"), ("four five", "six seven"),
    ]  # fmt: skip


def test_wide_letters_count_twice() -> None:
    words = [Word(c, i, i + 0.5, 0.9, False) for i, c in enumerate("今日は良い天気")]
    cues = list(CueCutter(CueRules(letters=8)).cues(final(words, 0, 9)))
    assert [cue.lines for cue in cues] == [("今日は良", "い天気")]


@pytest.mark.parametrize("wrong", [{"letters": 7}, {"lines": 0}, {"letters_per_second": 0}])
def test_rules_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"subtitle.*; give"):
        CueRules(**wrong)  # type: ignore[arg-type]


def test_a_text_that_looks_like_times_breaks_no_file() -> None:
    (turn,) = turns([("00:01", 0, 1), ("-->", 0, 1), ("00:02", 0, 1)])
    assert len(list(srt.parse(written("srt", [turn])))) == 1
    (cue,) = webvtt.from_string(written("vtt", [turn]))
    assert re.sub(r"\s+", " ", unescape(cue.text)) == "00:01 --> 00:02"
