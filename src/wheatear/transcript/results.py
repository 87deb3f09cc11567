"""What a transcription returns: plain frozen values, times in seconds from the first sample."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of the model's vocabulary, as emitted by the search.

    `start` and `end` are corrected for the model's emission delay as those of words are, and lie
    inside the word that it is part of. Language tags are tokens too, with empty `text`.
    """

    id: int
    text: str
    start: float
    end: float
    confidence: float = field(default=1.0, compare=False)
    """How probable the model finds the token, 0 to 1, calibrated where the bundle says how.

    Not compared: its last bits depend on what is computed beside it, the token does not."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its punctuation; in scripts without spaces a unit of about that size."""

    text: str
    start: float
    end: float
    """Corrected for how late the model emits words at its latency."""
    confidence: float = field(compare=False)
    """Of its least sure token."""
    space_before: bool = True
    """Whether the script puts a space before it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A sentence, or what lies between two pauses of a second."""

    text: str
    words: tuple[Word, ...]
    start: float
    end: float
    language: str | None
    """The locale asked for, or the one that the model heard in this segment."""
    language_score: float | None = field(compare=False)
    """How sure the model was of the locale it heard, 0 to 1; None where it was told."""


@dataclass(frozen=True, slots=True)
class Partial:
    """What has been said in a turn so far. It only ever grows: greedy search never takes a word
    back.
    """

    text: str
    """All text of the turn."""
    words: tuple[Word, ...]
    """All its words, the one that is still being said among them."""
    start: float
    end: float
    """The audio since the last final."""
    language: str | None
    """The locale asked for, or the one last detected; None as long as neither is known."""
    tokens: tuple[Token, ...]
    """The tokens that no partial has told before, language tags included."""


@dataclass(frozen=True, slots=True)
class Final:
    """What was said in a turn, settled. Finals tile the audio; one without words is silence."""

    text: str
    words: tuple[Word, ...]
    start: float
    end: float
    language: str | None
    segments: tuple[Segment, ...]
    tokens: tuple[Token, ...]
    channel: int | None = None
    """Of a recording whose channels are transcribed apart, from 1."""


TurnKind = Literal["started", "eager", "resumed", "ended"]


@dataclass(frozen=True, slots=True)
class Turn:
    """Something about whose turn it is to speak; `wheatear.transcript.turns` says when it comes."""

    kind: TurnKind
    number: int
    """Of the turn, from 1."""
    time: float
    forced: bool = False
    """Whether it was ended by the caller or its length rather than by silence."""


Event = Partial | Final | Turn


def shifted(event: Event, seconds: float, turns: int = 0) -> Event:
    """The event as one of a longer stream: so much later, after so many turns."""
    if not seconds and not turns:
        return event
    if isinstance(event, Turn):
        return replace(event, number=event.number + turns, time=event.time + seconds)

    def later(value: Any, **more: Any) -> Any:
        return replace(value, start=value.start + seconds, end=value.end + seconds, **more)

    words, tokens = tuple(map(later, event.words)), tuple(map(later, event.tokens))
    if isinstance(event, Partial):
        return later(event, words=words, tokens=tokens)
    segments = tuple(later(s, words=tuple(map(later, s.words))) for s in event.segments)
    return later(event, words=words, tokens=tokens, segments=segments)


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in a file or a finished stream."""

    text: str
    language: str | None
    duration: float
    """Length of the audio that went in."""
    tokens: tuple[Token, ...]
    words: tuple[Word, ...] = ()
    segments: tuple[Segment, ...] = ()
    warnings: tuple[str, ...] = ()
    """A sentence for each thing that is missing or doubtful, as of a file that is cut off."""
