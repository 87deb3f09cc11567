"""Segments end with sentences and pauses; words and finals are joined by the rules of scripts."""

import pytest

from wheatear.transcript.results import Final, Segment, Word
from wheatear.transcript.segments import (
    SegmentBuilder,
    continued_text,
    ends_sentence,
    join_finals,
    join_words,
)


def segments(given: list[Word | tuple[str, float]], language: str | None = None) -> list[Segment]:
    builder = SegmentBuilder(language)
    found = []
    for event in given:
        if isinstance(event, tuple):
            builder.tag(*event)
        elif (segment := builder.word(event)) is not None:
            found.append(segment)
    last = builder.finish()
    return found + ([last] if last else [])


def word(text: str, start: float) -> Word:
    return Word(text, start, start + 0.2, 0.9)


def test_segments_end_with_sentences_and_pauses() -> None:
    spoken = [word("Yes.", 0), ("en-US", 0.9), word("No", 1), word("way", 3), ("es-US", 0.4)]
    found = segments(spoken)
    assert [s.text for s in found] == ["Yes.", "No", "way"]
    assert [s.language for s in found] == ["en-US", None, "es-US"]
    assert [s.language_score for s in found] == [0.9, None, 0.4]
    assert [(s.start, s.end) for s in found] == [(0, 0.2), (1, 1.2), (3, 3.2)]
    assert {s.language for s in segments(spoken, "fr-CA")} == {"fr-CA"}


def test_sentence_ends_by_its_punctuation() -> None:
    assert all(map(ends_sentence, ["Yes.", "what?!", "Yes.”", "です。", "क्या।"]))
    assert not any(map(ends_sentence, ["Yes", "well,", "3.5x", "..a"]))


def final(*words: Word) -> Final:
    return Final(join_words(words), words, 0.0, 1.0, None, (), ())


@pytest.mark.parametrize(
    ("finals", "text"),
    [
        ([], ""),
        ([final(word("Yes.", 0)), final(), final(word("No.", 1))], "Yes. No."),
        (
            [final(Word("はい。", 0, 1, 0.9, False)), final(Word("今", 1, 2, 0.9, False))],
            "はい。今",
        ),
    ],
)
def test_finals_are_joined_with_the_spaces_of_their_script(finals: list[Final], text: str) -> None:
    assert join_finals(finals) == text


def test_text_that_continues_nothing_has_no_space() -> None:
    assert continued_text(final(word("Yes.", 0)), after_text=False) == "Yes."
    assert continued_text(final(word("Yes.", 0)), after_text=True) == " Yes."
