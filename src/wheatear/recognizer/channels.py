"""The channels of a recording transcribed apart, one speaker each, and merged by time."""

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

_MOST = 16


def transcribe_channels(
    recognizer: Recognizer,
    audio: AudioReader,
    on_final: Callable[[Final], None],
    options: StreamOptions,
) -> float:
    """Transcribes audio that was opened with its channels apart; returns its seconds.

    A latency that is not given is that of `Recognizer.transcribe`.

    `on_final` gets the turns of all channels, each with its number, in the order of their first
    words and as soon as no other channel can have an earlier one. Silence is not told.

    Whatever ends it, what has been heard is told. Raises AudioError, also for more than 16
    channels, and what `stream` raises.
    """
    streams: list[Stream] = []
    merger = _Merger()
    latency_ms = recognizer.latency_of(audio, options.latency_ms)
    options = replace(options, latency_ms=latency_ms, keep=False)
    try:
        samples = _follow(recognizer, audio, streams, merger, on_final, options)
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


def _follow(
    recognizer: Recognizer,
    audio: AudioReader,
    streams: list[Stream],
    merger: "_Merger",
    on_final: Callable[[Final], None],
    options: StreamOptions,
) -> int:
    """Hears the audio to its end in streams that it opens; its samples."""
    samples = 0
    for block in audio:
        if not streams:
            if block.shape[1] > _MOST:
                raise AudioError(f"{block.shape[1]} channels; up to {_MOST} are kept apart")
            streams += [recognizer.stream(options) for _ in block[0]]
        samples += len(block)
        pairs = [(stream, block[:, n]) for n, stream in enumerate(streams)]
        merger.add(recognizer.push_many(pairs))
        for final in merger.ready(min(stream.earliest for stream in streams)):
            on_final(final)
    return samples


class _Merger:
    """Finals of several channels in the order of their first words."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Final]] = []
        self._count = count()

    def add(self, events: Sequence[Sequence[Event]]) -> None:
        """New events of each channel."""
        for channel, some in enumerate(events, 1):
            for event in some:
                if isinstance(event, Final) and event.words:
                    final = replace(event, channel=channel)
                    heapq.heappush(self._waiting, (event.words[0].start, next(self._count), final))

    def ready(self, until: float) -> Iterator[Final]:
        """Those that begin before a time before which nothing more will come."""
        while self._waiting and self._waiting[0][0] <= until:
            yield heapq.heappop(self._waiting)[2]
