"""Pipecat's OpenAI and Deepgram services against a server of ours; prints the text of pipelines.

python pipecat_client.py http://localhost:8000/v1 speech.wav
"""

import asyncio
import json
import sys
import time
import wave

from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    ProposedUserStartedSpeakingFrame,
    ProposedUserStoppedSpeakingFrame,
    TranscriptionFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.openai.stt import OpenAIRealtimeSTTService, OpenAISTTService
from pipecat.workers.runner import WorkerRunner

BLOCK = 320  # samples at 16 kHz: 20 ms


class Collector(FrameProcessor):
    """Takes down what passes."""

    def __init__(self):
        super().__init__()
        self.interim, self.final, self.kinds, self.errors = [], [], [], []
        self.final_at = None
        self.done = asyncio.Event()

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        match frame:
            case InterimTranscriptionFrame():
                self.interim.append(frame.text)
                self.kinds.append("interim")
            case TranscriptionFrame():
                self.final.append(frame.text)
                self.kinds.append("final")
                self.final_at = time.monotonic()
                self.done.set()
            case ProposedUserStartedSpeakingFrame():
                self.kinds.append("started")
            case ProposedUserStoppedSpeakingFrame():
                self.kinds.append("stopped")
            case ErrorFrame():
                self.errors.append(frame.error)
        await self.push_frame(frame, direction)


class Errors(FrameProcessor):
    """Errors go up the pipeline."""

    def __init__(self, collector):
        super().__init__()
        self._collector = collector

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if isinstance(frame, ErrorFrame):
            self._collector.errors.append(frame.error)
        await self.push_frame(frame, direction)


async def converse(service, pcm, local_vad):
    """Text of a pipeline with this service, with audio in real time."""
    collector = Collector()
    vad = [VADProcessor(vad_analyzer=SileroVADAnalyzer())] if local_vad else []
    worker = PipelineWorker(
        Pipeline([Errors(collector), *vad, service, collector]),
        params=PipelineParams(audio_in_sample_rate=16_000),
        cancel_on_idle_timeout=False,
        enable_rtvi=False,
    )
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def on_pipeline_started(_worker, _frame):
        started.set()

    async def speak():
        await asyncio.wait_for(started.wait(), 20)
        while getattr(service, "_session_ready", True) is False:  # else the first words are lost
            await asyncio.sleep(0.01)
        begin = time.monotonic()
        for n, at in enumerate(range(0, len(pcm), 2 * BLOCK)):
            await asyncio.sleep(max(0, begin + n * BLOCK / 16_000 - time.monotonic()))
            await worker.queue_frame(InputAudioRawFrame(pcm[at : at + 2 * BLOCK], 16_000, 1))
        await asyncio.wait_for(collector.done.wait(), 20)
        await worker.queue_frame(EndFrame())
        return begin

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    _, begin = await asyncio.gather(runner.run(), speak())
    return {
        "interim": collector.interim, "final": collector.final, "kinds": collector.kinds,
        "errors": collector.errors, "final_after_s": round(collector.final_at - begin, 2),
    }  # fmt: skip


async def main(base_url, path):
    with wave.open(path) as file:
        pcm = file.readframes(file.getnframes())
    realtime = base_url.replace("http", "ws", 1) + "/realtime"
    settings = OpenAIRealtimeSTTService.Settings
    services = {
        "server_vad": OpenAIRealtimeSTTService(
            api_key="none", base_url=realtime, settings=settings(model="gpt-transcribe"),
            turn_detection={"type": "server_vad", "silence_duration_ms": 500},
        ),
        "semantic_vad": OpenAIRealtimeSTTService(
            api_key="none", base_url=realtime, settings=settings(model="wheatear-small"),
            turn_detection={"type": "semantic_vad"},
        ),
        "local_vad": OpenAIRealtimeSTTService(
            api_key="none", base_url=realtime,
            settings=settings(noise_reduction="near_field", delay="high"),
        ),
        "file": OpenAISTTService(api_key="none", base_url=base_url),
        "deepgram": DeepgramSTTService(api_key="none", base_url=base_url.removesuffix("/v1")),
    }  # fmt: skip
    local = ("local_vad", "file", "deepgram")
    texts = await asyncio.gather(
        *(converse(service, pcm, name in local) for name, service in services.items())
    )
    return dict(zip(services, texts, strict=True))


if __name__ == "__main__":
    logged = []
    logger.remove()
    logger.add(logged.append, level="WARNING", format="{level} {message}")
    result = asyncio.run(main(*sys.argv[1:]))
    print(json.dumps(result | {"logged": [str(line) for line in logged]}))
