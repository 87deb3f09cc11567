"""From token ids to text: pieces joined, word marks turned into spaces, tags left out by id."""

import codecs
from collections.abc import Mapping
from functools import cached_property

from wheatear.errors import BundleError
from wheatear.model.bundle import PIECES, Bundle
from wheatear.model.pieces import Pieces

_WORD_MARK = "\u2581"  # SentencePiece's mark of a word's beginning
_UNKNOWN = " \u2047 "  # what SentencePiece writes for the unknown piece

# Speech has none, but the pieces of a hostile model might.
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "\ufffd")


class Vocabulary:
    """The text of every token id of a model."""

    def __init__(self, data: Pieces, tags: Mapping[int, str]) -> None:
        self.tags = tags
        self.pieces = data.pieces
        """As the tokenizer writes them."""
        self._texts = [piece.replace(_WORD_MARK, " ") for piece in data.pieces]
        for i in data.unknown:
            self._texts[i] = _UNKNOWN
        for i in (*data.control, *self.tags):
            self._texts[i] = ""
        self._bytes = {i: int(data.pieces[i][1:-1], 16) for i in data.bytes}

    @classmethod
    def of(cls, bundle: Bundle) -> "Vocabulary":
        """Raises BundleError if pieces and manifest do not belong together."""
        data, blank = bundle.vocabulary, bundle.manifest.decoder.blank
        special = [*data.unknown, *data.control, *data.bytes]
        if len(data.pieces) != blank or any(not 0 <= i < blank for i in special):
            raise BundleError(f"{bundle.path / PIECES} does not fit its manifest")
        return cls(data, bundle.manifest.tags)

    @cached_property
    def by_text(self) -> dict[str, list[int]]:
        """The tokens that have a text, by it."""
        tokens: dict[str, list[int]] = {}
        for token, text in enumerate(self._texts):
            if text and token not in self._bytes:
                tokens.setdefault(text, []).append(token)
        return tokens

    @cached_property
    def longest(self) -> int:
        """Letters of the longest text."""
        return max(map(len, self.by_text), default=0)

    def text(self, token: int) -> str | int:
        """The text of a token, or the value of a byte piece."""
        return self._bytes.get(token, self._texts[token])


class Detokenizer:
    """Turns one stream's tokens into text as they come; text once given never changes."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False

    def add(self, token: int) -> str:
        """The text that this token adds; byte pieces add theirs once a character is whole."""
        piece = self._vocabulary.text(token)
        if isinstance(piece, int):
            new = self._utf8.decode(bytes([piece]))
        else:
            new = self._utf8.decode(b"", final=True) + piece
            self._utf8.reset()
        return self._first(new)

    def finish(self) -> str:
        """What an unfinished character at the very end adds."""
        return self._first(self._utf8.decode(b"", final=True))

    def _first(self, new: str) -> str:
        """A text does not begin with a space, and holds nothing that a terminal would obey."""
        if not new.isprintable():
            new = new.translate(_CONTROLS)
        if not self._begun:
            new = new.lstrip(" ")
            self._begun = bool(new)
        return new
