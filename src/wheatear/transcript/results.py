"""Results of a transcription: frozen values, times in seconds from the first sample."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of the model's vocabulary, as emitted by the search.

    `start` and `end` are corrected for the model's emission delay, and lie inside the word that the
    token is part of. Language tags are tokens too, with empty `text`.
    """

    id: int
    text: str
    start: float
    end: float
    confidence: float = field(default=1.0, compare=False)
    """Probability of the token, 0 to 1, calibrated if the bundle has a calibration.

    It is not compared: its last bits depend on the batch, the token does not."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its punctuation; in scripts without spaces a unit of about that size."""

    text: str
    start: float
    end: float
    """`start` and `end` are corrected for the model's emission delay."""
    confidence: float = field(compare=False)
    """Confidence of its least confident token."""
    space_before: bool = True
    """True if the script has a space before the word."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A sentence, or the words between two pauses of a second."""

    text: str
    words: tuple[Word, ...]
    start: float
    end: float
    language: str | None
    """Locale given by the caller, or detected in this segment."""
    language_score: float | None = field(compare=False)
    """Confidence of the detected locale, 0 to 1; None if the caller gave it."""


@dataclass(frozen=True, slots=True)
class Partial:
    """Text of an open turn. It only grows: greedy search never takes a word back."""

    text: str
    words: tuple[Word, ...]
    """All words of the turn, the incomplete last one included."""
    start: float
    end: float
    """`start` and `end` are those of the audio since the last final."""
    language: str | None
    """Locale given by the caller or detected last; None before the first detection."""
    tokens: tuple[Token, ...]
    """Tokens since the last partial, language tags included."""


@dataclass(frozen=True, slots=True)
class Final:
    """Final text of a turn. Finals tile the audio; a final without words is silence."""

    text: str
    words: tuple[Word, ...]
    start: float
    end: float
    language: str | None
    segments: tuple[Segment, ...]
    tokens: tuple[Token, ...]
    channel: int | None = None
    """Number of its channel, from 1, if channels are transcribed separately."""


TurnKind = Literal["started", "eager", "resumed", "ended"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A change in the state of a turn; `wheatear.transcript.turns` defines the changes."""

    kind: TurnKind
    number: int
    """Number of the turn, from 1."""
    time: float
    forced: bool = False
    """True if the caller or the maximum length ended the turn, not silence."""


Event = Partial | Final | Turn


def shifted(event: Event, seconds: float, turns: int = 0) -> Event:
    """Returns an event moved by `seconds`, with `turns` added to the number of its turn."""
    if not seconds and not turns:
        return event
    if isinstance(event, Turn):
        return replace(event, number=event.number + turns, time=event.time + seconds)

    def later(value: Any, **changes: Any) -> Any:
        return replace(value, start=value.start + seconds, end=value.end + seconds, **changes)

    words, tokens = tuple(map(later, event.words)), tuple(map(later, event.tokens))
    if isinstance(event, Partial):
        return later(event, words=words, tokens=tokens)
    segments = tuple(later(s, words=tuple(map(later, s.words))) for s in event.segments)
    return later(event, words=words, tokens=tokens, segments=segments)


@dataclass(frozen=True, slots=True)
class Transcript:
    """Transcript of a file or a finished stream."""

    text: str
    language: str | None
    duration: float
    """Length of the audio."""
    tokens: tuple[Token, ...]
    words: tuple[Word, ...] = ()
    segments: tuple[Segment, ...] = ()
    warnings: tuple[str, ...] = ()
    """Sentences about missing or doubtful audio, such as a file that is cut off."""
