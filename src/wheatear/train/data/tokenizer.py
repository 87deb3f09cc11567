"""Pieces of words: a SentencePiece model, and how it grows by a language.

A sentence ends with the piece of its locale (`<en-US>`), as NVIDIA's multilingual model has it.
Ids never move: new pieces are appended, so that weights trained before keep their rows.

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
_RARE = 3  # a letter seen less often is a slip of the keyboard


def tag(locale: str) -> str:
    """The piece that ends a sentence of the locale."""
    return f"<{locale}>"


class Tokenizer:
    """Text to piece ids and back."""

    def __init__(self, model: bytes) -> None:
        """model: a serialised SentencePiece model."""
        self.model = model
        self._processor = spm.SentencePieceProcessor(model_proto=model)
        self.size: int = self._processor.get_piece_size()

    @classmethod
    def train(cls, texts: Iterable[str], locales: Sequence[str], size: int) -> Tokenizer:
        """A new model with `size` pieces, the tags of the locales among them."""
        model = io.BytesIO()
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=model, vocab_size=size,
            model_type="unigram", character_coverage=1.0, unk_id=0, bos_id=-1, eos_id=-1,
            user_defined_symbols=[tag(locale) for locale in locales], minloglevel=2,
            hard_vocab_limit=False,
        )  # fmt: skip
        return cls(model.getvalue())

    @classmethod
    def from_pieces(cls, pieces: Sequence[tuple[str, float]]) -> Tokenizer:
        """The unigram model of a bundle, which has the pieces and scores but no model file."""
        proto = _parsed(cls.train(["a b"], [], 8).model)  # for its normaliser
        del proto.pieces[:]
        for piece, score in pieces:
            _append(proto, piece, score)
        return cls(proto.SerializeToString())

    def grown(self, texts: Sequence[str], locales: Sequence[str], pieces: int = 0) -> Tokenizer:
        """This model with the tags, the letters and up to so many word pieces of new texts.

        What it has already keeps its id and its score; without word pieces, old text is split as
        before.  With them an old word that holds a new piece is split anew.
        """
        proto = _parsed(self.model)
        known = {entry.piece for entry in proto.pieces}
        low = min(entry.score for entry in proto.pieces)

        def add(piece: str, score: float) -> None:
            if piece not in known:
                known.add(piece)
                _append(proto, piece, score)

        for locale in locales:
            add(tag(locale), 0.0)
        letters = Counter("".join(texts).replace(" ", "▁"))
        for letter, count in sorted(letters.items()):
            if count >= _RARE or len(texts) < _RARE:
                add(letter, low - 1.0)
        if pieces:
            fresh = self.train(texts, [], len(letters) + 4 * pieces)
            found = [p for p in fresh.pieces()[1:] if p[0] not in known and len(p[0]) > 1]
            # Below its own pieces in order, but above single letters: or they would never be used.
            for piece, score in found[:pieces]:
                add(piece, min(score, low / 2))
        return Tokenizer(proto.SerializeToString())

    def has(self, locale: str) -> bool:
        """Whether there is a tag of the locale."""
        return self._processor.piece_to_id(tag(locale)) != self._processor.unk_id()

    def ids(self, text: str) -> list[int]:
        """Piece ids of a text, without a tag."""
        return list(self._processor.encode(text))

    def encode(self, text: str, locale: str) -> list[int]:
        """Piece ids, the tag at the end if the model has one for the locale."""
        ids = self.ids(text)
        return [*ids, self._processor.piece_to_id(tag(locale))] if self.has(locale) else ids

    def decode(self, ids: Iterable[int]) -> tuple[str, list[str]]:
        """The text without tags, and the tags."""
        pieces = [self._processor.id_to_piece(i) for i in ids]
        tags = [p for p in pieces if p.startswith("<") and p.endswith(">") and p != "<unk>"]
        text = "".join(p for p in pieces if p not in tags).replace("▁", " ")
        return " ".join(text.split()), tags

    def piece(self, token: int) -> str:
        """The piece of an id."""
        return self._processor.id_to_piece(token)

    def pieces(self) -> list[tuple[str, float]]:
        """Pieces and scores in the order of ids."""
        get = self._processor
        return [(get.id_to_piece(i), get.get_score(i)) for i in range(self.size)]

    def weights(self, ids: list[int]) -> np.ndarray:
        """Rough duration of each token: its letters; pauses at commas and full stops."""
        letters = []
        for position, i in enumerate(ids[:-1]):
            last = position >= len(ids) - 2
            pause = {",": 4.0, ".": 0.3 if last else 7.0, "?": 0.3 if last else 7.0, "▁": 0.5}
            length = sum(pause.get(c, 1.0) for c in self._processor.id_to_piece(i))
            letters.append(max(length, 0.05))
        return np.array([*letters, 0.3])


def _parsed(model: bytes) -> Any:
    # The module fills itself when it is imported; type checkers see it empty.
    module: Any = import_module("sentencepiece.sentencepiece_model_pb2")
    return module.ModelProto.FromString(model)


def _append(proto: Any, piece: str, score: float) -> None:
    entry = proto.pieces.add()
    entry.piece, entry.score, entry.type = piece, score, _kind(piece)


def _kind(piece: str) -> int:
    if piece == "<unk>":
        return _UNKNOWN
    if piece in ("<s>", "</s>", "<pad>"):
        return _CONTROL
    if piece.startswith("<0x") and piece.endswith(">"):
        return _BYTE
    return _USER if len(piece) > 2 and piece[0] == "<" and piece[-1] == ">" else _NORMAL
