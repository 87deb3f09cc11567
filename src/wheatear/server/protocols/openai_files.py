"""POST /v1/audio/transcriptions: whole files, in the protocol of OpenAI (openai-python 3.57)."""

from starlette.requests import Request
from starlette.responses import Response

from wheatear.server.api_errors import ApiError
from wheatear.server.background import run_in_background
from wheatear.server.parameters import unknown_name
from wheatear.server.protocols.openai_form import read_request
from wheatear.server.protocols.openai_responses import TranscriptionFormatter
from wheatear.server.served_models import ServedModels
from wheatear.server.session.file_endpoint import FileEndpoint, ReceivedFile

_MAX_CHEAP_FIELDS = 50  # that the event loop may read itself
_QUERY = ("api-version",)
"""Parameters of OpenAI's clients in the address; all settings are fields of the form."""


class TranscriptionEndpoint:
    """The routes of OpenAI that take a file."""

    def __init__(self, files: FileEndpoint, models: ServedModels) -> None:
        self._files, self._models = files, models

    async def transcribe(self, request: Request) -> Response:
        """Transcribes the file of a form.  Raises ApiError."""
        return await self._files.run(request, self._receive)

    async def translate(self, request: Request) -> Response:
        """Raises ApiError: the models do not translate."""
        raise ApiError(
            400, "this server transcribes speech in its own language and translates nothing; use "
            "/v1/audio/transcriptions", code="unsupported", param="model",
        )  # fmt: skip

    async def _receive(self, request: Request) -> ReceivedFile:
        for name in request.query_params:
            if name not in _QUERY:
                raise unknown_name(name, _QUERY, "in the address; settings are fields of the form")
        form = await self._files.read_form(request)
        try:
            # Phrases and a large number of fields take long to read.
            slow = len(form) > _MAX_CHEAP_FIELDS or any(
                name.startswith(("prompt", "keywords")) for name in form
            )
            if slow:
                given = await run_in_background(read_request, form, self._models)
            else:
                given = read_request(form, self._models)
        except BaseException:
            await form.close()
            raise
        return ReceivedFile(
            given.task,
            form.close,
            lambda job: TranscriptionFormatter(given, job).respond(),
            (lambda job: TranscriptionFormatter(given, job).stream()) if given.stream else None,
        )
