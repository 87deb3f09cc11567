"""Channels of a recording, transcribed separately and merged by time."""

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.reader import AudioReader
from wheatear.errors import AudioError
from wheatear.recognizer.options import StreamOptions
from wheatear.recognizer.recognizer import Recognizer
from wheatear.recognizer.stream import Stream
from wheatear.transcript.results import Event, Final

_MAX_CHANNELS = 16


def transcribe_channels(
    recognizer: Recognizer,
    audio: AudioReader,
    on_final: Callable[[Final], None],
    options: StreamOptions,
) -> float:
    """Transcribes the channels of a recording separately.

    Args:
        recognizer: The model.
        audio: Audio that was opened with separate channels.
        on_final: Called with each final that has words; `Final.channel` is its number. Finals are
            in the order of their first words, and wait until no other channel can have an earlier
            one. If an error ends the audio, all finals are still passed.
        options: Options of the streams; the default latency is that of `Recognizer.transcribe`.

    Returns:
        Seconds of audio.

    Raises:
        AudioError: The audio cannot be read, or has more than 16 channels.
        WheatearError: As `Recognizer.stream`.
    """
    streams: list[Stream] = []
    merger = _Merger()
    latency_ms = recognizer.latency_of(audio, options.latency_ms)
    options = replace(options, latency_ms=latency_ms, keep=False)
    try:
        samples = _transcribe(recognizer, audio, streams, merger, on_final, options)
        for stream in streams:
            stream.finish()
        merger.add([stream.last_events for stream in streams])
    except BaseException:
        merger.add([stream.end_turn() for stream in streams])
        raise
    finally:
        for final in merger.ready(math.inf):
            on_final(final)
    return samples / SAMPLE_RATE


def _transcribe(
    recognizer: Recognizer,
    audio: AudioReader,
    streams: list[Stream],
    merger: "_Merger",
    on_final: Callable[[Final], None],
    options: StreamOptions,
) -> int:
    """Transcribes the audio to its end, one stream a channel; returns its number of samples."""
    samples = 0
    for block in audio:
        if not streams:
            if block.shape[1] > _MAX_CHANNELS:
                raise AudioError(f"{block.shape[1]} channels; up to {_MAX_CHANNELS} are kept apart")
            streams += [recognizer.stream(options) for _ in block[0]]
        samples += len(block)
        pairs = [(stream, block[:, n]) for n, stream in enumerate(streams)]
        merger.add(recognizer.push_many(pairs))
        for final in merger.ready(min(stream.earliest for stream in streams)):
            on_final(final)
    return samples


class _Merger:
    """Sorts finals of several channels by their first words."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Final]] = []
        self._count = count()

    def add(self, events: Sequence[Sequence[Event]]) -> None:
        """Adds new events of each channel."""
        for channel, some in enumerate(events, 1):
            for event in some:
                if isinstance(event, Final) and event.words:
                    final = replace(event, channel=channel)
                    heapq.heappush(self._waiting, (event.words[0].start, next(self._count), final))

    def ready(self, until: float) -> Iterator[Final]:
        """Yields the finals that begin at or before a time before which no other will."""
        while self._waiting and self._waiting[0][0] <= until:
            yield heapq.heappop(self._waiting)[2]
