"""TranscriptBuilder: the events of a stream, and its transcript, from the tokens of its search.

The contract of events, for any audio and any cut of its samples:

* Finals tile the audio: the first starts at 0, each next one at the end of the last, and the one
  from `finish` ends with the audio. A final without words is silence.
* A final never changes. The tokens of all finals in order are those of the transcript.
* A partial has the text of its turn. Within a turn it only grows, and the final begins with it.
* Turn events obey `wheatear.transcript.turns`. The final of a turn comes after its `ended`, as soon
  as its text cannot grow: punctuation and language tag come late and belong to it.
* Times never run backwards.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from wheatear.audio.mel import FRAME_MS
from wheatear.decoder.search import Emission
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

_SETTLE_MS = 560  # after the end of a turn: maximum delay of its punctuation


class TranscriptBuilder:
    """Builds the events of one stream."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        rules: TurnRules,
        keep: bool,
        confidence: tuple[float, float] = (1.0, 0.0),
    ) -> None:
        """keep: True if `transcript` must have all finals.  confidence: scale and shift of it."""
        self.machine = TurnMachine(rules)
        self.language: str | None = None
        self.duration = math.inf
        """Length of the audio in seconds, once known; the last frames may lie beyond it."""
        self._calibration = confidence
        self._given_language: str | None = None
        self._keep = keep
        self._tags = vocabulary.tags
        self._detokenizer = Detokenizer(vocabulary)
        self._word_builder = WordBuilder()
        self._segment_builder = SegmentBuilder()
        self._finals: list[Final] = []
        self._start = 0.0
        """End of the last final."""
        self._now = 0.0
        """Time that the search has reached."""
        self._ended: Turn | None = None
        """End of a turn whose final has not come."""
        self._events: list[Event] = []
        self._clear_turn()

    def _clear_turn(self) -> None:
        self._tokens: list[Token] = []
        """Tokens of the open turn, at the frames that emitted them."""
        self._delays: list[Delay] = []
        """Delay of each token."""
        self._words: list[Word] = []
        self._segments: list[Segment] = []
        self._tokens_in_partials = 0
        self._tagged = False

    def switch(self, language: str | None, delay: Delay) -> None:
        """Sets the locale (None for auto) and the emission delay of further tokens."""
        self._given_language = self._segment_builder.language = language
        self.language = language or self.language
        self._word_builder.delay = delay

    def step(self, found: Sequence[Emission], frames: int) -> list[Event]:
        """Takes the tokens of a step of the search, which has reached `frames`."""
        for token, frame, probability in found:
            self._add(token, frame, calibrated(probability, self._calibration))
        newest = frames - 1
        self._now = self._time(newest)
        self._add_turns(self.machine.advance(newest))
        self._settle_in_time(newest)
        self._add_partial(self._now)
        return self._take_events()

    def force(self, frames: int) -> list[Event]:
        """Ends the open turn after `frames`."""
        self._add_turns(self.machine.force(frames - 1))
        return self._take_events()

    def finish(self, frames: int) -> list[Event]:
        """Ends the stream; `duration` has been set."""
        duration = self.duration
        # A character that was never completed, unless its tokens are in an earlier final.
        if (rest := self._detokenizer.finish()) and self._tokens:
            last = self._tokens.pop()
            self._tokens.append(replace(last, text=last.text + rest))
            self._add_words(self._word_builder.add(replace(last, text=rest)))
        self._add_turns(self.machine.force(frames - 1))
        if self._ended is not None:
            self._settle(duration)
        if self._tokens or duration > self._start:
            self._settle(duration)
        return self._take_events()

    def transcript(self, duration: float) -> Transcript:
        """Returns the transcript; without `keep` that of the open turn only."""
        finals = self._finals
        pending = self._segment_builder.pending()
        segments = [*self._segments, *([pending] if pending else [])]
        words = self._timed_words(duration)
        tokens = (*(t for f in finals for t in f.tokens), *self._timed_tokens(words, duration))
        return Transcript(
            _text(tokens),
            self.language,
            duration,
            tokens,
            (*(w for f in finals for w in f.words), *words),
            (*(s for f in finals for s in f.segments), *segments_within(segments, words)),
        )

    @property
    def earliest(self) -> float:
        """Time in seconds before which no word of a further final begins."""
        words = self._all_words()
        if words:
            return words[0].start
        return max(self._start, self._now - self._word_builder.delay.start)

    # -- tokens

    def _add(self, token: int, frame: int, confidence: float) -> None:
        text = self._detokenizer.add(token)
        if any(map(str.isalnum, text)):
            begins = self._word_builder.begins(text)
            self._add_turns(self.machine.letters(frame, begins))
        else:
            self._add_turns(self.machine.advance(frame))
        self._settle_in_time(frame)
        start = self._time(frame)
        added = Token(token, text, start, start + FRAME_MS / 1000, confidence)
        self._tokens.append(added)
        self._delays.append(self._word_builder.delay)
        self._add_words(self._word_builder.add(added))
        if (tag := self._tags.get(token)) is not None:
            # A tag is for the words before it, which must be complete.
            self._add_words(self._word_builder.finish())
            if self._given_language is None:
                self.language = tag
                self._tagged = True
                self._segment_builder.tag(tag, confidence)
        if text.strip() and ends_sentence(text):
            self._add_turns(self.machine.sentence_ends(frame))
        self._settle_if_complete()

    def _add_words(self, words: Sequence[Word]) -> None:
        for word in words:
            self._words.append(word)
            if (segment := self._segment_builder.word(word)) is not None:
                self._segments.append(segment)

    def _all_words(self) -> list[Word]:
        """Returns the words of the open turn, the incomplete one included."""
        pending = self._word_builder.pending()
        return self._words if pending is None else [*self._words, pending]

    def _timed_words(self, end: float) -> tuple[Word, ...]:
        return words_within(self._all_words(), self._start, end)

    def _timed_tokens(self, words: Sequence[Word], end: float) -> tuple[Token, ...]:
        return tokens_within(self._tokens, self._delays, words, self._start, end)

    def _time(self, frame: int) -> float:
        """Returns the time of the newest sample of a frame in seconds."""
        return min(frame * FRAME_MS / 1000, self.duration)

    # -- turns

    def _add_turns(self, events: Sequence[Turn]) -> None:
        for unlimited in events:
            event = replace(unlimited, time=min(unlimited.time, self.duration))
            if event.kind == "started":
                if self._ended is not None:
                    self._settle(self._ended.time)
            else:
                self._add_partial(event.time)
            self._events.append(event)
            if event.kind == "ended":
                self._ended = event
                if event.forced:
                    self._settle(event.time)
                else:
                    self._settle_if_complete()

    def _settle_if_complete(self) -> None:
        """Emits the final of an ended turn if nothing can be added to its text."""
        if self._ended is None or not self._tokens:
            return
        text = "".join(token.text for token in self._tokens).rstrip()
        tagged = self._tagged or self._given_language is not None or not self._tags
        if tagged and ends_sentence(text):
            self._settle(self._ended.time)

    def _settle_in_time(self, frame: int) -> None:
        """Emits the final of an ended turn if its punctuation has had time to come."""
        if self._ended is None:
            return
        if frame * FRAME_MS >= round(self._ended.time * 1000) + _SETTLE_MS:
            self._settle(self._ended.time)

    def _settle(self, end: float) -> None:
        """Emits the final of all text since the last one."""
        self._ended = None
        self._add_partial(end)
        self._add_words(self._word_builder.finish())
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
        self._clear_turn()

    # -- events

    def _add_partial(self, end: float) -> None:
        """Emits a partial if there are tokens that no partial had."""
        done, text = self._tokens_in_partials, _text(self._tokens)
        if done < len(self._tokens) and text:
            self._tokens_in_partials = len(self._tokens)
            # A turn that waits for its final is over at its end.
            end = max(self._ended.time if self._ended else end, self._tokens[-1].start)
            words = self._timed_words(end)
            tokens = self._timed_tokens(words, end)[done:]
            self._events.append(Partial(text, words, self._start, end, self.language, tokens))

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events


def _text(tokens: Sequence[Token]) -> str:
    return "".join(token.text for token in tokens).lstrip(" ")
