"""Requests that bring a file: received, transcribed within the limits, and answered."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from wheatear.errors import PhraseError, WheatearError
from wheatear.server.access.limits import ConcurrencyLimits
from wheatear.server.api_errors import disk_full, to_api_error
from wheatear.server.background import run_in_background
from wheatear.server.metrics import Metrics
from wheatear.server.session.file_job import FileJob, FileTask
from wheatear.server.session.upload import Upload, read_form
from wheatear.server.settings import Limits

Close = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class ReceivedFile:
    """The file of a request, and how its job is answered."""

    task: FileTask
    close: Close
    """Releases the file."""
    respond: Callable[[FileJob], Awaitable[Response]]
    """Answers once the job is complete."""
    stream: Callable[[FileJob], AsyncIterator[str]] | None = None
    """Answers with server-sent events instead, if given."""


class FileEndpoint:
    """Runs the requests of all protocols that bring a file."""

    def __init__(self, limits: Limits, concurrency: ConcurrencyLimits, metrics: Metrics) -> None:
        self._limits, self._concurrency, self._metrics = limits, concurrency, metrics

    def new_upload(self, request: Request) -> Upload:
        """Returns an empty file for the body of a request."""
        return Upload(self._concurrency, request.state.client)

    async def read_form(self, request: Request) -> FormData:
        """Returns the form of a request.  Raises ApiError."""
        return await read_form(request, self._concurrency)

    async def run(
        self, request: Request, receive: Callable[[Request], Awaitable[ReceivedFile]]
    ) -> Response:
        """Receives the file of a request, transcribes it and answers.  Raises ApiError."""
        try:
            return await self._run(request, receive)
        except WheatearError as error:
            raise to_api_error(error) from error

    async def _run(
        self, request: Request, receive: Callable[[Request], Awaitable[ReceivedFile]]
    ) -> Response:
        with ExitStack() as held:
            client = request.state.client
            with self._concurrency.hold("uploads", client):
                self._concurrency.check("files", client)
                self._check_space(request)
                received = await receive(request)
            # The job closes it: a streamed answer outlives this function.
            try:
                held.enter_context(self._concurrency.hold("files", client))
                job = await self._start(received.task)
            except BaseException:
                await received.close()
                raise
            held.enter_context(self._counted(job))
            ending = held.pop_all()

        async def release() -> None:
            """Releases the file once the decoder no longer reads it."""
            await job.cancel()
            ending.close()
            await received.close()

        if received.stream is not None:
            return EventStreamResponse(received.stream(job), release)
        try:
            return await _while_connected(request, received.respond(job))
        finally:
            await asyncio.shield(release())

    def _check_space(self, request: Request) -> None:
        """Raises ApiError for a file that does not fit into the spool."""
        text = request.headers.get("content-length", "")
        length = int(text[:18]) if text.isascii() and text.isdigit() else 0
        if self._concurrency.spool.free < length <= self._limits.upload_bytes:
            raise disk_full()

    @contextmanager
    def _counted(self, job: FileJob) -> Iterator[None]:
        self._metrics.files.inc()
        try:
            yield
        finally:
            self._metrics.files.dec()
            self._metrics.audio_seconds.labels("file").inc(job.scheduled.seconds)
            self._metrics.tokens.labels("file").inc(job.tokens)

    async def _start(self, task: FileTask) -> FileJob:
        if task.options.phrases:
            try:
                await run_in_background(task.model.recognizer.compile_phrases, task.options.phrases)
            except PhraseError as error:
                raise to_api_error(error, "keywords") from error
        return FileJob(task, self._limits)


class EventStreamResponse(StreamingResponse):
    """Server-sent events; `release` runs afterwards, also if no event was sent."""

    def __init__(self, events: AsyncIterator[str], release: Close) -> None:
        super().__init__(
            events, media_type="text/event-stream", headers={"x-accel-buffering": "no"}
        )
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await asyncio.shield(self._release())


async def _while_connected(request: Request, answer: Awaitable[Response]) -> Response:
    """Returns the answer, or 499 if the client disconnects first."""
    task = asyncio.ensure_future(answer)
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return Response(status_code=499)
    finally:
        for waiting in (task, gone):
            waiting.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
