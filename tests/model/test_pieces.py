"""Pieces of a tokenizer are read from SentencePiece models, texts and bundles."""

import struct

import pytest

from wheatear.model.pieces import (
    Pieces,
    language_tags,
    pieces_from_json,
    pieces_from_sentencepiece,
    pieces_from_texts,
)


def field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2, len(data)]) + data


def piece(text: str, score: float, kind: int) -> bytes:
    body = field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + bytes([0x18, kind])
    return field(1, body)


MODEL = (
    piece("<unk>", 0, 2) + piece("\u2581a", -1.5, 1) + piece("<s>", 0, 3) + piece("<0x41>", 0, 6)
)


def test_sentencepiece_model_has_texts_scores_and_kinds():
    expected = Pieces(["<unk>", "\u2581a", "<s>", "<0x41>"], [0, -1.5, 0, 0], [0], [2], [3])
    assert pieces_from_sentencepiece(MODEL) == expected
    assert pieces_from_texts(expected.pieces, expected.scores) == expected


@pytest.mark.parametrize("model", [b"", b"\n", MODEL[:-1], piece("x", 0, 6), field(1, b"")])
def test_damaged_sentencepiece_model_is_refused(model):
    with pytest.raises(ValueError, match=r"piece|damaged|cut short|byte"):
        pieces_from_sentencepiece(model)


@pytest.mark.parametrize(
    "change", [{"scores": [0.0]}, {"bytes": [0]}, {"bytes": [9]}, {"pieces": ["a", "\ud800"]}]
)
def test_damaged_pieces_of_a_bundle_are_refused(change):
    good = {"pieces": ["a", "<0x41>"], "scores": [0.0, 0.0], "bytes": [1]}
    assert pieces_from_json(good, 2).bytes == [1]
    with pytest.raises(ValueError, match=r"piece|surrogate|byte"):
        pieces_from_json(good | change, 2)


def test_language_tags_are_locales_and_keys_of_the_dictionary():
    texts = ["<en-US>", "<zh-Hant-TW>", "<no>", "<pad>", "en-US", "<b>"]
    assert language_tags(texts, {"no": 1}) == {0: "en-US", 1: "zh-Hant-TW", 2: "no"}
