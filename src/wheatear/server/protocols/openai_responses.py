"""OpenAI's answers to files: JSON, text and subtitles at once, or server-sent events."""

import json
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from wheatear.audio.mel import FRAME_MS
from wheatear.server.api_errors import to_api_error
from wheatear.server.background import run_in_background
from wheatear.server.protocols.openai_form import FileRequest
from wheatear.server.scheduler.events import FeedEvent, StreamEnded
from wheatear.server.session.file_job import FileJob, Progress
from wheatear.transcript.results import Final, Partial, Token, Word
from wheatear.transcript.segments import continued_text, join_finals
from wheatear.transcript.writers import format_finals, openai_segment, openai_word

_MAX_CHEAP_S = 60.0  # of audio whose answer the event loop may format itself
_PROGRESS_S = 1.0  # of audio between two reports of progress
WARNING_HEADER = "x-wheatear-warning"
_MAX_HEADER = 1000  # characters


class TranscriptionFormatter:
    """Formats the result of a job for the client that requested it."""

    def __init__(self, request: FileRequest, job: FileJob) -> None:
        self._request, self._job = request, job

    async def respond(self) -> Response:
        """Returns the whole transcript.  Raises the error that ends the job."""
        finals, ended = await self._job.result()
        if ended.duration <= _MAX_CHEAP_S:
            return self._response(finals, ended)
        return await run_in_background(self._response, finals, ended)

    async def stream(self) -> AsyncIterator[str]:
        """Yields the transcript as OpenAI's events; joined deltas are its text."""
        finals: list[Final] = []
        sent = ""  # of the current turn
        details = _DetailEvents() if self._request.format == "verbose_json" else None
        try:
            async for item in self._job.events():
                if isinstance(item, Partial | Final):
                    delta = item.text[len(sent) :]
                    if delta and not sent:
                        delta = continued_text(item, any(final.text for final in finals))
                    sent = item.text
                    if delta:
                        yield _sse(self._delta(item, delta))
                if details:
                    for event in details.events(item):
                        yield _sse(event)
                if isinstance(item, Final):
                    finals.append(item)
                    sent = ""
                elif isinstance(item, StreamEnded):
                    body = self._verbose_json if details else self._json
                    usage = _token_usage(item.duration, self._job.tokens)
                    done = body(finals, item) | {"usage": usage}
                    yield _sse({"type": "transcript.text.done", **done})
                    yield "data: [DONE]\n\n"
        except Exception as error:
            api_error = to_api_error(error)
            yield "event: error\n" + _sse(api_error.body)
            if api_error.status == 500:
                raise

    def _response(self, finals: Sequence[Final], ended: StreamEnded) -> Response:
        headers = _warning_header(self._job.warnings)
        match self._request.format:
            case "json":
                return JSONResponse(self._json(finals, ended), headers=headers)
            case "verbose_json":
                return JSONResponse(self._verbose_json(finals, ended), headers=headers)
            case "text":
                return PlainTextResponse(join_finals(finals) + "\n", headers=headers)
            case subtitles:
                return PlainTextResponse(format_finals(subtitles, finals), headers=headers)

    def _delta(self, item: Partial | Final, delta: str) -> dict[str, Any]:
        event: dict[str, Any] = {"type": "transcript.text.delta", "delta": delta}
        if self._request.logprobs:
            event["logprobs"] = logprobs(item.tokens if isinstance(item, Partial) else ())
        return event

    def _json(self, finals: Sequence[Final], ended: StreamEnded) -> dict[str, Any]:
        tokens = [token for final in finals for token in final.tokens]
        return {
            "text": join_finals(finals),
            "languages": [{"code": code} for code in _languages(finals)],
            **({"logprobs": logprobs(tokens)} if self._request.logprobs else {}),
            "usage": {"type": "duration", "seconds": ended.duration},
            **self._warning,
        }

    def _verbose_json(self, finals: Sequence[Final], ended: StreamEnded) -> dict[str, Any]:
        request = self._request
        segments = [segment for final in finals for segment in final.segments]
        words = [_word(word) for final in finals for word in final.words]
        languages = _languages(finals) or [request.task.options.language]
        return {
            "task": "transcribe", "language": languages[0],
            "duration": ended.duration, "text": join_finals(finals),
            **({"words": words} if request.words else {}),
            **({"segments": [openai_segment(s, n) for n, s in enumerate(segments)]}
               if request.segments else {}),
            "usage": {"type": "duration", "seconds": ended.duration},
            **self._warning,
        }  # fmt: skip

    @property
    def _warning(self) -> dict[str, str]:
        """All warnings in the one field that an answer has for them."""
        return {"warning": "; ".join(self._job.warnings)} if self._job.warnings else {}


class _DetailEvents:
    """The events that `verbose_json` adds to a streamed answer: settled segments and progress."""

    def __init__(self) -> None:
        self._segments = 0
        self._duration: float | None = None
        self._reported_s = 0.0

    def events(self, item: FeedEvent | Progress) -> Iterator[dict[str, Any]]:
        """Yields the additional events for an event of the job."""
        if isinstance(item, Progress):
            self._duration = item.duration
            yield from self._progress(item.seconds)
        elif isinstance(item, Partial):
            yield from self._progress(item.end)
        elif isinstance(item, Final):
            for segment in item.segments:
                more = {
                    "language": segment.language or item.language,
                    "words": [_word(word) for word in segment.words],
                }
                event = openai_segment(segment, self._segments)
                yield {"type": "transcript.text.segment", **event, **more}
                self._segments += 1
            yield from self._progress(item.end)

    def _progress(self, seconds: float) -> Iterator[dict[str, Any]]:
        if seconds - self._reported_s >= _PROGRESS_S:
            self._reported_s = seconds
            done = {"seconds": round(seconds, 1), "duration": self._duration}
            yield {"type": "transcript.progress", **done}


def logprobs(tokens: Sequence[Token]) -> list[dict[str, Any]]:
    """Returns the confidence of tokens with text as OpenAI's logprobs."""
    return [
        {
            "token": token.text, "logprob": round(math.log(max(token.confidence, 1e-9)), 5),
            "bytes": list(token.text.encode()),
        }
        for token in tokens
        if token.text
    ]  # fmt: skip


def _word(word: Word) -> dict[str, Any]:
    return openai_word(word) | {"confidence": round(word.confidence, 4)}


def _languages(finals: Sequence[Final]) -> list[str]:
    """Returns the languages of finals with text, in the order of their first use."""
    return list(dict.fromkeys(f.language for f in finals if f.language and f.text))


def _token_usage(seconds: float, tokens: int) -> dict[str, Any]:
    """Returns the usage in tokens, as the event requires; a frame counts as an audio token."""
    frames = math.ceil(seconds * 1000 / FRAME_MS)
    return {
        "type": "tokens", "input_tokens": frames, "output_tokens": tokens,
        "total_tokens": frames + tokens, "seconds": seconds,
    }  # fmt: skip


def _warning_header(warnings: Sequence[str]) -> dict[str, str]:
    """The header with the warnings, for text and subtitles, which have no other place for them."""
    line = " ".join("; ".join(warnings).split())
    shown = "".join(letter if " " <= letter <= "~" else "?" for letter in line)
    return {WARNING_HEADER: shown[:_MAX_HEADER]} if shown else {}


def _sse(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
