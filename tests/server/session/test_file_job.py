"""A file in transcription: events, warnings, cancellation."""

import asyncio
import io
import threading

import pytest
from server_process import SAMPLE
from starlette.datastructures import UploadFile

from wheatear.errors import AudioError
from wheatear.recognizer.options import StreamOptions
from wheatear.server.session.file_job import FileJob, FileTask, Progress
from wheatear.server.settings import Limits
from wheatear.transcript.results import Partial


def run(service, data, work):
    """Returns what `work` returns for the job of a file."""

    async def main():
        task = FileTask(
            UploadFile(io.BytesIO(data)), service.models.default, StreamOptions(),
            warnings=("a setting has no effect",),
        )  # fmt: skip
        job = FileJob(task, Limits())
        try:
            return await work(job)
        finally:
            await job.cancel()

    return asyncio.run(main())


def test_a_file_has_progress_partials_and_its_whole_text(service):
    async def work(job):
        return [item async for item in job.events()], job.tokens

    events, tokens = run(service, SAMPLE.read_bytes(), work)
    assert any(isinstance(item, Progress) and item.duration for item in events)
    assert tokens == sum(len(item.tokens) for item in events if isinstance(item, Partial)) > 0
    finals, ended = run(service, SAMPLE.read_bytes(), lambda job: job.result())
    assert "calling" in " ".join(final.text for final in finals)
    assert finals[-1].end == pytest.approx(ended.duration)


def test_bytes_that_are_no_audio_raise_for_the_client(service):
    with pytest.raises(AudioError):
        run(service, b"no audio" * 100, lambda job: job.result())


def test_damage_is_a_warning_after_those_of_the_request(service):
    async def work(job):
        await job.result()
        return job.warnings

    data = SAMPLE.read_bytes()
    first, *rest = run(service, data[: len(data) // 2], work)
    assert first == "a setting has no effect"
    assert len(rest) == 1


def test_a_canceled_job_no_longer_reads_its_file(service):
    data = io.BytesIO(SAMPLE.read_bytes())

    async def main():
        task = FileTask(UploadFile(data), service.models.default, StreamOptions())
        await FileJob(task, Limits()).cancel()

    asyncio.run(main())
    decoders = [t for t in threading.enumerate() if t.name == "wheatear-decoder"]
    for decoder in decoders:
        decoder.join(1)
        assert not decoder.is_alive()
