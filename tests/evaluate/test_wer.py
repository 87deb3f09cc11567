"""Errors, intervals, punctuation and capitals, against what can be counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheatear.convert.verify import edit_distance
from wheatear.evaluate.bootstrap import Rate, difference, rates, spread
from wheatear.evaluate.punctuation import (
    PunctuationCounts,
    compare_punctuation,
    has_capitals,
    has_marks,
)
from wheatear.evaluate.wer import align, count_edits, matching_pairs


def rate(parts: list[int], wholes: list[int]) -> Rate | None:
    return rates({"one": (parts, wholes)})["one"]


words = st.lists(st.sampled_from(["a", "b", ""]), max_size=12)


@given(words, words)
def test_errors_are_the_fewest(said, heard):
    edits = count_edits(said, heard)
    assert edits.errors == edit_distance(said, heard)
    assert edits.length == len(said)
    assert edits.length - edits.deletions + edits.insertions == len(heard)
    pairs = align(said, heard)
    assert [a for a, _ in pairs if a is not None] == said
    assert [b for _, b in pairs if b is not None] == heard
    places = matching_pairs(said, heard)
    assert [said[i] for i, _ in places] == [heard[j] for _, j in places]
    assert len(places) == len(said) - edits.deletions - edits.substitutions
    assert places == sorted(set(places))


def test_right_words():
    assert matching_pairs(["a", "b", "c", "d"], ["a", "c", "x"]) == [(0, 0), (2, 1)]


def test_intervals_hold_what_they_promise():
    """Of many samples of utterances with known error rates, 95 % of the intervals hold the rate."""
    chance, held = np.random.default_rng(0), 0
    for _ in range(100):
        lengths = chance.integers(5, 15, 60)
        errors = chance.binomial(lengths, 0.2)
        found = rate(errors.tolist(), lengths.tolist())
        assert found.low <= found.value <= found.high
        assert found.value == pytest.approx(100 * errors.sum() / lengths.sum())
        held += found.low <= 20 <= found.high
    assert 88 <= held <= 100


def test_a_rate_of_nothing_is_none():
    assert rate([], []) is None
    several = rates({"a": ([1, 2], [4, 4]), "b": ([0, 0], [0, 0]), "c": ([1, 2], [4, 4])})
    assert several == {"a": rate([1, 2], [4, 4]), "b": None, "c": several["a"]}
    assert rate([1, 0], [0, 0]) is None
    certain = rate([0, 0], [3, 4])
    assert (certain.value, certain.low, certain.high) == (0, 0, 0)
    assert rate([5], [4]).value == 125


def test_differences():
    chance = np.random.default_rng(1)
    lengths = [10] * 200
    hard = chance.binomial(10, 0.3, 200)
    worse = hard + chance.binomial(1, 0.3, 200)
    found = difference(worse.tolist(), lengths, hard.tolist(), lengths)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(100 * (worse - hard).sum() / 2000)
    assert found.p < 0.01
    # On the same utterances the difference is surer than either rate.
    alone = rate(worse.tolist(), lengths)
    assert found.high - found.low < alone.high - alone.low
    back = difference(hard.tolist(), lengths, worse.tolist(), lengths)
    assert (back.value, back.p) == (pytest.approx(-found.value), pytest.approx(found.p))
    none = difference([1, 2], [5, 5], [1, 2], [5, 5])
    assert (none.value, none.low, none.high, none.p) == (0, 0, 0, 1)
    assert difference([], [], [], []) is None


def test_chance_alone_is_seldom_significant():
    chance, found = np.random.default_rng(2), 0
    for _ in range(100):
        one, other = chance.binomial(10, 0.3, (2, 50))
        found += difference(one.tolist(), [10] * 50, other.tolist(), [10] * 50).p < 0.05
    assert found <= 12


def test_spread():
    assert spread([]) is None
    assert spread([3, 1, 2]) == {"median": 2, "p90": pytest.approx(2.8), "count": 3}


@pytest.mark.parametrize(
    ("locale", "said", "heard", "counts"),
    [
        (
            "en-US",
            "Hello, Bob. Are you in?",
            "Hello, Bob. Are you in?",
            PunctuationCounts(3, 0, 5, 0),
        ),
        (
            "en-US",
            "Hello, Bob. Are you in?",
            "hello bob are you in?",
            PunctuationCounts(3, 2, 5, 3),
        ),
        ("en-US", "Hello, Bob.", "Hello. Rob.", PunctuationCounts(2, 1, 1, 0)),
        ("en-US", "Hello Bob", "Hello, Bob.", PunctuationCounts(2, 2, 2, 0)),
        (
            "en-US",
            "At 3.5 a.m. I'm e-mailing...",
            "At 3.5 a.m. I'm e-mailing",
            PunctuationCounts(1, 0, 4, 0),
        ),
        ("en-US", "\u201cYes,\u201d she said.", "Yes, she said.", PunctuationCounts(2, 0, 3, 0)),
        ("es-ES", "\u00bfQu\u00e9 tal?", "Qu\u00e9 tal?", PunctuationCounts(1, 0, 2, 0)),
        ("el-GR", "Τι κάνεις;", "τι κάνεις;", PunctuationCounts(1, 0, 2, 1)),
        ("de-DE", "Das ist gut; sehr.", "das ist Gut sehr.", PunctuationCounts(1, 0, 4, 2)),
        ("hi-IN", "नमस्ते, दुनिया।", "नमस्ते दुनिया।", PunctuationCounts(2, 1, 0, 0)),
        ("ja-JP", "はい、東京です。", "はい東京です。", PunctuationCounts(2, 1, 0, 0)),
        ("th-TH", "ไม่ทราบ", "ไม่ทราบ", PunctuationCounts(0, 0, 0, 0)),
        ("ar-AR", "مرحبا، كيف؟", "مرحبا، كيف.", PunctuationCounts(2, 1, 0, 0)),
        ("tr-TR", "", "", PunctuationCounts(0, 0, 0, 0)),
    ],
)
def test_how_it_is_written(locale, said, heard, counts):
    assert compare_punctuation(said, heard, locale) == counts


def test_whether_a_reference_is_written_at_all():
    assert not has_capitals("all small 12")
    assert has_capitals("one Big")
    assert not has_marks("a.m 3.5 e-mail...", "en-US")
    assert has_marks("はい。", "ja-JP")


@given(st.text(max_size=30))
def test_what_equals_itself_is_well_written(text):
    for locale in ("en-US", "ja-JP", "el-GR", "th-TH"):
        found = compare_punctuation(text, text, locale)
        assert found.wrong_marks == found.miscased == 0
