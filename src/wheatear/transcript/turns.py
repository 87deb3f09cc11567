"""When a speaker has begun, might be done, goes on, is done: rules on words and silence alone.

    quiet --word--> speaking --eager_ms--> eager --end_ms--> quiet
                        ^                    |
                        +-------word---------+

    started    the first word of a turn
    eager      the speaker may be done; an agent may begin to think of an answer
    resumed    the speaker was not done after all: whatever was thought of is void
    ended      the turn is over; `forced` where the caller or the turn's length said so

Started opens a turn and ended closes it; eager and resumed alternate between them, and nothing
comes outside.  Times never run backwards.  Silence is counted from the last word or, if a voice is
listened for, from the last frame that had one after it.  The machine only looks on: it never
resets, delays or changes what is recognised, and its events do not depend on how the samples were
cut.

Source of the invariants: Deepgram's documentation of Flux, compared in the tests.
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
    """When a turn ends; milliseconds of silence after its last word.  Raises OptionError."""

    eager_ms: int = None  # type: ignore[assignment]
    """Until `eager`, which comes before `ended` or not at all; None: 400, or `end_ms` if less."""
    end_ms: int = 800
    """Until `ended`."""
    sentence_end_ms: int = 560
    """Until `ended`, where the text ends like a sentence."""
    longest_s: float = 30.0
    """A turn that has lasted so long ends before its next word."""
    voice: Voice = "energy"
    """What tells that somebody still speaks: words alone, loudness too, or a voice detector."""
    hold_ms: int = 1000
    """How long after the last word a voice without words keeps a turn from ending."""

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
    """The state of one stream's turns.  `rules` may be changed at any time."""

    def __init__(self, rules: TurnRules, voiced: Callable[[int], int] | None = None) -> None:
        """voiced: the last frame up to a given one in which there was a voice; -1 for none."""
        self.rules = rules
        self.voiced = voiced
        self.number = 0
        """Of the turn that is on, or of the last one; the first is 1."""
        self._state = _State.QUIET
        self._begun = 0
        self._spoken = 0
        """Frame of the last word's newest token."""
        self._now = 0
        """Frame that time has come to."""
        self._sentence = False
        """Whether the text ends like a sentence."""

    @property
    def on(self) -> bool:
        """Whether a turn is on."""
        return self._state is not _State.QUIET

    def letters(self, frame: int, begins_word: bool = True) -> list[Turn]:
        """A token with a letter or digit in it was emitted at this frame."""
        events = self.advance(frame)
        long = (frame - self._begun) * FRAME_MS >= 1000 * self.rules.longest_s
        if self.on and begins_word and long:
            events += self.force(frame)
        if self._state is _State.QUIET:
            self.number += 1
            self._begun = frame
            events.append(self._event("started", frame))
        elif self._state is _State.EAGER:
            events.append(self._event("resumed", frame))
        self._state = _State.SPEAKING
        self._spoken = frame
        self._sentence = False
        return events

    def sentence_ends(self, frame: int) -> list[Turn]:
        """Punctuation that ends a sentence was emitted; it is no speech, silence goes on."""
        events = self.advance(frame)
        self._sentence = True
        return events

    def advance(self, frame: int) -> list[Turn]:
        """Time has passed up to the beginning of this frame without a word."""
        before, self._now = self._now, max(self._now, frame)
        if not self.on:
            return []
        if self.voiced is None:
            return self._silence(before, frame, self._spoken)
        events: list[Turn] = []
        hold = self._spoken + self.rules.hold_ms // FRAME_MS
        for now in range(before + 1, frame + 1):  # as if every frame had come alone
            voice = min(self.voiced(now), hold)
            events += self._silence(now - 1, now, max(self._spoken, voice))
            if not self.on:
                break
        return events

    def _silence(self, before: int, frame: int, since: int) -> list[Turn]:
        """Time has passed from one frame to another; nobody has spoken since a third."""
        rules, events = self.rules, []
        end_ms = min(rules.end_ms, rules.sentence_end_ms) if self._sentence else rules.end_ms
        # Not in the past, where rules that were changed would have had them.
        eager, end = (max(before, since + _frames(ms)) for ms in (rules.eager_ms, end_ms))
        if self._state is _State.SPEAKING and frame >= eager and eager < end:
            self._state = _State.EAGER
            events.append(self._event("eager", eager))
        if frame >= end:
            self._state = _State.QUIET
            events.append(self._event("ended", end))
        return events

    def force(self, frame: int) -> list[Turn]:
        """Ends the turn that is on, here and now."""
        if not self.on:
            return []
        self._state = _State.QUIET
        return [self._event("ended", max(frame, self._now), forced=True)]

    def _event(self, kind: TurnKind, frame: int, forced: bool = False) -> Turn:
        return Turn(kind, self.number, frame * FRAME_MS / 1000, forced)


def _frames(milliseconds: int) -> int:
    return -(-milliseconds // FRAME_MS)
