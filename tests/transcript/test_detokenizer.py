"""Pieces to text: words, bytes, tags, and text that never takes anything back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheatear.errors import LanguageError, LatencyError
from wheatear.model.languages import resolve_language
from wheatear.model.latency import LatencyMode, available_modes, choose_mode
from wheatear.model.pieces import Pieces, pieces_from_texts
from wheatear.model.vocabulary import Vocabulary
from wheatear.transcript.detokenizer import Detokenizer

PIECES = ["<unk>", "<en-US>", "\u2581Hel", "lo", ",", "\u2581w", "\u00f6", "<s>"]
PIECES += [f"<0x{byte:02X}>" for byte in "\u20ac\U0001f600".encode()]
VOCABULARY = Vocabulary(pieces_from_texts(PIECES), {1: "en-US"})


def join_words(tokens):
    detokenizer = Detokenizer(VOCABULARY)
    parts = [detokenizer.add(token) for token in tokens]
    return "".join(parts) + detokenizer.finish()


def test_words_spaces_and_tags():
    assert join_words([2, 3, 4, 1, 5, 6]) == "Hello, w\u00f6"
    assert join_words([1, 7]) == ""
    assert join_words([3, 0, 3]) == "lo \u2047 lo"


def test_bytes_make_characters():
    assert join_words([3, 8, 9, 10, 3]) == "lo\u20aclo"
    assert join_words(range(8, len(PIECES))) == "\u20ac\U0001f600"
    assert join_words([8, 9, 3]) == "\ufffdlo"  # a character broken off
    assert join_words([3, 8]) == "lo\ufffd"


@given(st.lists(st.integers(0, len(PIECES) - 1)))
def test_text_does_not_begin_with_a_space(tokens):
    assert not join_words(tokens).startswith(" ")


PROMPTS = {"en-US": 0, "en": 0, "es-ES": 2, "es": 3, "no": 27, "auto": 101}


@pytest.mark.parametrize(
    ("asked", "key"), [("en-US", "en-US"), ("EN_us", "en-US"), (" No ", "no"), ("auto", "auto")]
)
def test_languages_are_found_however_they_are_written(asked, key):
    assert resolve_language(PROMPTS, asked) == key


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ("en", "en-GB"), ("EN", "en-GB"), ("zh", "zh-CN"), ("cmn", "zh-CN"), ("ja", "ja-JP"),
        ("no", "nb-NO"), ("nb", "nb-NO"), ("pt", "pt-BR"), ("fr", "fr-CA"), ("iw", "he-IL"),
    ],
)  # fmt: skip
def test_bare_languages_mean_their_usual_locale(asked, key):
    locales = "en-GB zh-TW zh-CN ja-JP nb-NO nn-NO pt-PT pt-BR fr-CA he-IL xx-AA xx-BB auto"
    prompts = {locale: n for n, locale in enumerate(locales.split())}
    assert resolve_language(prompts, asked) == key
    with pytest.raises(LanguageError, match="xx-AA"):
        resolve_language(prompts, "xx")  # which of the two?
    assert resolve_language(prompts, "en-US") == "en-GB"  # a region that it does not have
    assert resolve_language({"no": 27, "nb-NO": 103, "nb": 103}, "no") == "nb-NO"


def test_unknown_languages_are_refused_with_the_nearest():
    with pytest.raises(LanguageError, match=r"'Englsh'; did you mean en\?"):
        resolve_language(PROMPTS, "Englsh")
    with pytest.raises(LanguageError, match=r"'gl'; did you mean es\?"):  # Galician
        resolve_language(PROMPTS, "gl")
    with pytest.raises(LanguageError, match="it knows auto, en"):
        resolve_language(PROMPTS, "klingon")
    with pytest.raises(LanguageError, match="must be a string"):
        resolve_language(PROMPTS, None)
    assert resolve_language({}, "auto") == "auto"
    with pytest.raises(LanguageError, match="one language"):
        resolve_language({}, "en-US")


def test_modes_follow_from_the_left_context():
    nemotron = available_modes([(56, 3), (56, 0), (56, 6), (56, 13)])
    assert [mode.latency_ms for mode in nemotron] == [80, 160, 320, 560, 1120]
    english = available_modes([(70, 13), (70, 6), (70, 1), (70, 0)])
    assert [mode.latency_ms for mode in english] == [80, 160, 560, 1120]
    first = available_modes([(56, 3), (28, 3), (28, 6)])
    assert [(mode.left, mode.lookahead) for mode in first][2:4] == [(56, 3), (28, 6)]
    assert available_modes([(12, 2)]) == tuple(LatencyMode(12, r) for r in (0, 1, 2, 3))


def test_latencies_that_do_not_exist():
    modes = available_modes([(70, 13)])
    with pytest.raises(
        LatencyError, match=r"no 320 ms mode \(its left context of 70 frames.*choose"
    ):
        choose_mode(modes, modes[0], 320)
    for bad in (0, -80, 100, 81, 2240):
        with pytest.raises(LatencyError, match="80, 160, 560, 1120 ms"):
            choose_mode(modes, modes[0], bad)
    assert choose_mode(modes, modes[-1], None) == modes[-1]


def test_pieces_of_a_hostile_model_are_no_commands_of_a_terminal():
    pieces = ["\u2581a\x1b[2J", "<0x1B>", "<0x9B>", "<0xC2>", "b\x07", "\u2581c\u0301"]
    vocabulary = Vocabulary(Pieces(pieces, [0.0] * 6, bytes=[1, 2, 3]), {})
    detokenizer = Detokenizer(vocabulary)
    text = "".join(map(detokenizer.add, [0, 1, 4, 3, 2, 5])) + detokenizer.finish()
    assert text == "a\ufffd[2J\ufffdb\ufffd\ufffd c\u0301"
