"""The public face: a model that transcribes files and opens streams.

    Recognizer.stream() -> Stream.push(samples) ... Stream.finish() -> Transcript

A `Recognizer` is immutable and shared by any number of streams and threads; all that a stream
remembers is its own. One pass is the same for all of them: samples become mel frames, mel frames
become chunks, every stream that has a chunk ready takes part in the next encoder step, and the
frames that come out are searched together.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wheatear.audio import AudioReader, Samples, as_samples, open_audio
from wheatear.bundle import Bundle, find_bundle, open_bundle
from wheatear.decoder import Decoder, Found
from wheatear.encoder import Encoder
from wheatear.errors import BundleError, StreamClosedError, WheatearError
from wheatear.features import SAMPLE_RATE, MelSpectrogram
from wheatear.languages import AUTO, resolve_language
from wheatear.latency import LatencyMode, choose_mode
from wheatear.results import Event, Transcript
from wheatear.sessions import default_threads
from wheatear.text import Vocabulary
from wheatear.transcript import TranscriptBuilder
from wheatear.turns import TurnRules
from wheatear.words import Delay

_MOST_SAMPLES = 10 * SAMPLE_RATE
_FILE_FRAMES = 112  # encoder frames (9 s) per step of a file: weights are read once for all


def load(
    model: str | os.PathLike[str] | None = None, *, threads: int | None = None
) -> "Recognizer":
    """Loads a model: a bundle's path, the name of one, or (None) the one shipped with Wheatear.

    `threads` is how many processors an encoder step may use; None takes those there are, at most
    eight. Raises ModelNotFoundError, or BundleError for a damaged bundle.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be 1 or more, not {threads}")
    bundle = open_bundle(find_bundle(model))
    try:
        return Recognizer(bundle, threads or default_threads())
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
        self._encoder = Encoder(bundle, threads)
        self._decoder = Decoder(bundle)
        self._vocabulary = Vocabulary(bundle)

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
        *,
        language: str = AUTO,
        latency_ms: int | None = None,
        on_event: Callable[[Event], None] | None = None,
        turns: TurnRules = TurnRules(),  # noqa: B008  (frozen)
        keep: bool = True,
    ) -> Transcript:
        """Transcribes audio from beginning to end, in memory that grows with its text alone.

        `audio` is a path, "-" for standard input, a binary file object, an array of 16 kHz mono
        samples (float32 or int16), or audio already opened. The tokens are those of a stream at
        the same latency, several chunks computed at a time; audio of unknown length may be live
        and is computed chunk by chunk. `on_event` is called with the events of a stream as they
        come; with `keep` false they are all there is, and memory does not grow at all.

        Raises AudioError, LanguageError, LatencyError.
        """
        mode, key = self._choose(language, latency_ms)
        reader = audio if isinstance(audio, AudioReader) else open_audio(audio)
        live = reader.duration is None
        chunks = 1 if live else max(1, _FILE_FRAMES // mode.chunk)
        stream = Stream(self, mode, key, chunks, turns, keep)
        for block in reader:
            for event in stream.push(block):
                if on_event is not None:
                    on_event(event)
        transcript = stream.finish()
        if on_event is not None:
            for event in stream.last_events:
                on_event(event)
        return transcript

    def stream(
        self,
        *,
        language: str = AUTO,
        latency_ms: int | None = None,
        turns: TurnRules = TurnRules(),  # noqa: B008  (frozen)
        keep: bool = True,
    ) -> "Stream":
        """Opens a live stream; `latency_ms` None is the checkpoint's own default.

        turns: when a turn ends. keep: whether the stream remembers what its finals have told;
        without, it can be left on for ever, and `finish` answers with its last turn alone.

        Raises LanguageError or LatencyError, naming what the model knows.
        """
        return Stream(self, *self._choose(language, latency_ms), 1, turns, keep)

    def push_many(self, blocks: Sequence[tuple["Stream", Any]]) -> list[list[Event]]:
        """Pushes samples into many streams of this recognizer, their chunks computed in batches.

        Each stream, of whatever language and latency, gets the text it would have had alone.
        Returns the new events of each pair (for a stream named twice, with the first). All
        samples are checked before any are taken, so that one stream's bad samples leave the
        others untouched.

        Raises AudioError, StreamClosedError, or ValueError for another recognizer's stream.
        """
        checked: dict[Stream, Samples] = {}
        for stream, samples in blocks:
            if stream._recognizer is not self:
                raise ValueError("a stream is pushed through the recognizer that opened it")
            before, new = checked.get(stream), stream._check(samples)
            checked[stream] = new if before is None else np.concatenate([before, new])
        longest = max(map(len, checked.values()), default=0)
        for start in range(0, longest, _MOST_SAMPLES):  # a long block is worked off in parts
            for stream, samples in checked.items():
                stream._accept(samples[start : start + _MOST_SAMPLES])
            self._advance(list(checked))
        events = {stream: stream._take_events() for stream in checked}
        return [events.pop(stream, []) for stream, _ in blocks]

    def _advance(self, streams: Sequence["Stream"]) -> None:
        """Encodes and searches all that is ready in these streams, in as few steps as it takes."""
        while True:
            groups: dict[int, list[Stream]] = {}
            for stream in streams:
                if frames := self._encoder.ready(stream._encoder_state, stream._chunks_per_step):
                    groups.setdefault(frames, []).append(stream)
            if not groups:
                return
            for frames, group in groups.items():
                # Many chunks at a time are computed for one stream at a time.
                alone = [s for s in group if frames > s._mode.chunk]
                together = [s for s in group if frames <= s._mode.chunk]
                for batch in [*([s] for s in alone), *([together] if together else [])]:
                    self._step(batch, frames)

    def _step(self, streams: Sequence["Stream"], frames: int) -> None:
        encoded = self._encoder.step(
            [s._encoder_state for s in streams], frames, [s._language_bias for s in streams]
        )
        found = self._decoder.step(
            [s._decoder_state for s in streams], [output.projected for output in encoded]
        )
        for stream, tokens in zip(streams, found, strict=True):
            stream._emit(tokens)

    def _choose(self, language: str, latency_ms: int | None) -> tuple[LatencyMode, str]:
        manifest = self.bundle.manifest
        mode = choose_mode(manifest.modes, manifest.default_mode, latency_ms)
        return mode, resolve_language(manifest.prompts, language)


class Stream:
    """One live transcription. Open it with `Recognizer.stream`; use it from one thread at a time.

    Samples may come in blocks of any length: the text depends on the samples alone, never on how
    they were cut.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        mode: LatencyMode,
        language: str,
        chunks_per_step: int,
        turns: TurnRules,
        keep: bool,
    ) -> None:
        self._recognizer = recognizer
        self._chunks_per_step = chunks_per_step
        self._spectrogram, self._encoder = recognizer._spectrogram, recognizer._encoder
        self._mel_state = self._spectrogram.start()
        self._encoder_state = self._encoder.start(mode)
        self._decoder_state = recognizer._decoder.start()
        self._builder = TranscriptBuilder(
            recognizer._vocabulary, turns, keep, recognizer.bundle.manifest.confidence
        )
        self._set(mode, language)
        self._events: list[Event] = []
        self._finished: Transcript | None = None
        self.last_events: tuple[Event, ...] = ()
        """The events that `finish` brought, for those who follow events only."""

    def _set(self, mode: LatencyMode, language: str) -> None:
        bundle = self._recognizer.bundle
        manifest = bundle.manifest
        self._mode = self._encoder_state.mode = mode
        self._key = language
        self._language_bias: NDArray[np.float32] | None = None
        if manifest.prompts:
            self._language_bias = bundle.language_bias[manifest.prompts[language]]
        late = manifest.delays_ms.get(mode.latency_ms, (0, 0))
        asked = None if language == AUTO else language
        self._builder.switch(asked, Delay(*(ms / 1000 for ms in late)))

    def switch(self, *, language: str | None = None, latency_ms: int | None = None) -> None:
        """Goes on in another language or at another latency, from the next chunk on.

        Samples that were pushed and not yet computed, less than a chunk of them, already count
        as the next chunk. The model forgets nothing of what it has heard. None leaves things as
        they are.

        Raises LanguageError or LatencyError, and then changes nothing.
        """
        latency = self._mode.latency_ms if latency_ms is None else latency_ms
        self._set(*self._recognizer._choose(language or self._key, latency))

    @property
    def turns(self) -> TurnRules:
        """When a turn ends; may be set at any time and holds from then on."""
        return self._builder.machine.rules

    @turns.setter
    def turns(self, rules: TurnRules) -> None:
        self._builder.machine.rules = rules

    def end_turn(self) -> list[Event]:
        """Ends the turn that is on, after what has been heard so far; nothing if none is.

        What is said without a pause goes on in the next turn: the model forgets nothing.
        """
        return [] if self._finished else self._builder.force(self._decoder_state.frames)

    def push(self, samples: Any) -> list[Event]:
        """Takes 16 kHz mono samples (float32 in -1 .. 1, or int16; any length) and returns the
        new events: partials, turns and finals, under the contract of `wheatear.transcript`.

        Raises AudioError for anything else, StreamClosedError after `finish`.
        """
        return self._recognizer.push_many([(self, samples)])[0]

    def finish(self) -> Transcript:
        """Transcribes what is left, down to the last frame, and returns the whole transcript.

        `last_events` then holds the events that this brought. May be called again; the answer is
        the same.
        """
        if self._finished is None:
            self._builder.duration = self._duration
            if self._mel_state.samples:
                self._encoder.feed(self._encoder_state, self._spectrogram.finish(self._mel_state))
                self._encoder.end(self._encoder_state)
                self._recognizer._advance([self])
            self._events += self._builder.finish(self._decoder_state.frames)
            self.last_events = tuple(self._take_events())
            self._finished = self.transcript
        return self._finished

    @property
    def transcript(self) -> Transcript:
        """What has been said so far."""
        return self._builder.transcript(self._duration)

    # -- the recognizer's side -------------------------------------------------------------------

    def _check(self, samples: Any) -> Samples:
        if self._finished is not None:
            raise StreamClosedError("this stream is finished; open a new one for more audio")
        return as_samples(samples)

    def _accept(self, samples: Samples) -> None:
        self._encoder.feed(self._encoder_state, self._spectrogram.push(self._mel_state, samples))

    def _emit(self, found: Sequence[Found]) -> None:
        """Takes what the search found in its last step."""
        self._events += self._builder.step(found, self._decoder_state.frames)

    @property
    def _duration(self) -> float:
        return self._mel_state.samples / SAMPLE_RATE

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events
