"""SentencePiece tokenizer that can be extended by languages.

A sentence ends with the piece of its locale (`<en-US>`), as in NVIDIA's multilingual model.
Ids never change: new pieces are appended, so that trained weights keep their rows.

Source: Kudo and Richardson 2018 (SentencePiece, arXiv 1808.06226).
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import sentencepiece as spm

_NORMAL, _UNKNOWN, _CONTROL, _USER, _BYTE = 1, 2, 3, 4, 6  # types of a piece
_MIN_LETTER_COUNT = 3  # a letter seen less often is taken for a typing error


def locale_tag(locale: str) -> str:
    """Returns the piece that ends a sentence of the locale."""
    return f"<{locale}>"


class Tokenizer:
    """Text to piece ids and back."""

    def __init__(self, model: bytes) -> None:
        """Loads a serialized SentencePiece model."""
        self.model = model
        self._processor = spm.SentencePieceProcessor(model_proto=model)
        self.size: int = self._processor.get_piece_size()

    @classmethod
    def train(cls, texts: Iterable[str], locales: Sequence[str], size: int) -> Tokenizer:
        """Trains a model with `size` pieces, the tags of the locales among them."""
        model = io.BytesIO()
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=model, vocab_size=size,
            model_type="unigram", character_coverage=1.0, unk_id=0, bos_id=-1, eos_id=-1,
            user_defined_symbols=[locale_tag(locale) for locale in locales], minloglevel=2,
            hard_vocab_limit=False,
        )  # fmt: skip
        return cls(model.getvalue())

    @classmethod
    def from_pieces(cls, pieces: Sequence[tuple[str, float]]) -> Tokenizer:
        """Makes a unigram model of the pieces and scores of a bundle."""
        proto = _parse(cls.train(["a b"], [], 8).model)  # for its rules of normalization
        del proto.pieces[:]
        for piece, score in pieces:
            _append(proto, piece, score)
        return cls(proto.SerializeToString())

    def extended(self, texts: Sequence[str], locales: Sequence[str], pieces: int = 0) -> Tokenizer:
        """Adds the tags and letters of new texts, and up to `pieces` word pieces of them.

        Old pieces keep their ids and scores.  Without new word pieces, old text is split as
        before; with them, an old word that contains a new piece is split differently.
        """
        proto = _parse(self.model)
        known = {entry.piece for entry in proto.pieces}
        low = min(entry.score for entry in proto.pieces)

        def add(piece: str, score: float) -> None:
            if piece not in known:
                known.add(piece)
                _append(proto, piece, score)

        for locale in locales:
            add(locale_tag(locale), 0.0)
        letters = Counter("".join(texts).replace(" ", "▁"))
        for letter, count in sorted(letters.items()):
            if count >= _MIN_LETTER_COUNT or len(texts) < _MIN_LETTER_COUNT:
                add(letter, low - 1.0)
        if pieces:
            trained = self.train(texts, [], len(letters) + 4 * pieces).pieces()[1:]
            found = [p for p in trained if p[0] not in known and len(p[0]) > 1]
            # Above single letters, or the new pieces would never be used.
            for piece, score in found[:pieces]:
                add(piece, min(score, low / 2))
        return Tokenizer(proto.SerializeToString())

    def has(self, locale: str) -> bool:
        """True if there is a tag of the locale."""
        return self._processor.piece_to_id(locale_tag(locale)) != self._processor.unk_id()

    def ids(self, text: str) -> list[int]:
        """Returns the piece ids of a text, without a tag."""
        return list(self._processor.encode(text))

    def encode(self, text: str, locale: str) -> list[int]:
        """Returns piece ids, with the tag at the end if the model has one for the locale."""
        ids = self.ids(text)
        return [*ids, self._processor.piece_to_id(locale_tag(locale))] if self.has(locale) else ids

    def decode(self, ids: Iterable[int]) -> tuple[str, list[str]]:
        """Returns the text without tags, and the tags."""
        pieces = [self._processor.id_to_piece(i) for i in ids]
        tags = [p for p in pieces if p.startswith("<") and p.endswith(">") and p != "<unk>"]
        text = "".join(p for p in pieces if p not in tags).replace("▁", " ")
        return " ".join(text.split()), tags

    def piece(self, token: int) -> str:
        """Returns the piece of an id."""
        return self._processor.id_to_piece(token)

    def pieces(self) -> list[tuple[str, float]]:
        """Returns pieces and scores in the order of ids."""
        get = self._processor
        return [(get.id_to_piece(i), get.get_score(i)) for i in range(self.size)]

    def durations(self, ids: list[int]) -> np.ndarray:
        """Estimates relative durations of tokens: letters, and pauses at commas and full stops."""
        durations = []
        for position, i in enumerate(ids[:-1]):
            last = position >= len(ids) - 2
            pause = {",": 4.0, ".": 0.3 if last else 7.0, "?": 0.3 if last else 7.0, "▁": 0.5}
            length = sum(pause.get(c, 1.0) for c in self._processor.id_to_piece(i))
            durations.append(max(length, 0.05))
        return np.array([*durations, 0.3])


def _parse(model: bytes) -> Any:
    module: Any = import_module("sentencepiece.sentencepiece_model_pb2")
    return module.ModelProto.FromString(model)


def _append(proto: Any, piece: str, score: float) -> None:
    entry = proto.pieces.add()
    entry.piece, entry.score, entry.type = piece, score, _piece_type(piece)


def _piece_type(piece: str) -> int:
    if piece == "<unk>":
        return _UNKNOWN
    if piece in ("<s>", "</s>", "<pad>"):
        return _CONTROL
    if piece.startswith("<0x") and piece.endswith(">"):
        return _BYTE
    return _USER if len(piece) > 2 and piece[0] == "<" and piece[-1] == ">" else _NORMAL
