"""The vocabulary of a model: SentencePiece's pieces in id order, and what kind of id each is."""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_CONTROL = ("<s>", "</s>", "<pad>")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_TAG = re.compile(r"<([\w-]+)>")
_LOCALE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?-([A-Z]{2}|\d{3})")
MOST_PIECES = 1 << 20

# The protocol buffers of a SentencePiece model: https://github.com/google/sentencepiece,
# sentencepiece_model.proto.
_PIECES = 1  # field of a model: one message a piece
_TEXT, _SCORE, _TYPE = 1, 2, 3  # fields of a piece
_UNKNOWN_TYPE, _CONTROL_TYPE, _BYTE_TYPE = 2, 3, 6


@dataclass(frozen=True)
class Pieces:
    """Pieces in id order, and the ids of those that are not plain text."""

    pieces: list[str]
    scores: list[float]
    unknown: list[int] = field(default_factory=list)
    control: list[int] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)


def pieces_from_texts(texts: Sequence[str], scores: Sequence[float] | None = None) -> Pieces:
    """A vocabulary of which only the pieces' texts are known; they tell the kinds."""
    return Pieces(
        pieces=list(texts),
        scores=list(scores) if scores is not None else [0.0] * len(texts),
        unknown=[i for i, text in enumerate(texts) if text == "<unk>"],
        control=[i for i, text in enumerate(texts) if text in _CONTROL],
        bytes=[i for i, text in enumerate(texts) if _BYTE.fullmatch(text)],
    )


def language_tags(texts: Sequence[str], prompts: Mapping[str, int]) -> dict[int, str]:
    """Id -> locale of the pieces that are tags: <xx-XX>, or any <key> of the prompt dictionary."""
    inner = {i: match[1] for i, text in enumerate(texts) if (match := _TAG.fullmatch(text))}
    return {i: tag for i, tag in inner.items() if tag in prompts or _LOCALE.fullmatch(tag)}


def pieces_from_sentencepiece(model: bytes) -> Pieces:
    """The vocabulary of a serialised SentencePiece model.

    The library of that name is not needed to read one, and transcribing does without it.
    Raises ValueError for anything that is no such model.
    """
    texts: list[str] = []
    scores: list[float] = []
    kinds: dict[int, list[int]] = {_UNKNOWN_TYPE: [], _CONTROL_TYPE: [], _BYTE_TYPE: []}
    for number, message in _fields(model):
        if number != _PIECES or not isinstance(message, bytes):
            continue
        entries = dict(_fields(message))
        text, score, kind = entries.get(_TEXT), entries.get(_SCORE, 0.0), entries.get(_TYPE)
        if not isinstance(text, bytes) or not isinstance(score, float):
            raise ValueError("a piece has no text")  # noqa: TRY004  (the file's fault, not ours)
        if isinstance(kind, int) and kind in kinds:
            kinds[kind].append(len(texts))
        texts.append(text.decode("utf-8"))
        scores.append(score)
        if len(texts) > MOST_PIECES:
            raise ValueError(f"it has more than {MOST_PIECES:,} pieces")
    if not texts:
        raise ValueError("it has no pieces")
    return Pieces(texts, scores, kinds[_UNKNOWN_TYPE], kinds[_CONTROL_TYPE], kinds[_BYTE_TYPE])


def _fields(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Field numbers and values of a protocol buffer; ValueError if it is cut short."""
    at = 0

    def take(count: int) -> bytes:
        nonlocal at
        if count > len(message) - at:
            raise ValueError("it is cut short")
        at += count
        return message[at - count : at]

    def varint() -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("it is damaged")

    while at < len(message):
        key = varint()
        match key & 7:
            case 0:
                yield key >> 3, varint()
            case 1:
                yield key >> 3, take(8)
            case 2:
                yield key >> 3, take(varint())
            case 5:
                yield key >> 3, struct.unpack("<f", take(4))[0]
            case _:
                raise ValueError("it is damaged")
