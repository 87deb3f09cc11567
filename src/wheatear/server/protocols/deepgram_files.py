"""POST /v1/listen: whole files, in the protocol of Deepgram; the file is the body."""

import hashlib
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wheatear.audio.file_type import HEAD_BYTES
from wheatear.errors import WheatearError
from wheatear.recognizer.options import StreamOptions
from wheatear.server.api_errors import ApiError, to_api_error
from wheatear.server.background import run_in_background
from wheatear.server.protocols.deepgram_query import ListenQuery, read_query
from wheatear.server.protocols.deepgram_results import file_results, metadata
from wheatear.server.served_models import ServedModels
from wheatear.server.session.file_endpoint import FileEndpoint, ReceivedFile
from wheatear.server.session.file_job import FileJob, FileTask


class ListenEndpoint:
    """Deepgram's route for files."""

    def __init__(self, files: FileEndpoint, models: ServedModels) -> None:
        self._files, self._models = files, models

    async def transcribe(self, request: Request) -> Response:
        """Transcribes the body of a request.  Raises ApiError."""
        try:
            query = await run_in_background(read_query, request.query_params, self._models, False)
        except WheatearError as error:
            raise to_api_error(error) from error
        recording = _Recording(query, self._files)
        return await self._files.run(request, recording.receive)


class _Recording:
    """The file of one request."""

    def __init__(self, query: ListenQuery, files: FileEndpoint) -> None:
        self._query, self._files = query, files
        self._sha256, self._created = hashlib.sha256(), datetime.now(UTC)
        self._request_id = ""

    async def receive(self, request: Request) -> ReceivedFile:
        """Receives the body.  Raises ApiError."""
        self._request_id = request.state.request_id
        content_type = request.headers.get("content-type", "")
        if content_type.startswith("multipart/"):
            raise ApiError(415, "the body is the file itself, not a form", code="unsupported")
        if content_type.startswith("application/json"):
            raise ApiError(
                415, "send the file itself: nothing is fetched from addresses",
                code="unsupported", param="url",
            )  # fmt: skip
        upload = self._files.new_upload(request)
        try:
            async for piece in request.stream():
                self._sha256.update(piece)
                await upload.write(piece)
            await upload.seek(0)
            head = await upload.read(HEAD_BYTES)
            raw, self._query = self._query.body_format(head, content_type)
            query, model = self._query, self._query.model
            phrases = await run_in_background(model.phrases, None, query.keyterms)
        except BaseException:
            await upload.close()
            raise
        options = StreamOptions(query.language, model.file_latency_ms, phrases=phrases)
        return ReceivedFile(FileTask(upload, model, options, raw), upload.close, self._respond)

    async def _respond(self, job: FileJob) -> Response:
        finals, ended = await job.result()
        query, sha256 = self._query, self._sha256.hexdigest()
        fields = metadata(query, self._request_id, sha256, self._created, ended.duration)
        results = await run_in_background(file_results, finals, ended, query)
        return JSONResponse({"metadata": fields | query.metadata(job.warnings), "results": results})
