"""Vocabularies: SentencePiece models are read as its library reads them, damage is rejected."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_weights import read_source

from wheatear.model.pieces import pieces_from_sentencepiece


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_sentencepiece_model_is_rejected_or_read(data):
    content = bytearray(read_source("bytes").tokenizer[:6000])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    try:
        pieces = pieces_from_sentencepiece(bytes(content))
    except ValueError:
        return
    assert len(pieces.pieces) == len(pieces.scores) > 0


@pytest.mark.parametrize("model", ["tiny-en", "tiny-multi", "bytes", "batchnorm"])
def test_sentencepiece_model_is_read_as_by_its_library(model):
    library = pytest.importorskip("sentencepiece")
    source = read_source(model)
    processor = library.SentencePieceProcessor()
    processor.LoadFromSerializedProto(source.tokenizer)
    ids = range(processor.GetPieceSize())
    pieces = source.vocabulary
    assert pieces.pieces == [processor.IdToPiece(i) for i in ids]
    assert pieces.scores == [processor.GetScore(i) for i in ids]
    assert pieces.unknown == [i for i in ids if processor.IsUnknown(i)]
    assert pieces.control == [i for i in ids if processor.IsControl(i)]
    assert pieces.bytes == [i for i in ids if processor.IsByte(i)]
