"""Wrong arguments give one clear line of ours, never an AttributeError."""

import math
from pathlib import Path

import numpy as np
import pytest

import wheatear
from wheatear import BeamRules, Phrase, TextFormat, TurnRules, WheatearError
from wheatear.audio.pcm import RawFormat
from wheatear.audio.reader import AudioLimits
from wheatear.transcript.subtitles import CueRules

NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module")
def recognizer():
    return wheatear.load()


OPTIONS = [
    ({"phrases": "Nguyen"}, r"phrases is 'Nguyen'; give a list .* such as \['Nguyen'\]"),
    ({"phrases": Phrase("Nguyen")}, "phrases is Phrase.*; give a list"),
    ({"phrases": b"Nguyen"}, "phrases is b'Nguyen'; give a list"),
    ({"phrases": {"Nguyen": 2.0}}, "phrases is {.*; give a list"),
    ({"phrases": None}, "phrases is None; give a list"),
    ({"phrases": 5}, "phrases is 5; give a list"),
    ({"phrases": ["Nguyen", 5]}, "one of the phrases is 5; give a string or Phrase"),
    ({"phrases": [["Nguyen"]]}, r"one of the phrases is \['Nguyen'\]; give a string or Phrase"),
    ({"beam": 4}, r"beam is 4; give None or wheatear.BeamRules\(width=4\)"),
    ({"beam": "wide"}, r"beam is 'wide'; give None or wheatear.BeamRules\(width=4\)"),
    ({"turns": None}, "turns is None; give wheatear.TurnRules"),
    ({"turns": {"end_ms": 500}}, "turns is {'end_ms': 500}; give wheatear.TurnRules"),
    ({"turns": TurnRules}, "turns is <class.*; give wheatear.TurnRules"),
    ({"text_format": "written"}, "text_format is 'written'; give a wheatear.TextFormat"),
    ({"text_format": None}, "text_format is None; give a wheatear.TextFormat"),
    ({"keep": "no"}, "keep is 'no'; give True or False"),
    ({"language": None}, "language must be a string"),
    ({"language": b"en"}, "language must be a string"),
    ({"latency_ms": "320"}, "latency_ms is '320'; give a number of milliseconds"),
    ({"latency_ms": [320]}, r"latency_ms is \[320\]; give a number of milliseconds"),
    ({"latency_ms": True}, "latency_ms is True; give a number of milliseconds"),
    ({"latency_ms": NAN}, "no nan ms mode"),
]


@pytest.mark.parametrize(("options", "line"), OPTIONS, ids=[str(given) for given, _ in OPTIONS])
def test_wrong_option_is_rejected_by_name(recognizer, options, line):
    calls = [
        lambda: recognizer.stream(**options),
        lambda: recognizer.transcribe(np.zeros(1600, np.float32), **options),
    ]
    for call in calls:
        with pytest.raises(WheatearError, match=line) as caught:
            call()
        assert len(str(caught.value).splitlines()) == 1


def test_options_of_several_forms_are_accepted(recognizer):
    for phrases in (["a"], ("a",), {"a"}, (p for p in ["a", Phrase("b")]), np.array(["a"]), []):
        recognizer.stream(phrases=phrases)
    recognizer.stream(phrases=[Phrase("a", aliases=["b"])])  # type: ignore[arg-type]
    recognizer.stream(latency_ms=np.int64(320))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"phrases": "Nguyen"}, "phrases is 'Nguyen'"),
        ({"phrases": [None]}, "one of the phrases is None"),
        ({"latency_ms": "80"}, "latency_ms is '80'"),
        ({"language": 5}, "language must be a string"),
        ({"language": ""}, "does not know the language ''"),
    ],
)
def test_rejected_switch_changes_nothing(recognizer, change, line):
    stream = recognizer.stream(language="de", latency_ms=160)
    with pytest.raises(WheatearError, match=line):
        stream.switch(**{"language": "en", "latency_ms": 80, **change})
    assert (stream.language, stream.latency_ms) == ("de", 160)
    with pytest.raises(WheatearError, match=r"turns is 500; give wheatear.TurnRules"):
        stream.turns = 500
    assert stream.turns == TurnRules()


def test_blocks_without_streams_are_rejected(recognizer):
    stream, samples = recognizer.stream(), np.zeros(160, np.float32)
    for blocks in (None, 5, [samples], [(samples, stream)], [(stream,)], ["ab"], [stream]):
        with pytest.raises(WheatearError, match=r"give (pairs|a list of pairs)"):
            recognizer.push_many(blocks)
    with pytest.raises(WheatearError, match="through the recognizer that opened it"):
        wheatear.load().push_many([(stream, samples)])
    assert stream.duration == 0
    assert recognizer.push_many(pair for pair in [(stream, samples)]) == [[]]


