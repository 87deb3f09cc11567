"""A model that transcribes files and opens streams.

Recognizer.stream() -> Stream.push(samples) ... Stream.finish() -> Transcript
"""

import os
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from wheatear.audio.reader import AudioReader, AudioSource, open_audio
from wheatear.audio.samples import Samples, SamplesLike
from wheatear.audio.vad import VoiceActivity
from wheatear.common.arguments import check_kind, check_number, shown
from wheatear.decoder.boosting import Phrase, PhraseTree
from wheatear.errors import BundleError, OptionError, WheatearError
from wheatear.model.bundle import Bundle
from wheatear.model.languages import AUTO
from wheatear.model.latency import LatencyMode
from wheatear.model.onnx_session import default_threads
from wheatear.model.store import find_bundle
from wheatear.recognizer.engine import Engine
from wheatear.recognizer.external.package import open_model
from wheatear.recognizer.options import StreamOptions
from wheatear.recognizer.stream import Stream, push_samples
from wheatear.transcript.results import Event, Transcript


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
    """A loaded model, shared by any number of streams and threads; `wheatear.load` makes one."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self.bundle = bundle
        self.engine = Engine(bundle, threads)

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
        audio: AudioSource | AudioReader,
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
            stream = Stream(self.engine, self.bundle.manifest, options, whole=not reader.live)
            for block in reader:
                for event in stream.push(block):
                    if on_event is not None:
                        on_event(event)
        transcript = stream.finish()
        if on_event is not None:
            for event in stream.last_events:
                on_event(event)
        return replace(transcript, warnings=reader.warnings)

    def stream(self, options: StreamOptions | None = None, **fields: Any) -> Stream:
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
        return Stream(self.engine, self.bundle.manifest, _options(options, fields))

    def check(self, options: StreamOptions) -> None:
        """Raises what `stream` raises for these options."""
        _mode, language = self.resolve(options.language, options.latency_ms)
        options.text_format.check(None if language == AUTO else language)
        self.compile_phrases(options.phrases)
        if options.turns.voice != "words":
            VoiceActivity(options.turns.voice)

    def resolve(self, language: str, latency_ms: int | None) -> tuple[LatencyMode, str]:
        """Returns the latency mode, and the language as the model names it, of a stream.

        Raises LanguageError or LatencyError.
        """
        return self.engine.resolve(language, latency_ms)

    def compile_phrases(self, phrases: tuple[Phrase, ...]) -> PhraseTree | None:
        """Prepares phrases, so that streams with the same ones open and switch at once.

        Raises PhraseError.
        """
        return self.engine.compile_phrases(phrases)

    def can_tokenize(self, phrase: str) -> bool:
        """True if the pieces of the model can spell a phrase, so that it can be boosted."""
        return self.engine.can_tokenize(phrase)

    def push_many(self, blocks: Iterable[tuple[Stream, SamplesLike]]) -> list[list[Event]]:
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
            if stream.engine is not self.engine:
                raise OptionError("a stream is pushed through the recognizer that opened it")
            before, new = checked.get(stream), stream.check_samples(samples)
            checked[stream] = new if before is None else np.concatenate([before, new])
        push_samples(self.engine, checked)
        events = {stream: stream.take_events() for stream in checked}
        return [events.pop(stream, []) for stream, _ in pairs]

    @property
    def file_latency_ms(self) -> int:
        """The latency of files whose caller names none: the longest, as nothing waits for them."""
        return max(self.latencies_ms)

    def latency_of(self, audio: AudioReader, latency_ms: int | None = None) -> int | None:
        """The latency to transcribe some audio at, given the caller's wish."""
        if latency_ms is None and not audio.live:
            return self.file_latency_ms
        return latency_ms


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
