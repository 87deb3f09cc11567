"""Vocabulary: the text of every token id of a model."""

from collections.abc import Mapping
from functools import cached_property

from wheatear.errors import BundleError
from wheatear.model.bundle import PIECES, Bundle
from wheatear.model.pieces import Pieces

_WORD_START = "\u2581"  # SentencePiece's mark of the start of a word
_UNKNOWN = " \u2047 "  # SentencePiece's text of the unknown piece


class Vocabulary:
    """Texts of token ids: word marks are spaces, control pieces and language tags are empty."""

    def __init__(self, data: Pieces, tags: Mapping[int, str]) -> None:
        self.tags = tags
        self.pieces = data.pieces
        """Pieces as the tokenizer writes them."""
        self._texts = [piece.replace(_WORD_START, " ") for piece in data.pieces]
        for i in data.unknown:
            self._texts[i] = _UNKNOWN
        for i in (*data.control, *self.tags):
            self._texts[i] = ""
        self._bytes = {i: int(data.pieces[i][1:-1], 16) for i in data.bytes}

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> "Vocabulary":
        """Returns the vocabulary of a bundle. Raises BundleError if the manifest differs."""
        data, blank = bundle.pieces, bundle.manifest.decoder.blank
        special = [*data.unknown, *data.control, *data.bytes]
        if len(data.pieces) != blank or any(not 0 <= i < blank for i in special):
            raise BundleError(f"{bundle.path / PIECES} does not fit its manifest")
        return cls(data, bundle.manifest.tags)

    @cached_property
    def by_text(self) -> dict[str, list[int]]:
        """Text -> its tokens, without byte pieces."""
        tokens: dict[str, list[int]] = {}
        for token, text in enumerate(self._texts):
            if text and token not in self._bytes:
                tokens.setdefault(text, []).append(token)
        return tokens

    @cached_property
    def longest(self) -> int:
        """Length of the longest text in characters."""
        return max(map(len, self.by_text), default=0)

    def text(self, token: int) -> str | int:
        """Returns the text of a token, or the value of a byte piece."""
        return self._bytes.get(token, self._texts[token])
