"""Pieces of a tokenizer in id order, and their kinds; read from SentencePiece, texts, bundles."""

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wheatear.model.protobuf import fields

_CONTROL = ("<s>", "</s>", "<pad>")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_TAG = re.compile(r"<([\w-]+)>")
_LOCALE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?-([A-Z]{2}|\d{3})")
MAX_PIECES = 1 << 20

# Fields of a SentencePiece model: https://github.com/google/sentencepiece,
# sentencepiece_model.proto.
_PIECES = 1  # of a model: one message a piece
_TEXT, _SCORE, _TYPE = 1, 2, 3  # of a piece
_UNKNOWN_TYPE, _CONTROL_TYPE, _BYTE_TYPE = 2, 3, 6
_NO_SCORE = memoryview(bytes(4))


@dataclass(frozen=True)
class Pieces:
    """Pieces in id order, and the ids of pieces that are not plain text."""

    pieces: list[str]
    scores: list[float]
    unknown: list[int] = field(default_factory=list)
    control: list[int] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)


def pieces_from_json(data: Mapping[str, Any], count: int) -> Pieces:
    """Returns the `count` pieces of a bundle. Raises ValueError or TypeError."""
    pieces = Pieces(**data)
    listed = (pieces.unknown, pieces.control, pieces.bytes)
    if not all(isinstance(values, list) for values in (pieces.pieces, pieces.scores, *listed)):
        raise ValueError("a part of it is not a list")
    if not all(isinstance(text, str) for text in pieces.pieces):
        raise ValueError("a piece is not a string")
    if not all(type(score) in (int, float) for score in pieces.scores):
        raise ValueError("a score is not a number")
    "".join(pieces.pieces).encode()  # raises ValueError for lone surrogates
    if len(pieces.pieces) != count or len(pieces.scores) != count:
        raise ValueError(
            f"it has {len(pieces.pieces)} pieces and {len(pieces.scores)} scores, not {count}"
        )
    if not all(type(i) is int and 0 <= i < count for ids in listed for i in ids):
        raise ValueError("it lists an id without a piece")
    _check_bytes(pieces)
    return pieces


def _check_bytes(pieces: Pieces) -> None:
    """Raises ValueError if a byte piece is not written as one."""
    for i in pieces.bytes:
        if not _BYTE.fullmatch(pieces.pieces[i]):
            raise ValueError(f"the piece {pieces.pieces[i][:20]!r} is no byte")


def pieces_from_texts(texts: Sequence[str], scores: Sequence[float] | None = None) -> Pieces:
    """Returns pieces with the kinds that their texts show."""
    return Pieces(
        pieces=list(texts),
        scores=list(scores) if scores is not None else [0.0] * len(texts),
        unknown=[i for i, text in enumerate(texts) if text == "<unk>"],
        control=[i for i, text in enumerate(texts) if text in _CONTROL],
        bytes=[i for i, text in enumerate(texts) if _BYTE.fullmatch(text)],
    )


def language_tags(texts: Sequence[str], prompts: Mapping[str, int]) -> dict[int, str]:
    """Returns id -> locale of language tags: <xx-XX>, or a <key> of the prompt dictionary."""
    inner = {i: match[1] for i, text in enumerate(texts) if (match := _TAG.fullmatch(text))}
    return {i: tag for i, tag in inner.items() if tag in prompts or _LOCALE.fullmatch(tag)}


def pieces_from_sentencepiece(model: bytes) -> Pieces:
    """Reads a serialized SentencePiece model, without its library. Raises ValueError."""
    texts: list[str] = []
    scores: list[float] = []
    kinds: dict[int, list[int]] = {_UNKNOWN_TYPE: [], _CONTROL_TYPE: [], _BYTE_TYPE: []}
    for number, message in fields(memoryview(model)):
        if number != _PIECES or isinstance(message, int):
            continue
        entries = dict(fields(message))
        text, score, kind = entries.get(_TEXT), entries.get(_SCORE, _NO_SCORE), entries.get(_TYPE)
        if not isinstance(text, memoryview) or isinstance(score, int) or len(score) != 4:
            raise ValueError("a piece has no text, or a score of the wrong type")
        if isinstance(kind, int) and kind in kinds:
            kinds[kind].append(len(texts))
        texts.append(str(text, "utf-8"))
        scores.append(struct.unpack("<f", score)[0])
        if len(texts) > MAX_PIECES:
            raise ValueError(f"it has more than {MAX_PIECES:,} pieces")
    if not texts:
        raise ValueError("it has no pieces")
    pieces = Pieces(texts, scores, kinds[_UNKNOWN_TYPE], kinds[_CONTROL_TYPE], kinds[_BYTE_TYPE])
    _check_bytes(pieces)
    return pieces
