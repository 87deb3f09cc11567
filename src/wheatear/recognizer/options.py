"""Options of a stream."""

from dataclasses import dataclass, field
from typing import Any

from wheatear.common.arguments import check_kind
from wheatear.decoder.beam import BeamRules
from wheatear.decoder.boosting import Phrase, as_phrases
from wheatear.model.languages import AUTO
from wheatear.transcript.formatting import TextFormat
from wheatear.transcript.turns import TurnRules


@dataclass(frozen=True)
class StreamOptions:
    """Options of a stream, or of the transcription of a file.

    Raises:
        OptionError: A value has the wrong type.
        PhraseError: The phrases are not a list of strings and `Phrase`s.
    """

    language: str = AUTO
    """A locale, a language that stands for one of its locales, or "auto"."""
    latency_ms: int | None = None
    """Latency mode in milliseconds; None is the default of the model."""
    turns: TurnRules = field(default_factory=TurnRules)
    """Rules that end a turn."""
    phrases: tuple[Phrase, ...] = ()
    """Names and terms to boost; any iterable of strings and `Phrase`s is taken."""
    beam: BeamRules | None = None
    """Options of beam search; None is greedy search, which is faster and adds no delay."""
    text_format: TextFormat = field(default_factory=TextFormat)
    """Formatting of the text."""
    keep: bool = True
    """True to keep all finals for `Stream.transcript`. If False, memory does not grow, and
    `Stream.finish` returns only the last turn."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "phrases", as_phrases(self.phrases))
        check_turns(self.turns)
        width = self.beam if isinstance(self.beam, int) else 4
        wanted = f"None or wheatear.BeamRules(width={width})"
        check_kind("beam", self.beam, (BeamRules, type(None)), wanted)
        check_kind(
            "text_format",
            self.text_format,
            TextFormat,
            "a wheatear.TextFormat, such as TextFormat()",
        )
        check_kind("keep", self.keep, bool, "True or False")


def check_turns(rules: Any) -> None:
    """Raises OptionError for anything but turn rules."""
    check_kind("turns", rules, TurnRules, "wheatear.TurnRules, such as TurnRules(end_ms=800)")
