"""Segments: sentences, or words between two pauses; and the text of words and finals."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from wheatear.transcript.results import Final, Partial, Segment, Word

_MAX_PAUSE_S = 1.0  # between words of one segment
_SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！", "।", "؟", "۔")
_CLOSING = "\"'”’»)]』」）"


@dataclass
class _OpenSegment:
    words: list[Word] = field(default_factory=list)
    language: str | None = None
    score: float | None = None


class SegmentBuilder:
    """Groups the words of one stream into segments."""

    def __init__(self, language: str | None = None) -> None:
        self.language = language
        """Locale that the stream was given; None if language tags decide. It may change."""
        self._open = _OpenSegment()

    def word(self, word: Word) -> Segment | None:
        """Adds a word; returns the segment that ended before it, if one did."""
        previous = self._open.words[-1] if self._open.words else None
        ended = None
        if previous and (ends_sentence(previous.text) or word.start - previous.end > _MAX_PAUSE_S):
            ended = self.finish()
        if not self._open.words:
            self._open.language = self.language
        self._open.words.append(word)
        return ended

    def tag(self, language: str, score: float) -> None:
        """Applies a language tag, which the model emits after the words that it is for."""
        if self.language is None and self._open.words:
            self._open.language, self._open.score = language, score

    def finish(self) -> Segment | None:
        """Ends the open segment; returns it if it has a word."""
        segment = self.pending()
        self._open = _OpenSegment()
        return segment

    def pending(self) -> Segment | None:
        """Returns the unfinished segment; None if it has no word."""
        if not self._open.words:
            return None
        words = tuple(self._open.words)
        return Segment(
            join_words(words), words, words[0].start, words[-1].end,
            self._open.language, self._open.score,
        )  # fmt: skip


def join_words(words: Iterable[Word]) -> str:
    """Returns the text of words, with spaces where the script has them."""
    return "".join(" " * word.space_before + word.text for word in words).strip()


def join_finals(finals: Iterable[Final]) -> str:
    """Returns the text of finals, with spaces where the script has them."""
    parts: list[str] = []
    for final in finals:
        parts.append(continued_text(final, any(parts)))
    return "".join(parts)


def continued_text(event: Partial | Final, after_text: bool) -> str:
    """Returns the text of an event as it continues other text: with a space if it needs one."""
    space = after_text and event.words and event.words[0].space_before
    return f" {event.text}" if space else event.text


def ends_sentence(text: str) -> bool:
    """True if the punctuation of a word ends a sentence."""
    return text.rstrip(_CLOSING).endswith(_SENTENCE_ENDS)
