"""Tokens become text: words, bytes and tags, without control characters."""

from hypothesis import given
from hypothesis import strategies as st

from wheatear.model.pieces import Pieces, pieces_from_texts
from wheatear.model.vocabulary import Vocabulary
from wheatear.transcript.detokenizer import Detokenizer

PIECES = ["<unk>", "<en-US>", "\u2581Hel", "lo", ",", "\u2581w", "\u00f6", "<s>"]
PIECES += [f"<0x{byte:02X}>" for byte in "\u20ac\U0001f600".encode()]
VOCABULARY = Vocabulary(pieces_from_texts(PIECES), {1: "en-US"})


def detokenized(tokens):
    detokenizer = Detokenizer(VOCABULARY)
    parts = [detokenizer.add(token) for token in tokens]
    return "".join(parts) + detokenizer.finish()


def test_words_have_spaces_and_tags_have_no_text():
    assert detokenized([2, 3, 4, 1, 5, 6]) == "Hello, w\u00f6"
    assert detokenized([1, 7]) == ""
    assert detokenized([3, 0, 3]) == "lo \u2047 lo"


def test_byte_pieces_are_joined_to_characters():
    assert detokenized([3, 8, 9, 10, 3]) == "lo\u20aclo"
    assert detokenized(range(8, len(PIECES))) == "\u20ac\U0001f600"
    assert detokenized([8, 9, 3]) == "\ufffdlo"  # an incomplete character
    assert detokenized([3, 8]) == "lo\ufffd"


@given(st.lists(st.integers(0, len(PIECES) - 1)))
def test_text_does_not_begin_with_a_space(tokens):
    assert not detokenized(tokens).startswith(" ")


def test_control_characters_are_replaced():
    pieces = ["\u2581a\x1b[2J", "<0x1B>", "<0x9B>", "<0xC2>", "b\x07", "\u2581c\u0301"]
    vocabulary = Vocabulary(Pieces(pieces, [0.0] * 6, bytes=[1, 2, 3]), {})
    detokenizer = Detokenizer(vocabulary)
    text = "".join(map(detokenizer.add, [0, 1, 4, 3, 2, 5])) + detokenizer.finish()
    assert text == "a\ufffd[2J\ufffdb\ufffd\ufffd c\u0301"
