"""The growing text of an utterance, and its deltas."""

from dataclasses import dataclass, field

from wheatear.transcript.results import Final, Partial, Token
from wheatear.transcript.segments import continued_text


@dataclass(kw_only=True)
class Utterance:
    """The text since the last boundary: the end of a turn, a commit, the start of a stream."""

    text: str = ""
    """The whole text."""
    settled: str = ""
    """The text of finals."""
    tokens: list[Token] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    """Languages of the text, in the order of their first use."""
    sent: int = 0
    """Number of characters in deltas."""
    sent_tokens: int = 0
    """Number of tokens in deltas."""

    def add(self, event: Partial | Final) -> None:
        """Adds the text of an event."""
        self.text = self.settled + continued_text(event, bool(self.settled))
        if isinstance(event, Partial):
            self.tokens += event.tokens
        else:
            self.settled = self.text
        if event.text and event.language and event.language not in self.languages:
            self.languages.append(event.language)

    def delta(self) -> tuple[str, list[Token]]:
        """Returns the text and the tokens that no earlier delta has."""
        text, self.sent = self.text[self.sent :], len(self.text)
        tokens, self.sent_tokens = self.tokens[self.sent_tokens :], len(self.tokens)
        return text, tokens
