"""Detokenizer: tokens of a stream to text, incrementally."""

import codecs

from wheatear.model.vocabulary import Vocabulary

# Speech has no control characters, but the pieces of a hostile model might.
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "\ufffd")


class Detokenizer:
    """Converts the tokens of one stream to text; text that was returned never changes."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._started = False

    def add(self, token: int) -> str:
        """Returns the text that a token adds; byte pieces add theirs with the last byte."""
        piece = self._vocabulary.text(token)
        if isinstance(piece, int):
            added = self._utf8.decode(bytes([piece]))
        else:
            added = self._utf8.decode(b"", final=True) + piece
            self._utf8.reset()
        return self._clean(added)

    def finish(self) -> str:
        """Returns the replacement for a character that was never completed, if any."""
        return self._clean(self._utf8.decode(b"", final=True))

    def _clean(self, added: str) -> str:
        """Removes spaces at the start of the stream, and what a terminal would interpret."""
        if not added.isprintable():
            added = added.translate(_CONTROLS)
        if not self._started:
            added = added.lstrip(" ")
            self._started = bool(added)
        return added
