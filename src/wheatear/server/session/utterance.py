"""What is said up to some end, as a client gets it: text that only grows, told in deltas."""

from dataclasses import dataclass, field

from wheatear.transcript.results import Final, Partial, Token
from wheatear.transcript.segments import continued_text


@dataclass(kw_only=True)
class Utterance:
    """What has been said since the last end of a turn, commit or file."""

    text: str = ""
    """All of it."""
    settled: str = ""
    """The part of it that is final."""
    tokens: list[Token] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    """That were heard, or asked for, in the order in which they came."""
    told: int = 0
    """Characters that deltas have told."""
    tokens_told: int = 0

    def add(self, event: Partial | Final) -> None:
        """Takes in what is new in an event."""
        self.text = self.settled + continued_text(event, bool(self.settled))
        if isinstance(event, Partial):
            self.tokens += event.tokens
        else:
            self.settled = self.text
        if event.text and event.language and event.language not in self.languages:
            self.languages.append(event.language)

    def delta(self) -> tuple[str, list[Token]]:
        """What has been said and not been told, which it is now."""
        text, self.told = self.text[self.told :], len(self.text)
        tokens, self.tokens_told = self.tokens[self.tokens_told :], len(self.tokens)
        return text, tokens