@pytest.mark.parametrize("model", [5, b"wheatear-small", ["a"]])
def test_wrong_model_argument_is_rejected(model):
    with pytest.raises(WheatearError, match=r"model is .*; give a name or a path"):
        wheatear.load(model)
    for threads in ("2", 0, 1.5, -1, True):
        with pytest.raises(WheatearError, match=r"threads is .*; give"):
            wheatear.load(threads=threads)  # type: ignore[arg-type]


def test_wrong_callback_is_rejected(recognizer, tmp_path: Path):
    with pytest.raises(WheatearError, match="on_event is 'print'; give a function"):
        recognizer.transcribe(tmp_path / "not looked at", on_event="print")


RULES = [
    (TurnRules, {"eager_ms": 900, "end_ms": 100}, "eager_ms is 900, longer than end_ms .100."),
    *(
        (TurnRules, {name: value}, f"{name} is .*; give")
        for name in ("eager_ms", "end_ms", "sentence_end_ms", "longest_s", "hold_ms", "voice")
        for value in ("400", NAN, INF, -1, [400], True)
    ),
    *(
        (BeamRules, {name: value}, f"{name} of the beam is .*; give")
        for name in ("width", "margin", "model_weight")
        for value in ("4", NAN, INF, -1, None, True)
    ),
    (BeamRules, {"width": 2.5}, "width of the beam is 2.5; give a whole number from 1 to 64"),
    (BeamRules, {"model": "lm.arpa"}, "model of the beam is 'lm.arpa'; give an object with start"),
    (TextFormat, {"numbers": "digits"}, "numbers is 'digits'; give 'spoken' or 'written'"),
    (TextFormat, {"numbers": ["written"]}, "numbers is .*; give 'spoken' or 'written'"),
    (TextFormat, {"punctuation": "no"}, "punctuation is 'no'; give True or False"),
    (TextFormat, {"capitals": 0}, "capitals is 0; give True or False"),
    (TextFormat, {"masked": "damn"}, "masked is 'damn'; give words"),
    (TextFormat, {"masked": None}, "masked is None; give words"),
    (TextFormat, {"masked": [5]}, "a word to mask is 5; give a string"),
    (Phrase, {"text": 5}, "a phrase is 5; give a string"),
    (Phrase, {"text": "a", "weight": "2"}, "the weight of 'a' is '2'; give 0 to 10"),
    (Phrase, {"text": "a", "weight": NAN}, "the weight of 'a' is nan; give 0 to 10"),
    (Phrase, {"text": "a", "aliases": "Nuen"}, "aliases of 'a' is 'Nuen'; give a tuple"),
    (Phrase, {"text": "a", "aliases": (5,)}, "aliases of 'a' is 5; give strings"),
    *(
        (CueRules, {name: value}, "subtitle.* is .*; give")
        for name in ("letters", "lines", "letters_per_second")
        for value in ("42", NAN, INF, -1, None)
    ),
    *(
        (AudioLimits, {name: value}, f"{name} of the limits is .*; give")
        for name in ("seconds", "bytes")
        for value in ("5", NAN, -1, True)
    ),
    *(
        (RawFormat, {name: value}, "raw audio|sample rate")
        for name in ("rate", "channels", "encoding")
        for value in ("5", NAN, INF, -1, None, 0)
    ),
]


@pytest.mark.parametrize(
    ("kind", "values", "line"),
    RULES,
    ids=[f"{kind.__name__} {values}" for kind, values, _ in RULES],
)
def test_wrong_rules_are_rejected(kind, values, line):
    """Other types, values that are not numbers or out of range, and contradictions."""
    with pytest.raises(WheatearError, match=line) as caught:
        kind(**values)
    assert len(str(caught.value).splitlines()) == 1
    assert isinstance(caught.value, ValueError)


def test_consistent_rules_are_accepted():
    assert TurnRules().eager_ms == 400
    assert TurnRules(end_ms=300).eager_ms == 300
    assert TurnRules(eager_ms=300, end_ms=300).end_ms == 300
    assert Phrase("a", aliases=["b"]) == Phrase("a", aliases=("b",))  # type: ignore[arg-type]
    assert TextFormat(masked=["Damn"]) == TextFormat(masked=frozenset({"damn"}))  # type: ignore[arg-type]
    assert BeamRules(width=np.int64(4)).width == 4
