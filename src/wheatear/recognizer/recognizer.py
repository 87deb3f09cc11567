"""The public face: a model that transcribes files and opens streams.

    Recognizer.stream() -> Stream.push(samples) ... Stream.finish() -> Transcript

A `Recognizer` is immutable and shared by any number of streams and threads; all that a stream
remembers is its own. One pass is the same for all of them: samples become mel frames, mel frames
become chunks, every stream that has a chunk ready takes part in the next encoder step, and the
frames that come out are searched together.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from wheatear.audio.mel import SAMPLE_RATE, MelSpectrogram
from wheatear.audio.reader import AudioReader, open_audio
from wheatear.audio.samples import Samples, as_samples
from wheatear.audio.vad import VoiceActivity
from wheatear.common.arguments import check_kind, check_number, shown
from wheatear.decoder.beam import BeamSearch, BeamState
from wheatear.decoder.boosting import Phrase, PhraseTree, as_phrases
from wheatear.decoder.greedy import Decoder, DecoderState, Found
from wheatear.encoder.encoder import ChunkedEncoder, Encoder
from wheatear.encoder.silence import Idling, Silence, is_silent
from wheatear.errors import BundleError, OptionError, PhraseError, StreamClosedError, WheatearError
from wheatear.model.bundle import Bundle
from wheatear.model.languages import AUTO, resolve_language
from wheatear.model.latency import LatencyMode, choose_mode
from wheatear.model.onnx_session import default_threads
from wheatear.model.store import find_bundle
from wheatear.model.vocabulary import Vocabulary
from wheatear.recognizer.external.package import Package, open_model
from wheatear.recognizer.options import StreamOptions, check_turns
from wheatear.transcript.builder import TranscriptBuilder
from wheatear.transcript.formatting import TextFormatter
from wheatear.transcript.results import Event, Final, Partial, Transcript
from wheatear.transcript.turns import TurnRules
from wheatear.transcript.words import Delay

_MOST_SAMPLES = 10 * SAMPLE_RATE
_TREES = 16  # phrase trees that are kept, whether or not a stream has them
_FILE_FRAMES = 112  # encoder frames (9 s) per step of a file: weights are read once for all


def load(
    model: str | os.PathLike[str] | None = None, *, threads: int | None = None
) -> "Recognizer":
    """Loads a model: the path of a bundle or of a package of ONNX graphs that others exported
    (`wheatear.recognizer.external.package`), the name of one, or (None) the bundle shipped with
    Wheatear.

    `threads` is how many processors an encoder step may use; None takes those there are, at most
    eight. Raises ModelNotFoundError, BundleError for a damaged bundle, or OptionError.
    """
    if threads is not None:
        check_number("threads", threads, 1, 4096, whole=True)
    if model is not None:
        check_kind("model", model, (str, os.PathLike), "a name or a path")
    threads = threads or default_threads()
    bundle = open_model(find_bundle(model), threads)
    try:
        return Recognizer(bundle, threads)
    except WheatearError:
        raise
    except Exception as error:
        raise BundleError(
            f"the bundle {bundle.path} does not fit together ({type(error).__name__}: {error}); "
            f"convert the checkpoint again"
        ) from error


class Recognizer:
    """A loaded model. Make one with `wheatear.load`; share it freely."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self.bundle = bundle
        self._spectrogram = MelSpectrogram(bundle.manifest.features)
        self._encoder: ChunkedEncoder
        if isinstance(bundle, Package):
            self._encoder, self._decoder = bundle.encoder, bundle.decoder
        else:
            self._encoder, self._decoder = Encoder(bundle, threads), Decoder(bundle, threads)
        self._silence = Silence(bundle.manifest.encoder)
        self._beam_search = BeamSearch(self._decoder)
        self.vocabulary = Vocabulary.from_bundle(bundle)
        self._trees: dict[tuple[Phrase, ...], PhraseTree] = {}
        self._trees_in_use: WeakValueDictionary[tuple[Phrase, ...], PhraseTree] = (
            WeakValueDictionary()
        )

    @property
    def latencies_ms(self) -> tuple[int, ...]:
        """The latencies this model runs at."""
        return tuple(mode.latency_ms for mode in self.bundle.manifest.modes)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages it can be asked for, as its checkpoint names them; empty if it has one."""
        return tuple(self.bundle.manifest.prompts)

    def transcribe(
        self,
        audio: Any,
        options: StreamOptions | None = None,
        *,
        on_event: Callable[[Event], None] | None = None,
        **fields: Any,
    ) -> Transcript:
        """Transcribes audio from beginning to end, in memory that grows only with its text.

        The tokens are those of a stream at the same latency, computed several chunks at a time.
        Audio from a pipe may be live and is computed chunk by chunk. Audio that is cut off or
        damaged is transcribed as far as it can be read; `Transcript.warnings` has a sentence for
        each missing part. Where this method opened the audio, each is also an
        AudioTruncatedWarning.

        Args:
            audio: A path, "-" for standard input, a binary file object, an array of 16 kHz mono
                samples (float32 or int16), or an open `AudioReader`.
            options: Options as `stream` takes them. A `latency_ms` of None is the longest latency
                of the model, which is its most accurate one; for a pipe it is the default of
                streams.
            on_event: Function that is called with each event of the stream when it comes.
            **fields: Fields of `StreamOptions`, in place of those of `options`.

        Raises:
            AudioError: The audio cannot be opened, read or decoded.
            WheatearError: As `stream`.
        """
        if on_event is not None and not callable(on_event):
            raise OptionError(f"on_event is {shown(on_event)}; give a function of an event")
        reader = audio if isinstance(audio, AudioReader) else open_audio(audio)
        with closing(reader):
            options = _options(options, fields)
            options = replace(options, latency_ms=self.latency_of(reader, options.latency_ms))
            stream = Stream(self, options, whole=not reader.live)
            for block in reader:
                for event in stream.push(block):
                    if on_event is not None:
                        on_event(event)
        transcript = stream.finish()
        if on_event is not None:
            for event in stream.last_events:
                on_event(event)
        return replace(transcript, warnings=reader.warnings)

    def stream(self, options: StreamOptions | None = None, **fields: Any) -> "Stream":
        """Opens a live stream.

        Args:
            options: All options; the default ones if None.
            **fields: Fields of `StreamOptions`, in place of those of `options`:
                `stream(language="de", latency_ms=320)`.

        Raises:
            LanguageError: The model does not know the language.
            LatencyError: The model has no such latency.
            PhraseError: The pieces of the model cannot spell a phrase.
            OptionError: A value has the wrong type.
            MissingExtraError: The turn rules or the text format need what is not installed.
        """
        return Stream(self, _options(options, fields))

    def check(self, options: StreamOptions) -> None:
        """Raises what `stream` raises for these options."""
        _mode, language = self.choose(options.language, options.latency_ms)
        options.text_format.check(None if language == AUTO else language)
        self.understand(options.phrases)
        if options.turns.voice != "words":
            VoiceActivity(options.turns.voice)

    def push_many(self, blocks: Sequence[tuple["Stream", Any]]) -> list[list[Event]]:
        """Pushes samples into many streams of this recognizer, their chunks computed in batches.

        Each stream, of whatever language and latency, gets the text it would have had alone.
        Returns the new events of each pair (for a stream named twice, with the first). All
        samples are checked before any are taken, so that one stream's bad samples leave the
        others untouched.

        Raises AudioError, StreamClosedError, or OptionError for another recognizer's stream and for
        what is no pair of stream and samples.
        """
        pairs = _pairs(blocks)
        checked: dict[Stream, Samples] = {}
        for stream, samples in pairs:
            if stream._recognizer is not self:
                raise OptionError("a stream is pushed through the recognizer that opened it")
            before, new = checked.get(stream), stream._check(samples)
            checked[stream] = new if before is None else np.concatenate([before, new])
        longest = max(map(len, checked.values()), default=0)
        for start in range(0, longest, _MOST_SAMPLES):  # a long block is worked off in parts
            for stream, samples in checked.items():
                stream._accept(samples[start : start + _MOST_SAMPLES])
            self._advance(list(checked))
        events = {stream: stream.take_events() for stream in checked}
        return [events.pop(stream, []) for stream, _ in pairs]

    def ready(self, stream: "Stream", chunks: int = 1) -> int:
        """How many encoder frames the next step of a stream would take; 0 as long as it has to
        wait for more samples.

        chunks: how many chunks to take in one step; fewer only at the end.  Silence that needs
        no computing is passed on the way.
        """
        state, idling = stream._encoder_state, stream._idling
        while frames := self._encoder.ready(state, chunks):
            if not self._silence.skips(idling, state, frames):
                break
            stream._search.frames += frames
            stream._emit([])
        return frames

    def step(self, streams: Sequence["Stream"], frames: int) -> None:
        """Encodes and searches the next `frames` frames of each of these streams, which must be
        what `ready` says of every one of them; `Stream.take_events` then has what they say.

        Any number of streams of whatever mode and language take part in a step of one chunk (or
        of the rest at an end); in a step of several chunks only one stream.  Nothing is changed
        if the encoder fails.
        """
        silent = [is_silent(s._encoder_state, frames) for s in streams]
        encoded = self._encoder.step(
            [s._encoder_state for s in streams], frames, [s._prompt for s in streams]
        )
        found = self._searched(streams, [output.projected for output in encoded])
        for stream, tokens, quiet in zip(streams, found, silent, strict=True):
            # A beam moves in silence too: its scores do.
            if quiet and isinstance(stream._search, DecoderState):
                spoke = bool(tokens)
                self._silence.watch(stream._idling, stream._encoder_state, frames, spoke)
            else:
                stream._idling.reset()
            stream._emit(tokens)

    def choose(self, language: str, latency_ms: int | None) -> tuple[LatencyMode, str]:
        """The mode and the language, as the model names it, that a stream would run with.

        Raises LanguageError or LatencyError, as `stream` does.
        """
        manifest = self.bundle.manifest
        mode = choose_mode(manifest.modes, manifest.default_mode, latency_ms)
        return mode, resolve_language(manifest.prompts, language)

    @property
    def file_latency_ms(self) -> int:
        """The latency of files whose caller names none: the longest, as nothing waits for them."""
        return max(self.latencies_ms)

    def latency_of(self, audio: AudioReader, latency_ms: int | None = None) -> int | None:
        """The latency to transcribe some audio at, given the caller's wish."""
        if latency_ms is None and not audio.live:
            return self.file_latency_ms
        return latency_ms

    def can_write(self, phrase: str) -> bool:
        """Whether the model's pieces can write a phrase, so that it can be listened for."""
        try:
            PhraseTree(self.vocabulary, [Phrase(phrase)])
        except PhraseError:
            return False
        return True

    def understand(self, phrases: tuple[Phrase, ...]) -> PhraseTree | None:
        """The tree of some phrases; streams with the same ones share it, so that who understands
        a long list beforehand opens streams at once.  Raises PhraseError.
        """
        if not phrases:
            return None
        if (tree := self._trees.get(phrases) or self._trees_in_use.get(phrases)) is None:
            tree = PhraseTree(self.vocabulary, phrases)
            self._trees_in_use[phrases] = tree
            if len(self._trees) >= _TREES:
                self._trees.pop(next(iter(self._trees)), None)
            self._trees[phrases] = tree
        return tree

    def _advance(self, streams: Sequence["Stream"]) -> None:
        """Encodes and searches all that is ready in these streams, in as few steps as it takes."""
        while True:
            groups: dict[int, list[Stream]] = {}
            for stream in streams:
                if frames := self.ready(stream, stream._chunks_per_step):
                    groups.setdefault(frames, []).append(stream)
            if not groups:
                return
            for frames, group in groups.items():
                # Many chunks at a time are computed for one stream at a time.
                alone = [s for s in group if frames > s._mode.chunk]
                together = [s for s in group if frames <= s._mode.chunk]
                for batch in [*([s] for s in alone), *([together] if together else [])]:
                    self.step(batch, frames)

    def _searched(
        self, streams: Sequence["Stream"], projected: Sequence[NDArray[np.float32]]
    ) -> list[list[Found]]:
        """The tokens that the next frames of each stream bring, by the search it asked for."""
        found: list[list[Found]] = [[] for _ in streams]
        greedy = {
            n: s._search for n, s in enumerate(streams) if isinstance(s._search, DecoderState)
        }
        wide = {n: s._search for n, s in enumerate(streams) if isinstance(s._search, BeamState)}
        if greedy:
            rows = self._decoder.step(list(greedy.values()), [projected[n] for n in greedy])
            found = _placed(found, greedy, rows)
        if wide:
            rows = self._beam_search.step(list(wide.values()), [projected[n] for n in wide])
            found = _placed(found, wide, rows)
        return found


