"""POST /v1/audio/transcriptions: whole files, answered at once or as server-sent events.

The wire is OpenAI's (openai-python 3.57).  A file is decoded on a thread of its own and computed
by the scheduler when nobody live is waiting; a client that goes away takes its file with it.
"""

import asyncio
import io
import json
import math
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from wheatear.audio.mel import FRAME_MS
from wheatear.audio.reader import AudioLimits
from wheatear.errors import PhraseError, WheatearError
from wheatear.recognizer.options import StreamOptions
from wheatear.server.access.limits import ConcurrencyLimits
from wheatear.server.api_errors import ApiError, disk_full, to_api_error
from wheatear.server.audio_formats import opened
from wheatear.server.background import run_in_background
from wheatear.server.metrics import Metrics
from wheatear.server.parameters import unknown_name
from wheatear.server.protocols.openai_form import Asked, asked_of
from wheatear.server.scheduler.events import FeedEvent, StreamEnded, StreamFailed
from wheatear.server.scheduler.feed import ScheduledStream
from wheatear.server.served_models import ServedModels
from wheatear.server.session.upload import Upload, read_form
from wheatear.server.settings import Limits
from wheatear.transcript.results import Final, Partial, Token, Transcript, Word
from wheatear.transcript.segments import continued_text, join_finals
from wheatear.transcript.writers import create_writer, openai_segment, openai_word

_FEW = 50  # fields
_AT_ONCE = 60.0  # seconds of audio whose answer is written in no time
_AHEAD = 30.0  # seconds of audio that are decoded before they are computed
_PROGRESS_SECONDS = 1.0  # of audio between two reports of progress
_QUERY = ("api-version",)
"""What the addresses of OpenAI's clients may have; everything else is in the form."""
WARNING_HEADER = "x-wheatear-warning"
_LONGEST_HEADER = 1000  # characters


@dataclass(frozen=True)
class Progress:
    """Seconds of a file that are transcribed, and its duration, if the file states one."""

    seconds: float
    duration: float | None


@dataclass(frozen=True)
class Intake:
    """What a request has brought."""

    asked: Asked
    upload: UploadFile
    close: Callable[[], Awaitable[None]]


