"""Paced live streams against a running server, and how late its answers are.

Each stream sends speech over /ws as a microphone would: a block when its time has come, whatever
the server does. The lag of an answer is from the moment the block left in which the newest sample
lies that the answer can know of, to the moment the answer is there. It takes in all there is:
socket, queue, batch, encoder, search, and back; a stream that falls behind lags more and more.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.reader import sample_speech
from wheatear.errors import BenchError

_PAUSE = 0.6  # seconds between two sayings of the speech
_WARM = 3.0  # seconds at the beginning that are not counted
_WINDOW = 0.0125  # seconds that a mel frame looks past its middle


@dataclass
class Heard:
    """What became of some streams."""

    lags: list[float] = field(default_factory=list)
    """Seconds, of each answer that told new words."""
    refused: int = 0
    """Streams that the server did not take."""
    lost: int = 0
    """Streams that ended before their time."""
    ended: int = 0
    """Streams whose end was told, after all they had sent."""

    def percentile(self, q: float) -> float:
        """Milliseconds of lag that q per cent of the answers stayed below."""
        return float(np.percentile(self.lags, q)) * 1000 if self.lags else float("nan")


async def play(url: str, streams: int, latency_ms: int, seconds: float, **query: str) -> Heard:
    """Plays so many streams at a time to a server, each for so long.

    Streams begin spread over the first second, and at different places of the speech. `url` is the
    server's, `query` more of what /ws is asked.  Raises BenchError if the server can't be reached.
    """
    speech = np.round(sample_speech() * 32767).astype("<i2")
    speech = np.concatenate([speech, np.zeros(int(_PAUSE * SAMPLE_RATE), "<i2")])
    heard = Heard()
    asked = "&".join(f"{name}={value}" for name, value in {"latency": latency_ms, **query}.items())
    address = f"{url.replace('http', 'ws', 1)}/ws?rate={SAMPLE_RATE}&{asked}"
    await asyncio.gather(
        *(
            _stream(address, np.roll(speech, -n * 4001), n / streams, latency_ms, seconds, heard)
            for n in range(streams)
        )
    )
    return heard


async def _stream(
    address: str,
    speech: NDArray[np.int16],
    wait: float,
    latency_ms: int,
    seconds: float,
    heard: Heard,
) -> None:
    from websockets.asyncio.client import connect  # noqa: PLC0415  (an extra)
    from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: PLC0415

    await asyncio.sleep(wait)
    try:
        async with connect(address, compression=None, open_timeout=20) as socket:
            first = json.loads(await socket.recv())
            if first["type"] != "ready":
                heard.refused += first.get("code") == "overloaded"
                heard.lost += first.get("code") != "overloaded"
                return
            block = SAMPLE_RATE * (20 if latency_ms < 160 else 40) // 1000
            sent: list[float] = []
            listener = asyncio.create_task(_listen(socket, sent, block, heard))
            began = time.perf_counter()
            for n in count():
                if n * block >= seconds * SAMPLE_RATE:
                    break
                due = began + (n + 1) * block / SAMPLE_RATE  # when a microphone has filled it
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                at = np.arange(n * block, (n + 1) * block) % len(speech)
                await socket.send(speech[at].tobytes())
                sent.append(time.perf_counter())
            await socket.send("finish")
            heard.ended += await asyncio.wait_for(listener, 60)
    except InvalidStatus as error:
        if error.response.status_code not in (429, 503):
            raise BenchError(f"the server refuses {address}: {error}") from error
        heard.refused += 1
    except (ConnectionClosed, TimeoutError):
        heard.lost += 1
    except OSError as error:
        raise BenchError(f"no server can be reached at {address}: {error}") from error


async def _listen(socket: Any, sent: Sequence[float], block: int, heard: Heard) -> bool:
    """Takes down the lag of what comes; whether the end was told."""
    end, lag = 0.0, None  # of the last partial
    async for message in socket:
        now = time.perf_counter()
        answer = json.loads(message)
        # A turn that may end where the partial ends: it was told up to there of a chunk that goes
        # further, so it does not say how much of the audio the answer can know of.
        cut_short = answer["type"] == "turn" and answer["time"] == end
        if lag is not None and not cut_short:
            heard.lags.append(lag)
        lag = None
        if answer["type"] == "partial":
            end = answer["end"]
            needs = int((end + _WINDOW) * SAMPLE_RATE) // block
            if end > _WARM and needs < len(sent):
                lag = now - sent[needs]
        elif answer["type"] == "end":
            return True
    return False
