"""Requests that bring a file: slots, releases, clients that disconnect."""

import asyncio
import io

import pytest
from server_process import SAMPLE
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from wheatear.recognizer.options import StreamOptions
from wheatear.server.access.middleware import anonymous_client
from wheatear.server.api_errors import ApiError
from wheatear.server.session.file_endpoint import FileEndpoint, ReceivedFile
from wheatear.server.session.file_job import FileTask


class Exchange:
    """One request to an endpoint of its own, with what becomes of it."""

    def __init__(self, service, connected=True):
        self.service, self.connected = service, connected
        self.closed = 0
        self.sent = []

    def run(self, receive):
        return asyncio.run(self._run(receive))

    async def _run(self, receive):
        service = self.service
        endpoint = FileEndpoint(service.settings.limits, service.concurrency, service.metrics)
        client = anonymous_client("127.0.0.1")
        scope = {"type": "http", "headers": [], "state": {"client": client}}
        response = await endpoint.run(Request(scope, self._message), receive)
        await response(scope, self._message, self._send)
        return response

    async def _message(self):
        if self.connected:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        self.sent.append(message)

    async def close(self):
        self.closed += 1

    def received(self, respond, stream=None):
        upload = UploadFile(io.BytesIO(SAMPLE.read_bytes()))
        task = FileTask(upload, self.service.models.default, StreamOptions())

        async def receive(request):
            return ReceivedFile(task, self.close, respond, stream)

        return receive


async def respond(job):
    finals, _ = await job.result()
    return PlainTextResponse(" ".join(final.text for final in finals))


def test_a_file_is_answered_and_released(service):
    exchange = Exchange(service)
    response = exchange.run(exchange.received(respond))
    assert b"calling" in response.body
    assert exchange.closed == 1
    assert service.concurrency.held == 0


def test_a_client_that_disconnects_gets_no_answer_and_releases_its_file(service):
    exchange = Exchange(service, connected=False)

    async def never(job):
        await asyncio.Event().wait()

    assert exchange.run(exchange.received(never)).status_code == 499
    assert exchange.closed == 1
    assert service.concurrency.held == 0


def test_an_error_of_the_job_releases_the_file(service):
    exchange = Exchange(service)

    async def fail(job):
        raise ApiError(400, "no")

    with pytest.raises(ApiError):
        exchange.run(exchange.received(fail))
    assert exchange.closed == 1
    assert service.concurrency.held == 0


def test_events_are_streamed_before_the_file_is_released(service):
    exchange = Exchange(service)

    async def stream(job):
        async for item in job.events():
            assert not exchange.closed
            yield f"data: {type(item).__name__}\n\n"

    exchange.run(exchange.received(respond, stream))
    body = b"".join(message.get("body", b"") for message in exchange.sent)
    assert body.endswith(b"data: StreamEnded\n\n")
    assert exchange.closed == 1
    assert service.concurrency.held == 0