class Files:
    """The endpoint."""

    def __init__(
        self, models: ServedModels, limits: Limits, concurrency: ConcurrencyLimits, metrics: Metrics
    ) -> None:
        self._models, self._limits, self._concurrency, self._metrics = (
            models,
            limits,
            concurrency,
            metrics,
        )

    async def transcribe(self, request: Request) -> Response:
        return await self.run(request, self._intake, _answer)

    async def run(
        self,
        request: Request,
        take_in: Callable[[Request], Awaitable["Intake"]],
        answer: Callable[["FileJob", Asked], Awaitable[Response]],
    ) -> Response:
        """Takes in the file of a request, transcribes it and answers.  Raises ApiError."""
        try:
            return await self._run(request, take_in, answer)
        except WheatearError as error:
            raise to_api_error(error) from error

    async def _run(self, request: Request, take_in: Any, answer: Any) -> Response:
        with ExitStack() as held:
            client = request.state.client
            with self._concurrency.hold("uploads", client):
                self._concurrency.check("files", client)
                self._check_room(request)
                intake: Intake = await take_in(request)
            # It is closed with the job: a streamed answer outlives this function.
            asked = intake.asked
            try:
                held.enter_context(self._concurrency.hold("files", client))
                job = await self._start(asked, intake.upload)
            except BaseException:
                await intake.close()
                raise
            held.enter_context(self._counted(job))
            ending = held.pop_all()

        async def done() -> None:
            """Lets go of everything once the decoder has: what it reads must not be closed."""
            await job.cancel()
            ending.close()
            await intake.close()

        if asked.stream:
            return _Events(_events(job, asked), done)
        try:
            return await _while_connected(request, answer(job, asked))
        finally:
            await asyncio.shield(done())

    def _check_room(self, request: Request) -> None:
        """Raises ApiError for a file that will have no room."""
        text = request.headers.get("content-length", "")
        length = int(text[:18]) if text.isascii() and text.isdigit() else 0
        if self._concurrency.spool.left < length <= self._limits.upload_bytes:
            raise disk_full()

    def upload(self, request: Request) -> Upload:
        """An empty file for what a request brings."""
        return Upload(self._concurrency, request.state.client)

    async def _intake(self, request: Request) -> "Intake":
        for name in request.query_params:
            if name not in _QUERY:
                raise unknown_name(name, _QUERY, "in the address; settings are fields of the form")
        form = await read_form(request, self._concurrency)
        try:
            # Phrases and a great many fields take a moment to be read.  Nothing else does.
            waits = len(form) > _FEW or any(
                name.startswith(("prompt", "keywords")) for name in form
            )
            work = partial(asked_of, form, self._models)
            asked, upload = await run_in_background(work) if waits else work()
        except BaseException:
            await form.close()
            raise
        return Intake(asked, upload, form.close)

    async def translate(self, request: Request) -> Response:
        """There is no translation in this model, and it would be no service to pretend."""
        raise ApiError(
            400, "this server transcribes speech in its own language and translates nothing; use "
            "/v1/audio/transcriptions", code="unsupported", param="model",
        )  # fmt: skip

    @contextmanager
    def _counted(self, job: "FileJob") -> Any:
        self._metrics.files.inc()
        try:
            yield
        finally:
            self._metrics.files.dec()
            self._metrics.audio_seconds.labels("file").inc(job.scheduled.seconds)
            self._metrics.tokens.labels("file").inc(job.tokens)

    async def _start(self, asked: Asked, upload: UploadFile) -> "FileJob":
        if asked.phrases:
            try:
                await run_in_background(asked.served.recognizer.compile_phrases, asked.phrases)
            except PhraseError as error:
                raise to_api_error(error, "keywords") from error
        return FileJob(asked, upload, self._limits)


