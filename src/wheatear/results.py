"""What a transcription returns: plain frozen values, times in seconds from the first sample."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of the model's vocabulary, as emitted by the search.

    `start` is the time of the encoder frame that emitted it and `end` the end of that frame:
    they carry the model's own emission delay. Language tags are tokens too, with empty `text`.
    """

    id: int
    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Partial:
    """The text of a stream so far. It only ever grows: greedy search never takes a word back."""

    text: str
    """All text since the stream began."""
    tokens: tuple[Token, ...]
    """The tokens that are new in this event, language tags included."""
    start: float
    end: float
    """The part of the audio that the new tokens were heard in."""
    language: str | None
    """The locale asked for, or the one last detected; None as long as neither is known."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in a file or a finished stream."""

    text: str
    language: str | None
    duration: float
    """Length of the audio that went in."""
    tokens: tuple[Token, ...]
