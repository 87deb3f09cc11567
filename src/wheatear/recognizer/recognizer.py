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
from wheatear.decoder.boosting import BoostingTree, Phrase
from wheatear.errors import BundleError, OptionError, WheatearError
from wheatear.model.languages import AUTO
from wheatear.model.latency import LatencyMode
from wheatear.model.onnx_session import default_threads
from wheatear.model.store import find_bundle
from wheatear.recognizer.engine import Engine
from wheatear.recognizer.loaded_model import LoadedModel
from wheatear.recognizer.loading import open_model
from wheatear.recognizer.options import StreamOptions
from wheatear.recognizer.stream import Stream, push_samples
from wheatear.transcript.results import Event, Transcript


def load(
    model: str | os.PathLike[str] | None = None, *, threads: int | None = None
) -> "Recognizer":
    """Loads a model.

    Args:
        model: Path or name of a bundle, or of a package of ONNX graphs that another project
            exported (`wheatear.recognizer.external.package`); None is the shipped model.
        threads: Number of threads of an encoder step; None is the number of processors, at most
            eight.

    Raises:
        ModelNotFoundError: The model does not exist.
        BundleError: The model is damaged, incomplete or of an unknown kind.
        OptionError: A value has the wrong type or is out of range.
    """
    if threads is not None:
        check_number("threads", threads, 1, 4096, whole=True)
    if model is not None:
        check_kind("model", model, (str, os.PathLike), "a name or a path")
    folder = find_bundle(model)
    try:
        return Recognizer(open_model(folder, threads or default_threads()))
    except (WheatearError, OSError):
        raise
    except Exception as error:
        raise BundleError(
            f"the bundle {folder} does not fit together ({type(error).__name__}: {error}); "
            f"convert the checkpoint again"
        ) from error


class Recognizer:
    """A loaded model, shared by any number of streams and threads; `wheatear.load` makes one."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self.engine = Engine(model)

    @property
    def latencies_ms(self) -> tuple[int, ...]:
        """Latencies of the model in milliseconds."""
        return tuple(mode.latency_ms for mode in self.model.manifest.modes)

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages of the model, as its checkpoint names them; empty if it has only one."""
        return tuple(self.model.manifest.prompts)

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
            stream = Stream(self.engine, options, whole=not reader.live)
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
            MissingExtraError: The turn rules or the text format need an extra.
        """
        return Stream(self.engine, _options(options, fields))

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

    def compile_phrases(self, phrases: tuple[Phrase, ...]) -> BoostingTree | None:
        """Compiles phrases in advance; streams with the same phrases then open without delay.

        Raises PhraseError.
        """
        return self.engine.compile_phrases(phrases)

    def can_tokenize(self, phrase: str) -> bool:
        """True if the pieces of the model can spell a phrase, so that it can be boosted."""
        return self.engine.can_tokenize(phrase)

    def push_many(self, blocks: Iterable[tuple[Stream, SamplesLike]]) -> list[list[Event]]:
        """Pushes samples into many streams at once and computes their chunks in batches.

        The text of each stream, in any language and latency, is the same as with `Stream.push`. All
        samples are checked before any are used, so that invalid samples of one stream do not change
        the others.

        Args:
            blocks: Pairs of a stream and its samples, as `Stream.push` takes them.

        Returns:
            The new events of each pair. A stream in several pairs has its events in the first.

        Raises:
            AudioError: Samples of a stream are not audio.
            StreamClosedError: A stream is finished.
            OptionError: A stream belongs to another recognizer, or a block is not a pair.
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
        """Default latency of files: the longest one, which is the most accurate."""
        return max(self.latencies_ms)

    def latency_of(self, audio: AudioReader, latency_ms: int | None = None) -> int | None:
        """Returns the latency for some audio, given the one that was requested."""
        if latency_ms is None and not audio.live:
            return self.file_latency_ms
        return latency_ms


def _options(given: StreamOptions | None, fields: dict[str, Any]) -> StreamOptions:
    options = StreamOptions() if given is None else given
    check_kind("options", options, StreamOptions, "StreamOptions, or options by their names")
    return replace(options, **fields)


def _pairs(blocks: Any) -> list[tuple[Stream, Any]]:
    """Converts to pairs of stream and samples. Raises OptionError for anything else."""
    check_kind("blocks", blocks, Iterable, "a list of pairs of stream and samples")
    pairs = list(blocks)
    for pair in pairs:
        two = isinstance(pair, tuple | list) and len(pair) == 2
        if not two or not isinstance(pair[0], Stream):
            raise OptionError(f"one of the blocks is {shown(pair)}; give pairs (stream, samples)")
    return pairs
