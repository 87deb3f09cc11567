"""Texts are formatted, and partials still only grow."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wheatear
from wheatear import LanguageError, MissingExtraError, Phrase, TextFormat
from wheatear.audio.reader import sample_speech
from wheatear.errors import TextFormatError
from wheatear.transcript.formatting import TextFormatter
from wheatear.transcript.results import Final, Partial, Segment, Word
from wheatear.transcript.segments import join_words


def words_of(text: str) -> tuple[Word, ...]:
    return tuple(
        Word(word, 0.5 * n, 0.5 * n + 0.4, 0.9, n > 0) for n, word in enumerate(text.split())
    )


def final_of(text: str, language: str | None = "en-US") -> Final:
    words = words_of(text)
    segment = Segment(text, words, 0.0, 9.0, language, None)
    return Final(text, words, 0.0, 9.0, language, (segment,), ())


def partial_of(text: str, language: str | None = "en-US") -> Partial:
    return Partial(text, words_of(text), 0.0, 9.0, language, ())


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        (TextFormat(), "Well, it's 3.5 (about)!", "Well, it's 3.5 (about)!"),
        (TextFormat(punctuation=False), "Well, it's 3.5 (about)!", "Well it's 3.5 about"),
        (TextFormat(punctuation=False), "¿Qué? - Nada…", "Qué Nada"),
        (TextFormat(capitals=False), "Dr. Who, USA", "dr. who, usa"),
        (TextFormat(masked=frozenset({"Darn", "heck"})), "Darn! The HECK?", "****! The ****?"),
        (TextFormat(masked=frozenset({"heck"})), "checkered hecks", "checkered hecks"),
        (TextFormat(numbers="written"), "Call twenty-five people at ten.", "Call 25 people at 10."),
        (TextFormat(numbers="written"), "One apple, two hundred three.", "One apple, 203."),
        (TextFormat(numbers="written"), "On the twenty third of May", "On the 23rd of May"),
        (TextFormat(False, False, "written"), "Dial thirty two, now.", "dial 32 now"),
    ],
)  # fmt: skip
def test_words_are_formatted(form: TextFormat, text: str, expected: str) -> None:
    found = TextFormatter(form).final(final_of(text))
    assert found.text == expected == join_words(found.words)
    assert tuple(w for s in found.segments for w in s.words) == found.words


def test_number_is_one_word_with_its_time() -> None:
    found = TextFormatter(TextFormat(numbers="written")).final(
        final_of("Dial two hundred three, please.")
    )
    assert [(w.text, w.start, w.end) for w in found.words] == [
        ("Dial", 0.0, 0.4), ("203,", 0.5, 1.9), ("please.", 2.0, 2.4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("fr-CA", "J'ai vingt et un ans.", "J'ai 21 ans."),
        ("es-US", "Son treinta y cinco.", "Son 35."),
        ("de-DE", "Es sind fünfundzwanzig.", "Es sind 25."),
        ("it-IT", "Sono trentacinque.", "Sono 35."),
        ("pt-BR", "São trinta e cinco.", "São 35."),
        ("ru-RU", "Двадцать пять.", "Двадцать пять."),
        (None, "Twenty five.", "Twenty five."),
    ],
)
def test_numbers_follow_the_language(language: str | None, text: str, expected: str) -> None:
    found = TextFormatter(TextFormat(numbers="written")).final(final_of(text, language))
    assert found.text == expected


def test_numbers_need_a_language_and_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    recognizer = wheatear.load(threads=1)
    with pytest.raises(LanguageError, match="ru-RU cannot be written in digits"):
        recognizer.stream(language="ru-RU", text_format=TextFormat(numbers="written"))
    stream = recognizer.stream(language="en-US", text_format=TextFormat(numbers="written"))
    with pytest.raises(LanguageError):
        stream.switch(language="ru-RU")
    monkeypatch.setitem(sys.modules, "text_to_num", None)
    with pytest.raises(MissingExtraError, match=r"wheatear\[numbers\]"):
        TextFormat(numbers="written")


def test_turkish_and_greek_capitals_are_lowered() -> None:
    form = TextFormatter(TextFormat(capitals=False))
    assert form.final(final_of("ISI İyi", "tr-TR")).text == "ısı iyi"
    assert form.final(final_of("ΟΔΟΣ", "el-GR")).text == "οδοσ"  # letter by letter


def test_aliases_are_replaced_by_the_phrase() -> None:
    phrase = Phrase("Nguyễn Văn", aliases=("win van", "nguyen van"))
    form = TextFormatter(TextFormat(), [phrase])
    assert form.changes_finals
    found = form.final(final_of("Call (Win van), then win. Van is here."))
    assert found.text == "Call (Nguyễn Văn), then win. Van is here."
    assert [(w.start, w.end) for w in found.words[:4]] == [
        (0.0, 0.4),
        (0.5, 1.1),
        (1.1, 1.4),
        (1.5, 1.9),
    ]
    assert form.partial(partial_of("Call win van")).text == "Call win van"  # type: ignore[union-attr]


TEXTS = st.lists(
    st.sampled_from(["ass", "assume", "Heck,", "a", "hecks.", "…", "Σ", "I", "no"]), max_size=8
)


@given(TEXTS, st.booleans(), st.booleans())
def test_partials_only_grow_and_never_show_masked_words(
    words: list[str], punctuation: bool, capitals: bool
) -> None:
    form = TextFormatter(TextFormat(punctuation, capitals, masked=frozenset({"ass", "heck"})))
    text, shown = " ".join(words), ""
    for size in range(1, len(text) + 1):
        partial = form.partial(partial_of(text[:size]))
        if partial is not None:
            bare = [w.strip(",.…").casefold() for w in partial.text.split()]
            assert "ass" not in bare
            assert "heck" not in bare
            assert partial.text.startswith(shown)
            shown = partial.text
    assert form.final(final_of(text)).text.startswith(shown)


def test_stream_formats_all_events() -> None:
    recognizer = wheatear.load(threads=1)
    form = TextFormat(punctuation=False, capitals=False)
    plain = recognizer.transcribe(sample_speech())
    events: list = []
    found = recognizer.transcribe(sample_speech(), text_format=form, on_event=events.append)
    wanted = " ".join(w.strip(".,?!") for w in plain.text.lower().split())
    assert found.text == wanted
    assert join_words(found.words) == wanted
    assert found.tokens == plain.tokens
    finals = [e.text for e in events if isinstance(e, Final) and e.text]
    assert " ".join(finals) == wanted
    partials = [e.text for e in events if isinstance(e, Partial)]
    assert partials
    assert all(p == p.lower() for p in partials)


@pytest.mark.parametrize("word", ["two words", "...", " "])
def test_mask_must_be_a_word(word: str) -> None:
    with pytest.raises(TextFormatError, match="cannot be masked"):
        TextFormat(masked=frozenset({word}))
