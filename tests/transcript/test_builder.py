"""A builder emits partials, turns and finals; tests/contracts/test_events.py has the contract."""

from typing import Any

from wheatear import Final, Partial, Turn, TurnRules
from wheatear.decoder.search import Emission
from wheatear.model.pieces import pieces_from_texts
from wheatear.model.vocabulary import Vocabulary
from wheatear.transcript.builder import TranscriptBuilder
from wheatear.transcript.words import Delay

VOCABULARY = Vocabulary(pieces_from_texts(["<en-US>", "\u2581yes", "\u2581no", "."]), {0: "en-US"})


def builder(**options: Any) -> TranscriptBuilder:
    made = TranscriptBuilder(VOCABULARY, TurnRules(), keep=True, **options)
    made.switch(None, Delay())
    return made


def test_turn_is_started_grows_and_ends_with_its_tag() -> None:
    made = builder()
    events = made.step([Emission(1, 2, 0.9)], 4)
    assert [type(event) for event in events] == [Turn, Partial]
    assert (events[1].text, made.language, made.earliest) == ("yes", None, 0.16)
    events = made.step([Emission(3, 5, 0.8), Emission(0, 6, 0.7)], 20)
    assert events[0].text == "yes."
    assert [event.kind for event in events if isinstance(event, Turn)] == ["eager", "ended"]
    (final,) = (event for event in events if isinstance(event, Final))
    assert (final.text, final.language, final.segments[0].language_score) == ("yes.", "en-US", 0.7)


def test_finish_emits_the_open_turn_to_the_end_of_the_audio() -> None:
    made = builder()
    made.step([Emission(2, 2, 0.9)], 4)
    made.duration = 0.3
    finals = [event for event in made.finish(4) if isinstance(event, Final)]
    assert [(final.text, final.start, final.end) for final in finals] == [
        ("no", 0.0, 0.24),
        ("", 0.24, 0.3),
    ]
    transcript = made.transcript(0.3)
    assert (transcript.text, transcript.segments) == ("no", finals[0].segments)


def test_forced_end_emits_the_final_at_once() -> None:
    made = builder()
    made.step([Emission(1, 2, 0.9)], 4)
    ended, final = made.force(4)
    assert ended == Turn("ended", 1, 0.24, forced=True)
    assert final.text == "yes"


def test_confidence_is_calibrated() -> None:
    made = builder(confidence=(2.0, 0.0))
    partial = made.step([Emission(1, 2, 0.9)], 4)[1]
    assert 0.98 < partial.words[0].confidence < 0.99
