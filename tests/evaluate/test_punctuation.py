"""Punctuation and capitals, against errors that can be counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheatear.evaluate.punctuation import (
    PunctuationCounts,
    compare_punctuation,
    has_capitals,
    has_marks,
)


@pytest.mark.parametrize(
    ("locale", "reference", "hypothesis", "counts"),
    [
        ("en-US", "Hello, Bob. Are you in?", "Hello, Bob. Are you in?", (3, 0, 5, 0)),
        ("en-US", "Hello, Bob. Are you in?", "hello bob are you in?", (3, 2, 5, 3)),
        ("en-US", "Hello, Bob.", "Hello. Rob.", (2, 1, 1, 0)),
        ("en-US", "Hello Bob", "Hello, Bob.", (2, 2, 2, 0)),
        ("en-US", "At 3.5 a.m. I'm e-mailing...", "At 3.5 a.m. I'm e-mailing", (1, 0, 4, 0)),
        ("en-US", "\u201cYes,\u201d she wrote.", "Yes, she wrote.", (2, 0, 3, 0)),
        ("es-ES", "\u00bfQu\u00e9 tal?", "Qu\u00e9 tal?", (1, 0, 2, 0)),
        ("el-GR", "Τι κάνεις;", "τι κάνεις;", (1, 0, 2, 1)),
        ("de-DE", "Das ist gut; sehr.", "das ist Gut sehr.", (1, 0, 4, 2)),
        ("hi-IN", "नमस्ते, दुनिया।", "नमस्ते दुनिया।", (2, 1, 0, 0)),
        ("ja-JP", "はい、東京です。", "はい東京です。", (2, 1, 0, 0)),
        ("th-TH", "ไม่ทราบ", "ไม่ทราบ", (0, 0, 0, 0)),
        ("ar-AR", "مرحبا، كيف؟", "مرحبا، كيف.", (2, 1, 0, 0)),
        ("tr-TR", "", "", (0, 0, 0, 0)),
    ],
)
def test_marks_and_case_are_counted(locale, reference, hypothesis, counts):
    assert compare_punctuation(reference, hypothesis, locale) == PunctuationCounts(*counts)


def test_references_without_marks_or_capitals_are_detected():
    assert not has_capitals("all small 12")
    assert has_capitals("one Big")
    assert not has_marks("a.m 3.5 e-mail...", "en-US")
    assert has_marks("はい。", "ja-JP")


@given(st.text(max_size=30))
def test_equal_texts_have_no_errors(text):
    for locale in ("en-US", "ja-JP", "el-GR", "th-TH"):
        found = compare_punctuation(text, text, locale)
        assert found.wrong_marks == found.miscased == 0