class Stream:
    """One live transcription. Open it with `Recognizer.stream`; use it from one thread at a time.

    Samples may come in blocks of any length: the text depends on the samples alone, never on how
    they were cut.
    """

    def __init__(self, recognizer: Recognizer, options: StreamOptions, whole: bool = False) -> None:
        """whole: whether all of the audio is there, so that many chunks can be computed at once."""
        self._recognizer = recognizer
        mode, language = recognizer.choose(options.language, options.latency_ms)
        phrases = options.phrases
        self._chunks_per_step = max(1, _FILE_FRAMES // mode.chunk) if whole else 1
        self._spectrogram, self._encoder = recognizer._spectrogram, recognizer._encoder
        self._mel_state = self._spectrogram.start()
        self._encoder_state = self._encoder.start(mode)
        self._idling = Idling()
        tree = recognizer.understand(phrases)
        self._search: DecoderState | BeamState = (
            recognizer._decoder.start(tree)
            if options.beam is None
            else recognizer._beam_search.start(options.beam, tree)
        )
        self._builder = TranscriptBuilder(
            recognizer.vocabulary, options.turns, options.keep,
            recognizer.bundle.manifest.confidence,
        )  # fmt: skip
        self._text_format = options.text_format
        self._writer = TextFormatter(options.text_format, phrases)
        self._voice: VoiceActivity | None = None
        self._listen_for_voice()
        self._set(mode, language)
        self._events: list[Event] = []
        self._ended = False
        self._finished: Transcript | None = None
        self.last_events: tuple[Event, ...] = ()
        """The events that `finish` brought, for those who follow events only."""

    def _set(self, mode: LatencyMode, language: str) -> None:
        bundle = self._recognizer.bundle
        manifest = bundle.manifest
        asked = None if language == AUTO else language
        self._text_format.check(asked)
        self._recognizer._silence.wake(self._idling, self._encoder_state)
        self._mode = self._encoder_state.mode = mode
        self._key = language
        self._prompt = None
        if manifest.prompts:
            self._prompt = self._encoder.language(manifest.prompts[language])
        late = manifest.delays_ms.get(mode.latency_ms, (0, 0))
        self._builder.switch(asked, Delay(*(ms / 1000 for ms in late)))

    def _listen_for_voice(self) -> None:
        """Makes sure that what the turns' rules listen to is there."""
        kind = self._builder.machine.rules.voice
        if kind == "words":
            self._voice = self._builder.machine.voiced = None
        elif self._voice is None or self._voice.kind != kind:
            self._voice = VoiceActivity(kind, self._mel_state.samples)
            self._builder.machine.voiced = self._voice.last

    def switch(
        self,
        *,
        language: str | None = None,
        latency_ms: int | None = None,
        phrases: Sequence[str | Phrase] | None = None,
    ) -> None:
        """Goes on in another language, at another latency, or listening for other phrases, from
        the next chunk on.

        Samples that were pushed and not yet computed, less than a chunk of them, already count
        as the next chunk. The model forgets nothing of what it has heard. None leaves things as
        they are.

        Raises LanguageError, LatencyError or PhraseError, and then changes nothing.
        """
        latency = self._mode.latency_ms if latency_ms is None else latency_ms
        mode, key = self._recognizer.choose(self._key if language is None else language, latency)
        if phrases is not None:
            self._listen_for(phrases)
        self._set(mode, key)

    def _listen_for(self, phrases: Sequence[str | Phrase]) -> None:
        given = as_phrases(phrases)
        tree = self._recognizer.understand(given)
        self._settle_search()
        self._search.listen_for(tree)
        self._writer = TextFormatter(self._text_format, given)

    @property
    def turns(self) -> TurnRules:
        """When a turn ends; may be set at any time and holds from then on."""
        return self._builder.machine.rules

    @turns.setter
    def turns(self, rules: TurnRules) -> None:
        check_turns(rules)
        before, self._builder.machine.rules = self.turns, rules
        try:
            self._listen_for_voice()
        except WheatearError:
            self._builder.machine.rules = before
            raise

    def end_turn(self) -> list[Event]:
        """Ends the turn that is on, after what has been heard so far; nothing if none is.

        What is said without a pause goes on in the next turn: the model forgets nothing.
        """
        if self._finished is not None:
            return []
        self._settle_search()
        self._events += self._builder.force(self._search.frames)
        return self.take_events()

    def _settle_search(self) -> None:
        """Ends what a beam argues over."""
        if isinstance(self._search, BeamState):
            self._emit(self._search.settle_all())

    def push(self, samples: Any) -> list[Event]:
        """Takes 16 kHz mono samples (float32 in -1 .. 1, or int16; any length) and returns the
        new events: partials, turns and finals, under the contract of `wheatear.transcript.builder`.

        Raises AudioError for anything else, StreamClosedError after `finish`.
        """
        return self._recognizer.push_many([(self, samples)])[0]

    def finish(self) -> Transcript:
        """Transcribes what is left, down to the last frame, and returns the whole transcript.

        `last_events` then holds the events that this brought. May be called again; the answer is
        the same.
        """
        if self._finished is None:
            self.end()
            if self._mel_state.samples:
                self._recognizer._advance([self])
                self._settle_search()
            self._events += self._builder.finish(self._search.frames)
            self.last_events = tuple(self.take_events())
            self._finished = self.transcript
        return self._finished

    # -- for those who decide themselves what is computed when, as the scheduler does -------------

    def feed(self, samples: Any) -> None:
        """Takes samples as `push` does, and computes nothing but their mel."""
        self._accept(self._check(samples))

    def wants(self, chunks: int = 1) -> int:
        """How many more samples it takes until a step of so many chunks is ready."""
        frames = self._encoder.wants(self._encoder_state, chunks)
        return self._spectrogram.samples_for(self._mel_state, frames) if frames > 0 else 0

    def end(self) -> None:
        """Says that no more samples will come; what is left can then be stepped through, and
        `finish` has nothing more to compute."""
        if self._ended:
            return
        self._ended = True
        self._builder.duration = self.duration
        if self._mel_state.samples:
            self._encoder.feed(self._encoder_state, self._spectrogram.finish(self._mel_state))
            self._encoder.end(self._encoder_state)

    def take_events(self) -> list[Event]:
        """The events since they were last taken."""
        events, self._events = self._events, []
        if self._writer.plain:
            return events
        return [written for event in events if (written := self._written(event)) is not None]

    @property
    def latency_ms(self) -> int:
        """The latency it runs at now."""
        return self._mode.latency_ms

    @property
    def language(self) -> str:
        """The language it was asked for, as the model names it, or "auto"."""
        return self._key

    @property
    def duration(self) -> float:
        """Seconds of audio taken so far."""
        return self._mel_state.samples / SAMPLE_RATE

    @property
    def earliest(self) -> float:
        """No word that a final has yet to tell begins before this time, seconds."""
        return self._builder.earliest

    @property
    def transcript(self) -> Transcript:
        """What has been said so far."""
        transcript = self._builder.transcript(self.duration)
        return transcript if self._writer.plain else self._writer.transcript(transcript)

    # -- the recognizer's side -------------------------------------------------------------------

    def _check(self, samples: Any) -> Samples:
        if self._ended:
            raise StreamClosedError("this stream is finished; open a new one for more audio")
        return as_samples(samples)

    def _accept(self, samples: Samples) -> None:
        if self._voice is not None:
            self._voice.push(samples)
        self._encoder.feed(self._encoder_state, self._spectrogram.push(self._mel_state, samples))

    def _emit(self, found: Sequence[Found]) -> None:
        """Takes what the search found in its last step."""
        self._events += self._builder.step(found, self._search.settled)

    def _written(self, event: Event) -> Event | None:
        """The event in the stream's form."""
        match event:
            case Partial():
                return self._writer.partial(event)
            case Final():
                return self._writer.final(event)
        return event


def _options(given: StreamOptions | None, fields: dict[str, Any]) -> StreamOptions:
    options = StreamOptions() if given is None else given
    check_kind("options", options, StreamOptions, "StreamOptions, or options by their names")
    return replace(options, **fields)


def _pairs(blocks: Any) -> list[tuple[Stream, Any]]:
    """Raises OptionError for what is no list of pairs of stream and samples."""
    check_kind("blocks", blocks, Iterable, "a list of pairs of stream and samples")
    pairs = list(blocks)
    for pair in pairs:
        two = isinstance(pair, tuple | list) and len(pair) == 2
        if not two or not isinstance(pair[0], Stream):
            raise OptionError(f"one of the blocks is {shown(pair)}; give pairs (stream, samples)")
    return pairs


def _placed(
    found: list[list[Found]], places: Iterable[int], rows: Sequence[list[Found]]
) -> list[list[Found]]:
    """The list with these rows in their places."""
    by_place = dict(zip(places, rows, strict=True))
    return [by_place.get(n, row) for n, row in enumerate(found)]
