"""From words to segments: sentences, or what lies between two long pauses."""

from dataclasses import dataclass, field

from wheatear.transcript.results import Segment, Word

_PAUSE = 1.0  # seconds without a word
_SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！", "।", "؟", "۔")
_CLOSING = "\"'”’»)]』」）"


@dataclass
class _Open:
    words: list[Word] = field(default_factory=list)
    language: str | None = None
    score: float | None = None


class SegmentBuilder:
    """Makes segments of one stream's words and language tags."""

    def __init__(self, asked: str | None = None) -> None:
        self.asked = asked
        """The locale that was asked for, if any; it may change."""
        self._open = _Open()

    def word(self, word: Word) -> Segment | None:
        """The segment that ended before this word, if one did."""
        before = self._open.words[-1] if self._open.words else None
        ended = None
        if before and (ends_sentence(before.text) or word.start - before.end > _PAUSE):
            ended = self._close()
        if not self._open.words:
            self._open.language = self.asked
        self._open.words.append(word)
        return ended

    def tag(self, language: str, score: float) -> None:
        """A language tag; it comes at the end of what it speaks of."""
        if self.asked is None and self._open.words:
            self._open.language, self._open.score = language, score

    def finish(self) -> Segment | None:
        """The segment that is open, if it has a word."""
        return self._close() if self._open.words else None

    def pending(self) -> Segment | None:
        """The segment that is open, as far as it has come."""
        return _segment(self._open) if self._open.words else None

    def _close(self) -> Segment:
        segment = _segment(self._open)
        self._open = _Open()
        return segment


def text_of(words: list[Word] | tuple[Word, ...]) -> str:
    """The words as they are written, with spaces where the script has them."""
    return "".join(" " * word.space_before + word.text for word in words).strip()


def ends_sentence(text: str) -> bool:
    """Whether a word is the last of its sentence, by its punctuation."""
    return text.rstrip(_CLOSING).endswith(_SENTENCE_ENDS)


def _segment(said: _Open) -> Segment:
    words = tuple(said.words)
    return Segment(text_of(words), words, words[0].start, words[-1].end, said.language, said.score)
