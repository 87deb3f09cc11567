"""A vocabulary has the text of every token."""

import pytest

from wheatear.errors import BundleError
from wheatear.model.bundle import open_bundle
from wheatear.model.pieces import pieces_from_texts
from wheatear.model.vocabulary import Vocabulary

PIECES = pieces_from_texts(["<unk>", "<en-US>", "\u2581a", "a", "<s>", "<0xE2>", "a"])
VOCABULARY = Vocabulary(PIECES, {1: "en-US"})


def test_word_marks_are_spaces_and_special_pieces_have_texts_of_their_own():
    assert [VOCABULARY.text(token) for token in range(7)] == [
        " \u2047 ", "", " a", "a", "", 0xE2, "a",
    ]  # fmt: skip
    assert VOCABULARY.pieces[2] == "\u2581a"


def test_tokens_are_found_by_their_text():
    assert VOCABULARY.by_text == {" \u2047 ": [0], " a": [2], "a": [3, 6]}
    assert VOCABULARY.longest == 3


def test_pieces_must_fit_the_manifest(bundle):
    opened = open_bundle(bundle)
    assert Vocabulary.from_bundle(opened).tags == opened.manifest.tags
    opened.pieces.bytes.append(10**6)
    with pytest.raises(BundleError, match="does not fit its manifest"):
        Vocabulary.from_bundle(opened)
