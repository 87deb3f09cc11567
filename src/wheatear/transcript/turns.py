"""Endpointing: the turns of a speaker, by rules on words and silence.

    quiet --word--> speaking --eager_ms--> eager --end_ms--> quiet
                        ^                    |
                        +-------word---------+

    started    first word of a turn
    eager      the speaker may be done; an agent may prepare an answer
    resumed    the speaker was not done; a prepared answer is void
    ended      the turn is over; `forced` if the caller or its length ended it

`started` opens a turn and `ended` closes it; `eager` and `resumed` alternate between them. Times
never run backwards. Silence begins at the last word, or with voice activity detection at the last
frame with voice after it. Turns change nothing in the recognition, and do not depend on the cut of
the samples.

Source of the invariants: Deepgram's documentation of Flux.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import get_args

from wheatear.audio.mel import FRAME_MS
from wheatear.audio.vad import Voice
from wheatear.common.arguments import check_number, shown
from wheatear.errors import OptionError
from wheatear.transcript.results import Turn, TurnKind

_EAGER_MS = 400


@dataclass(frozen=True, slots=True)
class TurnRules:
    """Rules for the end of a turn. Raises OptionError for values out of range."""

    eager_ms: int = None  # type: ignore[assignment]
    """Silence before `eager`, in milliseconds; None for 400, or `end_ms` if that is less."""
    end_ms: int = 800
    """Silence before `ended`, in milliseconds."""
    sentence_end_ms: int = 560
    """Silence before `ended` after the end of a sentence, in milliseconds."""
    longest_s: float = 30.0
    """Length in seconds after which a turn ends before its next word."""
    voice: Voice = "energy"
    """Evidence that someone speaks: words only, or also loudness, or also a voice detector."""
    hold_ms: int = 1000
    """Maximum delay of the end of a turn by voice activity without new words, in milliseconds."""

    def __post_init__(self) -> None:
        for name in ("end_ms", "sentence_end_ms"):
            check_number(name, getattr(self, name), FRAME_MS, 60_000, "milliseconds")
        if self.eager_ms is None:
            object.__setattr__(self, "eager_ms", min(_EAGER_MS, self.end_ms))
        check_number("eager_ms", self.eager_ms, FRAME_MS, 60_000, "milliseconds")
        if self.eager_ms > self.end_ms:
            raise OptionError(
                f"eager_ms is {self.eager_ms}, longer than end_ms ({self.end_ms}): the turn would "
                f"be over before it may be; give at most {self.end_ms} milliseconds"
            )
        check_number("hold_ms", self.hold_ms, 0, 60_000, "milliseconds")
        if not isinstance(self.voice, str) or self.voice not in get_args(Voice):
            raise OptionError(f"voice is {shown(self.voice)}; give {', '.join(get_args(Voice))}")
        check_number("longest_s", self.longest_s, 1, 3600, "seconds")


class _State(Enum):
    QUIET = "quiet"
    SPEAKING = "speaking"
    EAGER = "eager"


class TurnMachine:
    """State of the turns of one stream. `rules` may be changed at any time."""

    def __init__(self, rules: TurnRules, voiced: Callable[[int], int] | None = None) -> None:
        """voiced: returns the last frame with voice up to a frame, -1 for none."""
        self.rules = rules
        self.voiced = voiced
        self.number = 0
        """Number of the open or last turn, from 1."""
        self._state = _State.QUIET
        self._start_frame = 0
        self._word_frame = 0
        """Frame of the newest token with a letter."""
        self._frame = 0
        """Frame that the search has reached."""
        self._sentence_ended = False

    @property
    def on(self) -> bool:
        """True while a turn is open."""
        return self._state is not _State.QUIET

    def letters(self, frame: int, begins_word: bool = True) -> list[Turn]:
        """Takes a token with a letter or digit."""
        events = self.advance(frame)
        too_long = (frame - self._start_frame) * FRAME_MS >= 1000 * self.rules.longest_s
        if self.on and begins_word and too_long:
            events += self.force(frame)
        if self._state is _State.QUIET:
            self.number += 1
            self._start_frame = frame
            events.append(self._event("started", frame))
        elif self._state is _State.EAGER:
            events.append(self._event("resumed", frame))
        self._state = _State.SPEAKING
        self._word_frame = frame
        self._sentence_ended = False
        return events

    def sentence_ends(self, frame: int) -> list[Turn]:
        """Takes punctuation that ends a sentence; it does not interrupt silence."""
        events = self.advance(frame)
        self._sentence_ended = True
        return events

    def advance(self, frame: int) -> list[Turn]:
        """Moves time to the start of a frame, without a word."""
        before, self._frame = self._frame, max(self._frame, frame)
        if not self.on:
            return []
        if self.voiced is None:
            return self._silence(before, frame, self._word_frame)
        events: list[Turn] = []
        hold = self._word_frame + self.rules.hold_ms // FRAME_MS
        for now in range(before + 1, frame + 1):  # one by one, so that steps do not matter
            voice = min(self.voiced(now), hold)
            events += self._silence(now - 1, now, max(self._word_frame, voice))
            if not self.on:
                break
        return events

    def _silence(self, before: int, frame: int, since: int) -> list[Turn]:
        """Advances time from `before` to `frame`, with silence since frame `since`."""
        rules, events = self.rules, []
        end_ms = rules.end_ms
        if self._sentence_ended:
            end_ms = min(end_ms, rules.sentence_end_ms)
        # Events are not in the past, even if the rules were changed.
        eager, end = (max(before, since + _frames(ms)) for ms in (rules.eager_ms, end_ms))
        if self._state is _State.SPEAKING and frame >= eager and eager < end:
            self._state = _State.EAGER
            events.append(self._event("eager", eager))
        if frame >= end:
            self._state = _State.QUIET
            events.append(self._event("ended", end))
        return events

    def force(self, frame: int) -> list[Turn]:
        """Ends the open turn at a frame."""
        if not self.on:
            return []
        self._state = _State.QUIET
        return [self._event("ended", max(frame, self._frame), forced=True)]

    def _event(self, kind: TurnKind, frame: int, forced: bool = False) -> Turn:
        return Turn(kind, self.number, frame * FRAME_MS / 1000, forced)


def _frames(milliseconds: int) -> int:
    return -(-milliseconds // FRAME_MS)