class FileJob:
    """One file on its way through decoder and scheduler."""

    def __init__(self, asked: Asked, upload: UploadFile, limits: Limits) -> None:
        self.tokens = 0
        self._told: asyncio.Queue[FeedEvent | Progress] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._upload, self._raw, self._limits = upload, asked.raw, limits
        self.warnings = list(asked.warnings)
        """What is missing of the file, or was not used of the request."""
        self.scheduled: ScheduledStream = asked.served.scheduler.open(
            self._listen,
            StreamOptions(asked.language, asked.latency_ms, asked.turns, asked.phrases),
            live=False,
        )
        self._read = asyncio.Event()
        """Set once the file is no longer read."""
        try:
            threading.Thread(target=self._decode, name="wheatear-decoder", daemon=True).start()
        except RuntimeError:  # the system has no thread left
            self.scheduled.cancel()
            raise

    async def cancel(self) -> None:
        """Ends it, and waits until its file is no longer read."""
        self.scheduled.cancel()
        await self._read.wait()

    async def events(self) -> AsyncIterator[FeedEvent | Progress]:
        """What is heard, up to `StreamEnded`.  Raises what ends it earlier."""
        while True:
            item = await self._told.get()
            if isinstance(item, StreamFailed):
                raise item.error
            if isinstance(item, Partial):
                self.tokens += len(item.tokens)
            yield item
            if isinstance(item, StreamEnded):
                return

    async def whole(self) -> tuple[list[Final], StreamEnded]:
        """All that is said in the file.  Raises what ends it earlier."""
        finals, ended = [], StreamEnded(0.0, None)
        async for item in self.events():
            if isinstance(item, Final):
                finals.append(item)
            elif isinstance(item, StreamEnded):
                ended = item
        return finals, ended

    def _listen(self, told: Sequence[FeedEvent | Progress]) -> None:
        for item in told:
            self._on_loop(self._told.put_nowait, item)

    def _damaged(self, what: str) -> None:
        if what not in self.warnings:
            self.warnings.append(what)

    @property
    def warning(self) -> dict[str, str]:
        """All warnings as the one field that an answer has for them, if there are any."""
        return {"warning": "; ".join(self.warnings)} if self.warnings else {}

    def _on_loop(self, call: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop has been closed: nobody listens
            self._loop.call_soon_threadsafe(call, *arguments)

    def _decode(self) -> None:
        """Decodes the file into the feed, on a thread of its own that yields to all others."""
        with suppress(OSError, AttributeError):  # on Linux a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        try:
            file = self._upload.file
            limits = AudioLimits(self._limits.file_seconds, self._limits.decoded_bytes)
            with closing(opened(file, self._raw, limits, self._damaged)) as reader:
                for block in reader:
                    self.scheduled.push(block)
                    self.scheduled.wait_for_room(_AHEAD)
                    done = self.scheduled.seconds - self.scheduled.backlog_s
                    self._listen([Progress(done, reader.duration)])
            self.scheduled.finish()
        except Exception as error:  # noqa: BLE001  told to whoever sent the file
            if not self.scheduled.over:
                self.scheduled.cancel()
                self._listen([StreamFailed(error)])
        finally:
            self._on_loop(self._read.set)


# -- answers


async def _answer(job: FileJob, asked: Asked) -> Response:
    """The whole transcript in the form that was asked for."""
    finals, ended = await job.whole()
    if ended.duration <= _AT_ONCE:
        return _written(finals, ended, asked, job)
    return await run_in_background(_written, finals, ended, asked, job)


def _written(finals: Sequence[Final], ended: StreamEnded, asked: Asked, job: FileJob) -> Response:
    """The response; that to a file of hours takes a moment."""
    headers = _headers(job.warnings)
    match asked.format:
        case "json":
            return JSONResponse(_json(finals, ended, asked, job), headers=headers)
        case "verbose_json":
            return JSONResponse(_verbose(finals, ended, asked, job), headers=headers)
        case "text":
            return PlainTextResponse(join_finals(finals) + "\n", headers=headers)
        case _:
            return PlainTextResponse(_subtitles(finals, ended, asked.format), headers=headers)


def _headers(warnings: Sequence[str]) -> dict[str, str]:
    """Warnings where the body has no place for them: text and subtitles."""
    words = " ".join("; ".join(warnings).split())
    shown = "".join(letter if " " <= letter <= "~" else "?" for letter in words)
    return {WARNING_HEADER: shown[:_LONGEST_HEADER]} if shown else {}


def _json(
    finals: Sequence[Final], ended: StreamEnded, asked: Asked, job: FileJob
) -> dict[str, Any]:
    tokens = [token for final in finals for token in final.tokens]
    return {
        "text": join_finals(finals),
        "languages": [{"code": code} for code in _languages(finals)],
        **({"logprobs": logprobs(tokens)} if asked.logprobs else {}),
        "usage": {"type": "duration", "seconds": ended.duration},
        **job.warning,
    }


def _verbose(
    finals: Sequence[Final], ended: StreamEnded, asked: Asked, job: FileJob
) -> dict[str, Any]:
    segments = [segment for final in finals for segment in final.segments]
    words = [_openai_word(word) for final in finals for word in final.words]
    languages = _languages(finals)
    return {
        "task": "transcribe", "language": (languages or [asked.language])[0],
        "duration": ended.duration, "text": join_finals(finals),
        **({"words": words} if asked.words else {}),
        **({"segments": [openai_segment(s, n) for n, s in enumerate(segments)]}
           if asked.segments else {}),
        "usage": {"type": "duration", "seconds": ended.duration},
        **job.warning,
    }  # fmt: skip


def _openai_word(word: Word) -> dict[str, Any]:
    return openai_word(word) | {"confidence": round(word.confidence, 4)}


def _subtitles(finals: Sequence[Final], ended: StreamEnded, form: Literal["srt", "vtt"]) -> str:
    out = io.StringIO()
    writes = create_writer(form, out, "")
    for final in finals:
        writes.final(final)
    writes.close(Transcript("", ended.language, ended.duration, ()), complete=True)
    return out.getvalue()


class _Events(StreamingResponse):
    """Server-sent events, after which something is to be done, even if nobody waits for the first
    of them."""

    def __init__(self, events: AsyncIterator[str], done: Callable[[], Awaitable[None]]) -> None:
        super().__init__(
            events, media_type="text/event-stream", headers={"x-accel-buffering": "no"}
        )
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await asyncio.shield(self._done())


async def _events(job: FileJob, asked: Asked) -> AsyncIterator[str]:
    """The transcript as it comes, in OpenAI's events; the deltas make up the text."""
    finals: list[Final] = []
    told = ""  # of the turn that is on
    detailed = _Details() if asked.format == "verbose_json" else None
    try:
        async for item in job.events():
            if isinstance(item, Partial | Final):
                delta = item.text[len(told) :]
                if delta and not told:
                    delta = continued_text(item, any(final.text for final in finals))
                told = item.text
                if delta:
                    event: dict[str, Any] = {"type": "transcript.text.delta", "delta": delta}
                    if asked.logprobs:
                        new = item.tokens if isinstance(item, Partial) else ()
                        event["logprobs"] = logprobs(new)
                    yield _sse(event)
            if detailed:
                for event in detailed.events(item):
                    yield _sse(event)
            if isinstance(item, Final):
                finals.append(item)
                told = ""
            elif isinstance(item, StreamEnded):
                body = _verbose if detailed else _json
                end = body(finals, item, asked, job) | {"usage": _tokens(item.duration, job)}
                yield _sse({"type": "transcript.text.done", **end})
                yield "data: [DONE]\n\n"
    except Exception as error:
        refusal = to_api_error(error)
        yield "event: error\n" + _sse(refusal.body)
        if refusal.status == 500:
            raise


class _Details:
    """The events that `verbose_json` adds to a streamed answer: settled segments and progress."""

    def __init__(self) -> None:
        self._segments = 0
        self._duration: float | None = None
        self._reported = 0.0

    def events(self, item: FeedEvent | Progress) -> Iterator[dict[str, Any]]:
        """Yields the events of one item, if it brings any."""
        if isinstance(item, Progress):
            self._duration = item.duration
            yield from self._progress(item.seconds)
        elif isinstance(item, Partial):
            yield from self._progress(item.end)
        elif isinstance(item, Final):
            for segment in item.segments:
                more = {
                    "language": segment.language or item.language,
                    "words": [_openai_word(word) for word in segment.words],
                }
                event = openai_segment(segment, self._segments)
                yield {"type": "transcript.text.segment", **event, **more}
                self._segments += 1
            yield from self._progress(item.end)

    def _progress(self, seconds: float) -> Iterator[dict[str, Any]]:
        if seconds - self._reported >= _PROGRESS_SECONDS:
            self._reported = seconds
            done = {"seconds": round(seconds, 1), "duration": self._duration}
            yield {"type": "transcript.progress", **done}


def _tokens(seconds: float, job: FileJob) -> dict[str, Any]:
    """Usage in tokens, which is all that OpenAI's type of this event knows: those that were
    written, and for the audio the frames that the model makes of it."""
    frames = math.ceil(seconds * 1000 / FRAME_MS)
    return {
        "type": "tokens", "input_tokens": frames, "output_tokens": job.tokens,
        "total_tokens": frames + job.tokens, "seconds": seconds,
    }  # fmt: skip


async def _while_connected(request: Request, answer: Any) -> Response:
    """The answer, unless whoever wants it goes away first."""
    task = asyncio.create_task(answer)
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


def logprobs(tokens: Sequence[Token]) -> list[dict[str, Any]]:
    """Tokens with text, and how sure the model is of each, as OpenAI's logprobs."""
    return [
        {
            "token": token.text, "logprob": round(math.log(max(token.confidence, 1e-9)), 5),
            "bytes": list(token.text.encode()),
        }
        for token in tokens
        if token.text
    ]  # fmt: skip


def _languages(finals: Sequence[Final]) -> list[str]:
    """The languages that were spoken, in the order in which they came."""
    return list(dict.fromkeys(f.language for f in finals if f.language and f.text))


def _sse(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
