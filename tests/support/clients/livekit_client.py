"""LiveKit's OpenAI and Deepgram plug-ins against a server of ours; prints the text of streams.

python livekit_client.py http://localhost:8000/v1 speech.wav
"""

import asyncio
import json
import logging
import sys
import time
import wave

from livekit import rtc
from livekit.agents import stt, utils
from livekit.plugins import deepgram, openai

BLOCK = 320  # samples at 16 kHz: 20 ms


async def converse(service, pcm):
    """Text of a stream of this service, with audio in real time."""
    stream = service.stream()
    begin = time.monotonic()

    async def speak():
        for n, at in enumerate(range(0, len(pcm), 2 * BLOCK)):
            await asyncio.sleep(max(0, begin + n * BLOCK / 16_000 - time.monotonic()))
            piece = pcm[at : at + 2 * BLOCK]
            stream.push_frame(rtc.AudioFrame(piece, 16_000, 1, len(piece) // 2))

    async def listen():
        kinds, interim, final, usage = [], [], [], []
        async for event in stream:
            kinds.append(event.type.value)
            match event.type:
                case stt.SpeechEventType.INTERIM_TRANSCRIPT:
                    interim.append(event.alternatives[0].text)
                case stt.SpeechEventType.FINAL_TRANSCRIPT:
                    final.append([event.alternatives[0].text, event.alternatives[0].language])
                case stt.SpeechEventType.RECOGNITION_USAGE:
                    usage.append(event.recognition_usage.audio_duration)
                    if final:
                        break
        seconds = round(time.monotonic() - begin, 2)
        return {
            "kinds": kinds, "interim": interim, "final": final, "usage": usage,
            "final_after_s": seconds,
        }  # fmt: skip

    _, text = await asyncio.gather(speak(), asyncio.wait_for(listen(), 30))
    await stream.aclose()
    await service.aclose()
    return text


async def whole(service, pcm):
    """The same as a file."""
    event = await service.recognize(rtc.AudioFrame(pcm, 16_000, 1, len(pcm) // 2))
    return {"final": [[event.alternatives[0].text, event.alternatives[0].language]]}


async def main(base_url, path):
    with wave.open(path) as file:
        pcm = file.readframes(file.getnframes())
    ours = {"base_url": base_url, "api_key": "none"}
    detection = {"type": "semantic_vad", "eagerness": "high"}
    async with utils.http_context.open():
        services = {
            "server_vad": openai.STT(**ours, use_realtime=True),
            "semantic_vad": openai.STT(
                **ours, use_realtime=True, model="gpt-transcribe", detect_language=True,
                keywords=["Wheatear"], turn_detection=detection,
            ),
            "named": openai.STT(**ours, use_realtime=True, model="wheatear-small"),
            "local_vad": openai.STT(
                **ours, model="gpt-live-transcribe", noise_reduction_type="near_field"
            ),
            "deepgram": deepgram.STT(base_url=f"{base_url}/listen", api_key="none"),
        }  # fmt: skip
        texts = await asyncio.gather(*(converse(s, pcm) for s in services.values()))
        files = {
            "file": await whole(openai.STT(**ours, model="whisper-1"), pcm),
            "deepgram_file": await whole(services["deepgram"], pcm),
        }
    return dict(zip(services, texts, strict=True)) | files


class Kept(logging.Handler):
    """Remembers what is logged."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(f"{record.name} {record.levelname} {record.getMessage()}")


if __name__ == "__main__":
    kept = Kept()
    logging.getLogger().addHandler(kept)
    result = asyncio.run(main(*sys.argv[1:]))
    print(json.dumps(result | {"logged": kept.lines}))
