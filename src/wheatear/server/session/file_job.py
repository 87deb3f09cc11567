"""Transcription of one file: a thread decodes it for the scheduler, and its events come back."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile

from wheatear.audio.reader import AudioLimits
from wheatear.recognizer.options import StreamOptions
from wheatear.server.audio_formats import Raw, opened
from wheatear.server.scheduler.events import FeedEvent, StreamEnded, StreamFailed
from wheatear.server.scheduler.feed import ScheduledStream
from wheatear.server.served_models import ServedModel
from wheatear.server.settings import Limits
from wheatear.transcript.results import Final, Partial

DECODED_BYTES = 8 << 30
"""Maximum size of the decoded samples: 4 bytes each, of all channels, at the rate of the file."""
_MAX_AHEAD_S = 30.0  # of audio that is decoded before it is computed


@dataclass(frozen=True)
class Progress:
    """Transcribed seconds of a file, and its duration if the file states one."""

    seconds: float
    duration: float | None


@dataclass(frozen=True)
class FileTask:
    """A received file and the options of its transcription."""

    upload: UploadFile
    model: ServedModel
    options: StreamOptions
    raw: Raw | None = None
    """Format of headerless audio, if the request describes one."""
    warnings: tuple[str, ...] = ()
    """Settings that have no effect or were replaced."""


class FileJob:
    """A file in transcription.  Raises RuntimeError if the system has no thread left."""

    def __init__(self, task: FileTask, limits: Limits) -> None:
        self._task, self._limits = task, limits
        self.tokens = 0
        """Number of tokens in the events."""
        self.warnings = list(task.warnings)
        """The warnings of the task, and one for each damaged part of the file."""
        self._events: asyncio.Queue[FeedEvent | Progress] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self.scheduled: ScheduledStream = task.model.scheduler.open(
            self._emit, task.options, live=False
        )
        self._released = asyncio.Event()
        """Set once the file is no longer read."""
        try:
            threading.Thread(target=self._decode, name="wheatear-decoder", daemon=True).start()
        except RuntimeError:
            self.scheduled.cancel()
            raise

    async def cancel(self) -> None:
        """Cancels the transcription and waits until its file is no longer read."""
        self.scheduled.cancel()
        await self._released.wait()

    async def events(self) -> AsyncIterator[FeedEvent | Progress]:
        """Yields the events up to `StreamEnded`.  Raises the error that ends the job earlier."""
        while True:
            item = await self._events.get()
            if isinstance(item, StreamFailed):
                raise item.error
            if isinstance(item, Partial):
                self.tokens += len(item.tokens)
            yield item
            if isinstance(item, StreamEnded):
                return

    async def result(self) -> tuple[list[Final], StreamEnded]:
        """Returns all finals and the end.  Raises the error that ends the job earlier."""
        finals, ended = [], StreamEnded(0.0, None)
        async for item in self.events():
            if isinstance(item, Final):
                finals.append(item)
            elif isinstance(item, StreamEnded):
                ended = item
        return finals, ended

    def _emit(self, events: Sequence[FeedEvent | Progress]) -> None:
        for item in events:
            self._on_loop(self._events.put_nowait, item)

    def _add_warning(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)

    def _on_loop(self, call: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(call, *arguments)

    def _decode(self) -> None:
        """Decodes the file for the scheduler, on a thread of the lowest priority."""
        with suppress(OSError, AttributeError):  # only Linux has priorities of threads
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        file, raw = self._task.upload.file, self._task.raw
        limits = AudioLimits(self._limits.file_seconds, DECODED_BYTES)
        try:
            with closing(opened(file, raw, limits, self._add_warning)) as reader:
                for block in reader:
                    self.scheduled.push(block)
                    self.scheduled.wait_for_room(_MAX_AHEAD_S)
                    done = self.scheduled.seconds - self.scheduled.backlog_s
                    self._emit([Progress(done, reader.duration)])
            self.scheduled.finish()
        except Exception as error:  # noqa: BLE001  reported to the client
            if not self.scheduled.over:
                self.scheduled.cancel()
                self._emit([StreamFailed(error)])
        finally:
            self._on_loop(self._released.set)
