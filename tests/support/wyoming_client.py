"""A client of Wyoming, by the protocol's own library."""

import asyncio
import re
import socket

from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Info
from wyoming.ping import Pong

TYPES = (Error, Info, Pong, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop)


def port_of(server):
    return int(re.search(r":(\d+) \(Wyoming\)", server.process.stdout.readline())[1])


def connect(server):
    return AsyncTcpClient("127.0.0.1", server.wyoming, connect_timeout=5, read_timeout=30)


async def receive_events(client, until=TranscriptStop):
    """Typed events up to the first of a type, or the end of the connection."""
    got = []
    while (event := await client.read_event()) is not None:
        kind = next(kind for kind in TYPES if kind.is_type(event.type))
        got.append(kind.from_event(event))
        if kind in (until, Error):
            break
    return got


async def speak(client, samples, rate=16_000, width=2, channels=1, block=1024, **transcribe):
    """A command, as Home Assistant sends one."""
    await client.write_event(Transcribe(**transcribe).event())
    form = {"rate": rate, "width": width, "channels": channels}
    await client.write_event(AudioStart(**form).event())
    data = samples if isinstance(samples, bytes) else samples.tobytes()
    for at in range(0, len(data), block):
        await client.write_event(AudioChunk(audio=data[at : at + block], **form).event())


async def command(client, samples, **options):
    await speak(client, samples, **options)
    await client.write_event(AudioStop().event())
    return await receive_events(client)


def check(got):
    """Checks an answer and returns its text."""
    start, *chunks, transcript, stop = got
    assert isinstance(start, TranscriptStart)
    assert isinstance(stop, TranscriptStop)
    assert "".join(chunk.text for chunk in chunks) == transcript.text
    return transcript.text


def run(server, work):
    async def connected():
        async with connect(server) as client:
            return await work(client)

    return asyncio.run(connected())


def raw(server, data, timeout=10):
    """The answer to bytes, up to the end of the connection."""
    with socket.create_connection(("127.0.0.1", server.wyoming), timeout=timeout) as line:
        line.sendall(data)
        answer = b""
        while piece := line.recv(65_536):
            answer += piece
        return answer.decode()
