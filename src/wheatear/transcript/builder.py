"""What a stream says: partials, turns, finals, and at the end the transcript.

The contract, whatever the audio and however it was cut:

* Finals tile the audio: the first begins at 0, each next one where the last ended, and the one
  that `finish` brings ends with the audio.  A final without words is silence.
* What a final says is never said again and never changes.  The tokens of all finals, one after the
  other, are those of the transcript.
* A partial tells the text of its turn so far; inside a turn it only ever grows, and the final of
  the turn begins with it.
* Turn events obey `wheatear.transcript.turns`.  A turn's final comes after its `ended`, as soon as
its
  text cannot grow any more: punctuation and language tag come late and still belong to it.
* Times never run backwards.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from wheatear.audio.mel import FRAME_MS
from wheatear.decoder.greedy import Found
from wheatear.model.vocabulary import Vocabulary
from wheatear.transcript.detokenizer import Detokenizer
from wheatear.transcript.results import (
    Event,
    Final,
    Partial,
    Segment,
    Token,
    Transcript,
    Turn,
    Word,
)
from wheatear.transcript.segments import SegmentBuilder, ends_sentence
from wheatear.transcript.timing import segments_within, tokens_within, words_within
from wheatear.transcript.turns import TurnMachine, TurnRules
from wheatear.transcript.words import Delay, WordBuilder, calibrated

_SETTLE_MS = 560  # after a turn's end: punctuation that has not come by then is not coming


class TranscriptBuilder:
    """Makes the events of one stream from what its search finds."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        rules: TurnRules,
        keep: bool,
        confidence: tuple[float, float] = (1.0, 0.0),
    ) -> None:
        """keep: whether the transcript will be wanted.  confidence: how it is calibrated."""
        self._calibration = confidence
        self.machine = TurnMachine(rules)
        self.language: str | None = None
        self.duration = math.inf
        """Seconds of audio, once that is known; the last frames may lie beyond."""
        self._asked: str | None = None
        self._keep = keep
        self._tags = vocabulary.tags
        self._detokenizer = Detokenizer(vocabulary)
        self._word_builder = WordBuilder()
        self._segment_builder = SegmentBuilder()
        self._finals: list[Final] = []
        self._tokens: list[Token] = []
        """Of the turn that is being said, like the next three, at the frames that emitted them."""
        self._delays: list[Delay] = []
        """Of each of these tokens."""
        self._words: list[Word] = []
        self._segments: list[Segment] = []
        self._told = 0
        """Tokens that partials have told."""
        self._start = 0.0
        self._now = 0.0
        """Time that the search has come to."""
        self._tagged = False
        self._waiting: Turn | None = None
        """The end of a turn whose final has not come."""
        self._events: list[Event] = []

    def switch(self, asked: str | None, delay: Delay) -> None:
        """From now on in this locale (None for auto), words being emitted so late."""
        self._asked = self._segment_builder.language = asked
        self.language = asked or self.language
        self._word_builder.delay = delay

    def step(self, found: Sequence[Found], frames: int) -> list[Event]:
        """The search has come to so many frames, found these tokens on its way."""
        for token, frame, probability in found:
            self._add(token, frame, calibrated(probability, self._calibration))
        newest = frames - 1
        self._now = self._time(newest)
        self._turn_events(self.machine.advance(newest))
        self._settle_in_time(newest)
        self._tell(self._now)
        return self._take()

    def force(self, frames: int) -> list[Event]:
        """Ends the turn that is on after so many frames."""
        self._turn_events(self.machine.force(frames - 1))
        return self._take()

    def finish(self, frames: int) -> list[Event]:
        """The audio has ended; `duration` has been set."""
        duration = self.duration
        # A character that was never completed, unless it was left behind by an earlier final.
        if (rest := self._detokenizer.finish()) and self._tokens:
            last = self._tokens.pop()
            self._tokens.append(replace(last, text=last.text + rest))
            self._take_words(self._word_builder.add(replace(last, text=rest)))
        self._turn_events(self.machine.force(frames - 1))
        if self._waiting is not None:
            self._settle(duration)
        if self._tokens or duration > self._start:
            self._settle(duration)
        return self._take()

    def transcript(self, duration: float) -> Transcript:
        """Everything so far; of a stream that keeps nothing, the turn that is being said."""
        finals = self._finals
        open_segment = self._segment_builder.pending()
        segments = [*self._segments, *([open_segment] if open_segment else [])]
        words = self._timed_words(duration)
        tokens = (*(t for f in finals for t in f.tokens), *self._timed_tokens(words, duration))
        return Transcript(
            "".join(token.text for token in tokens).lstrip(" "),
            self.language,
            duration,
            tokens,
            (*(w for f in finals for w in f.words), *words),
            (*(s for f in finals for s in f.segments), *segments_within(segments, words)),
        )

    @property
    def earliest(self) -> float:
        """No word that a final has yet to tell begins before this time, seconds."""
        begun = (*self._words, *self._pending())
        if begun:
            return begun[0].start
        return max(self._start, self._now - self._word_builder.delay.start)

    # -- tokens

    def _add(self, token: int, frame: int, confidence: float) -> None:
        text = self._detokenizer.add(token)
        tag = self._tags.get(token)
        if any(map(str.isalnum, text)):
            begins = self._word_builder.begins(text)
            self._turn_events(self.machine.letters(frame, begins))
        else:
            self._turn_events(self.machine.advance(frame))
        self._settle_in_time(frame)
        start = self._time(frame)
        self._put(Token(token, text, start, start + FRAME_MS / 1000, confidence), tag)
        if text.strip() and ends_sentence(text):
            self._turn_events(self.machine.sentence_ends(frame))
        self._settle_if_whole()

    def _put(self, token: Token, tag: str | None) -> None:
        """Takes a token into the turn."""
        self._tokens.append(token)
        self._delays.append(self._word_builder.delay)
        self._take_words(self._word_builder.add(token))
        if tag is None:
            return
        # A tag speaks of what came before it, so that must be whole.
        self._take_words(self._word_builder.finish())
        if self._asked is None:
            self.language = tag
            self._tagged = True
            self._segment_builder.tag(tag, token.confidence)

    def _take_words(self, words: Sequence[Word]) -> None:
        for word in words:
            self._words.append(word)
            if (segment := self._segment_builder.word(word)) is not None:
                self._segments.append(segment)

    def _pending(self) -> list[Word]:
        word = self._word_builder.pending()
        return [] if word is None else [word]

    def _timed_words(self, end: float) -> tuple[Word, ...]:
        """The words of the turn, none of them after its end."""
        return words_within((*self._words, *self._pending()), self._start, end)

    def _timed_tokens(self, words: Sequence[Word], end: float) -> tuple[Token, ...]:
        """The tokens of the turn inside its words."""
        return tokens_within(self._tokens, self._delays, words, self._start, end)

    def _time(self, frame: int) -> float:
        """When the newest sample of a frame was said, seconds."""
        return min(frame * FRAME_MS / 1000, self.duration)

    # -- turns

    def _turn_events(self, events: Sequence[Turn]) -> None:
        for given in events:
            event = replace(given, time=min(given.time, self.duration))
            if event.kind == "started":
                if self._waiting is not None:
                    self._settle(self._waiting.time)
            else:
                self._tell(event.time)
            self._events.append(event)
            if event.kind == "ended":
                self._waiting = event
                if event.forced:
                    self._settle(event.time)
                else:
                    self._settle_if_whole()

    def _settle_if_whole(self) -> None:
        """Gives the final of a turn that has ended and has all that it can still get."""
        if self._waiting is None or not self._tokens:
            return
        text = "".join(token.text for token in self._tokens).rstrip()
        tagged = self._tagged or self._asked is not None or not self._tags
        if tagged and ends_sentence(text):
            self._settle(self._waiting.time)

    def _settle_in_time(self, frame: int) -> None:
        if self._waiting is None:
            return
        if frame * FRAME_MS >= round(self._waiting.time * 1000) + _SETTLE_MS:
            self._settle(self._waiting.time)

    def _settle(self, end: float) -> None:
        """Gives the final of all that has been said since the last one."""
        self._waiting = None
        self._tell(end)
        self._take_words(self._word_builder.finish())
        if (segment := self._segment_builder.finish()) is not None:
            self._segments.append(segment)
        end = max(end, self._start, *(token.start for token in self._tokens[-1:]))
        words = self._timed_words(end)
        final = Final(
            _text(self._tokens), words, self._start, end, self.language,
            segments_within(self._segments, words), self._timed_tokens(words, end),
        )  # fmt: skip
        self._events.append(final)
        if self._keep:
            self._finals.append(final)
        self._start = end
        self._word_builder.not_before(end)
        self._tokens, self._delays, self._words, self._segments = [], [], [], []
        self._told, self._tagged = 0, False

    # -- events

    def _tell(self, until: float) -> None:
        """Gives a partial, if there are tokens that none has told."""
        told, text = self._told, _text(self._tokens)
        if told < len(self._tokens) and text:
            self._told = len(self._tokens)
            # A turn that waits for its final is over, whatever the clock says.
            until = self._waiting.time if self._waiting else until
            until = max(until, self._tokens[-1].start)
            words = self._timed_words(until)
            new = self._timed_tokens(words, until)[told:]
            self._events.append(Partial(text, words, self._start, until, self.language, new))

    def _take(self) -> list[Event]:
        events, self._events = self._events, []
        return events


def _text(tokens: Sequence[Token]) -> str:
    return "".join(token.text for token in tokens).lstrip(" ")
