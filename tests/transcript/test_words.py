"""Words begin at spaces or units of their script, and their times do not overlap."""

from hypothesis import given
from hypothesis import strategies as st

from wheatear.transcript.results import Token, Word
from wheatear.transcript.segments import join_words
from wheatear.transcript.words import Delay, WordBuilder


def tokens(*texts: str, every: float = 0.08) -> list[Token]:
    return [
        Token(i, text, i * every, i * every + 0.08, 0.9 - i / 100) for i, text in enumerate(texts)
    ]


def words(given: list[Token], delay: Delay = Delay()) -> list[Word]:  # noqa: B008
    builder = WordBuilder(delay)
    found = [word for token in given for word in builder.add(token)]
    return found + builder.finish()


def texts(*pieces: str) -> list[str]:
    return [word.text for word in words(tokens(*pieces))]


def test_words_begin_at_spaces() -> None:
    assert texts("Hel", "lo", ",", " w", "orld", ".") == ["Hello,", "world."]
    assert texts("a", " ", "b", " ", "c") == ["a", "b", "c"]  # a space may be a token of its own
    assert texts("", " ", "") == []
    assert texts("lo", " \u2047 ", "x") == ["lo", "\u2047", "x"]


def test_scripts_without_spaces_get_units() -> None:
    assert texts("今日", "は", "、", "良い", "天気", "です", "。") == [
        "今日", "は、", "良い", "天気", "です。",
    ]  # fmt: skip
    assert texts("สวัส", "ดี", "ครับ") == ["สวัส", "ดี", "ครับ"]
    assert texts("กา", "รณ", "\u0e4c") == ["กา", "รณ\u0e4c"]  # a mark stays with its letter
    assert texts("チ", "ョ", "コ", "ー") == ["チョ", "コー"]
    assert texts("iPhone", "を", " 買う") == ["iPhone", "を", "買う"]
    assert texts("말", "하기", " 좋아") == ["말하기", "좋아"]  # Korean writes spaces


def test_times_are_corrected_and_never_run_backwards() -> None:
    found = words(tokens(" a", "b", " c", every=0.4), Delay(start=0.3, end=0.1))
    assert [(word.start, word.end) for word in found] == [(0.0, 0.38), (0.5, 0.78)]
    assert [word.confidence for word in found] == [0.89, 0.88]


TEXT = st.text(alphabet=" abc.,?今日をー\u0e01\u0e4c¿", max_size=4)


@given(st.lists(TEXT), st.floats(0, 0.5), st.floats(0, 0.5))
def test_words_hold_the_whole_text_in_order(pieces: list[str], start: float, end: float) -> None:
    found = words(tokens(*pieces), Delay(start, end))
    assert "".join(word.text for word in found) == "".join(pieces).replace(" ", "")
    assert join_words(found).split() == "".join(pieces).split()
    last = 0.0
    for word in found:
        assert last <= word.start < word.end
        last = word.end
        assert word.text.strip() == word.text != ""
