"""One transcription: samples in, events and a transcript out."""

from collections.abc import Mapping, Sequence

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples, SamplesLike, as_samples
from wheatear.audio.vad import VoiceActivity
from wheatear.decoder.boosting import Phrase, as_phrases
from wheatear.errors import StreamClosedError, WheatearError
from wheatear.model.languages import AUTO
from wheatear.recognizer.engine import Engine, Step
from wheatear.recognizer.options import StreamOptions, check_turns
from wheatear.transcript.builder import TranscriptBuilder
from wheatear.transcript.formatting import TextFormatter
from wheatear.transcript.results import Event, Final, Partial, Transcript
from wheatear.transcript.turns import TurnRules
from wheatear.transcript.words import Delay

_MAX_SAMPLES = 10 * SAMPLE_RATE  # of a block that are computed before the rest of it


class Stream:
    """One live transcription. Open it with `Recognizer.stream`; use it from one thread at a time.

    Blocks of samples may have any length: the text depends on the samples only, never on the
    length of blocks.
    """

    def __init__(self, engine: Engine, options: StreamOptions, whole: bool = False) -> None:
        """Opens a stream; `Recognizer.stream` does it for callers.

        Args:
            engine: Runs the model.
            options: Options of the stream.
            whole: True if all audio is available, so that a step may take many chunks.
        """
        self.engine = engine
        self.state = engine.start(options, whole)
        """State of the stream in the engine."""
        self.last_events: tuple[Event, ...] = ()
        """The events of `finish`."""
        self._format = options.text_format
        model = engine.model
        self._builder = TranscriptBuilder(
            model.vocabulary, options.turns, options.keep, model.manifest.confidence
        )
        self._formatter = TextFormatter(options.text_format, options.phrases)
        self.voice: VoiceActivity | None = None
        """Detector of voice activity, if the turn rules name one."""
        self._events: list[Event] = []
        self._ended = False
        self._finished: Transcript | None = None
        self._format.check(self._locale(self.language))
        self._start_voice_activity()
        self._switch_builder()

    @staticmethod
    def _locale(language: str) -> str | None:
        return None if language == AUTO else language

    def _switch_builder(self) -> None:
        """Sets language and delays of the transcript to those of the state."""
        first_ms, last_ms = self.engine.model.manifest.delays_ms.get(self.latency_ms, (0, 0))
        self._builder.switch(self._locale(self.language), Delay(first_ms / 1000, last_ms / 1000))

    def _start_voice_activity(self) -> None:
        """Starts or stops the voice activity detection that the turn rules name."""
        kind = self._builder.machine.rules.voice
        if kind == "words":
            self.voice = self._builder.machine.voiced = None
        elif self.voice is None or self.voice.kind != kind:
            self.voice = VoiceActivity(kind, self.state.mel.samples)
            self._builder.machine.voiced = self.voice.last

    # -- for callers -------------------------------------------------------------------------------

    def push(self, samples: SamplesLike) -> list[Event]:
        """Takes samples and returns the new events.

        Args:
            samples: 16 kHz mono audio [n] of any length, int16 or float in -1 .. 1.

        Returns:
            Partials, turns and finals, under the contract of `wheatear.transcript.builder`.

        Raises:
            AudioError: The samples are invalid.
            StreamClosedError: The stream is finished.
        """
        push_samples(self.engine, {self: self.check_samples(samples)})
        return self.take_events()

    def finish(self) -> Transcript:
        """Transcribes the rest of the audio and returns the whole transcript.

        `last_events` then holds the events of this call. Further calls return the same transcript.
        """
        if self._finished is None:
            self.end_input()
            if self.state.mel.samples:
                for _, step in self.engine.advance([self.state]):
                    self.receive(step)
                self._commit()
            self._events += self._builder.finish(self.state.search.frames)
            self.last_events = tuple(self.take_events())
            self._finished = self.transcript
        return self._finished

    def end_turn(self) -> list[Event]:
        """Ends the current turn after the audio that was pushed; no events if there is none.

        Speech that continues without a pause belongs to the next turn: the model forgets nothing.
        """
        if self._finished is not None:
            return []
        self._commit()
        self._events += self._builder.force(self.state.search.frames)
        return self.take_events()

    def switch(
        self,
        *,
        language: str | None = None,
        latency_ms: int | None = None,
        phrases: Sequence[str | Phrase] | None = None,
    ) -> None:
        """Changes language, latency or boosted phrases from the next chunk on.

        Samples that were pushed and not yet computed, less than a chunk of them, already belong to
        the next chunk. The model forgets nothing.

        Args:
            language: A locale, a language or "auto"; None keeps the present one.
            latency_ms: Latency in milliseconds; None keeps the present one.
            phrases: Names and terms to boost; None keeps the present ones.

        Raises:
            LanguageError: The model does not know the language.
            LatencyError: The model has no such latency.
            PhraseError: The pieces of the model cannot spell a phrase.
        """
        mode, key = self.engine.resolve(
            self.language if language is None else language,
            self.latency_ms if latency_ms is None else latency_ms,
        )
        self._format.check(self._locale(key))
        if phrases is not None:
            given = as_phrases(phrases)
            self.engine.compile_phrases(given)
            self._commit()
            self.engine.boost(self.state, given)
            self._formatter = TextFormatter(self._format, given)
        self.engine.switch(self.state, mode, key)
        self._switch_builder()

    @property
    def turns(self) -> TurnRules:
        """Rules of when a turn ends; they may be replaced at any time."""
        return self._builder.machine.rules

    @turns.setter
    def turns(self, rules: TurnRules) -> None:
        check_turns(rules)
        before, self._builder.machine.rules = self.turns, rules
        try:
            self._start_voice_activity()
        except WheatearError:
            self._builder.machine.rules = before
            raise

    @property
    def latency_ms(self) -> int:
        """Latency of the next chunk."""
        return self.state.mode.latency_ms

    @property
    def language(self) -> str:
        """Language of the next chunk, as the model names it, or "auto"."""
        return self.state.language

    @property
    def duration(self) -> float:
        """Seconds of audio that were pushed."""
        return self.state.mel.samples / SAMPLE_RATE

    @property
    def earliest(self) -> float:
        """Time in seconds before which no further word begins."""
        return self._builder.earliest

    @property
    def transcript(self) -> Transcript:
        """The transcript of the audio that was pushed."""
        transcript = self._builder.transcript(self.duration)
        return transcript if self._formatter.plain else self._formatter.transcript(transcript)

    # -- for those who schedule the steps themselves -----------------------------------------------

    def check_samples(self, samples: SamplesLike) -> Samples:
        """Returns the samples as float32. Raises AudioError or StreamClosedError."""
        if self._ended:
            raise StreamClosedError("this stream is finished; open a new one for more audio")
        return as_samples(samples)

    def feed(self, samples: Samples) -> None:
        """Takes checked samples and computes their mel frames only."""
        if self.voice is not None:
            self.voice.push(samples)
        self.engine.feed(self.state, samples)

    def end_input(self) -> None:
        """Marks the end of the audio. After all steps that are then ready, `finish` computes
        nothing more."""
        if not self._ended:
            self._ended = True
            self._builder.duration = self.duration
            self.engine.end(self.state)

    def receive(self, step: Step) -> None:
        """Takes the result of a step of `state`."""
        self._events += self._builder.step(step.emissions, step.settled)

    def take_events(self) -> list[Event]:
        """Returns the events since the last call."""
        events, self._events = self._events, []
        if self._formatter.plain:
            return events
        return [written for event in events if (written := self._written(event)) is not None]

    def _commit(self) -> None:
        """Commits the best hypothesis of a beam search."""
        if (step := self.engine.commit(self.state)) is not None:
            self.receive(step)

    def _written(self, event: Event) -> Event | None:
        """Formats an event; None if there is nothing to show of it."""
        match event:
            case Partial():
                return self._formatter.partial(event)
            case Final():
                return self._formatter.final(event)
        return event


def push_samples(engine: Engine, blocks: Mapping[Stream, Samples]) -> None:
    """Feeds checked samples to streams of one engine and computes all complete chunks.

    No samples compute nothing, even after a switch to a shorter latency.
    """
    blocks = {stream: samples for stream, samples in blocks.items() if len(samples)}
    streams = list(blocks)
    states = [stream.state for stream in streams]
    longest = max(map(len, blocks.values()), default=0)
    for start in range(0, longest, _MAX_SAMPLES):
        for stream, samples in blocks.items():
            stream.feed(samples[start : start + _MAX_SAMPLES])
        for n, step in engine.advance(states):
            streams[n].receive(step)
