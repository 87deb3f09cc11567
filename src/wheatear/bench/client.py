"""A load generator: live streams played to a server in real time, and the lag of its answers.

Each stream sends speech over /ws like a microphone: a block whenever it is due, whatever the server
does. An answer depends on samples up to some block; its lag is the time from sending that block to
receiving the answer. The lag includes socket, queue, batching, encoder and search, and grows if the
server falls behind.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.reader import sample_speech
from wheatear.errors import BenchError

_PAUSE = 0.6  # seconds of silence between repetitions of the speech
_WARM_UP = 3.0  # seconds at the beginning that are not measured
_WINDOW = 0.0125  # seconds from the middle of a mel window to its end


@dataclass
class LoadResult:
    """Lags and ends of a number of streams."""

    lags: list[float] = field(default_factory=list)
    """Lag in seconds of each answer with new words."""
    refused: int = 0
    """Number of streams that the server rejected."""
    lost: int = 0
    """Number of streams that ended early."""
    ended: int = 0
    """Number of streams that received an end event after their last block."""

    def percentile_ms(self, q: float) -> float:
        """The q-th percentile of the lags, in milliseconds."""
        return float(np.percentile(self.lags, q)) * 1000 if self.lags else float("nan")


async def play(url: str, streams: int, latency_ms: int, seconds: float, **query: str) -> LoadResult:
    """Plays concurrent streams to a server.

    Streams start within the first second, at different places of the speech.

    Args:
        url: Base URL of the server.
        streams: Number of streams.
        latency_ms: Latency of each stream.
        seconds: Length of each stream.
        **query: More query parameters of /ws.

    Raises:
        BenchError: The server cannot be reached.
    """
    speech = np.round(sample_speech() * 32767).astype("<i2")
    speech = np.concatenate([speech, np.zeros(int(_PAUSE * SAMPLE_RATE), "<i2")])
    result = LoadResult()
    query = {"rate": str(SAMPLE_RATE), "latency": str(latency_ms), **query}
    fields = "&".join(f"{name}={value}" for name, value in query.items())
    address = f"{url.replace('http', 'ws', 1)}/ws?{fields}"
    await asyncio.gather(
        *(
            _stream(address, np.roll(speech, -n * 4001), n / streams, latency_ms, seconds, result)
            for n in range(streams)
        )
    )
    return result


async def _stream(
    address: str,
    speech: NDArray[np.int16],
    wait: float,
    latency_ms: int,
    seconds: float,
    result: LoadResult,
) -> None:
    from websockets.asyncio.client import connect  # noqa: PLC0415  (an extra)
    from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: PLC0415

    await asyncio.sleep(wait)
    try:
        async with connect(address, compression=None, open_timeout=20) as socket:
            first = json.loads(await socket.recv())
            if first["type"] != "ready":
                result.refused += first.get("code") == "overloaded"
                result.lost += first.get("code") != "overloaded"
                return
            block = SAMPLE_RATE * (20 if latency_ms < 160 else 40) // 1000
            sent: list[float] = []
            receiver = asyncio.create_task(collect_lags(socket, sent, block, result))
            start = time.perf_counter()
            for n in range(int(np.ceil(seconds * SAMPLE_RATE / block))):
                due = start + (n + 1) * block / SAMPLE_RATE  # when a microphone has filled it
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                at = np.arange(n * block, (n + 1) * block) % len(speech)
                await socket.send(speech[at].tobytes())
                sent.append(time.perf_counter())
            await socket.send("finish")
            result.ended += await asyncio.wait_for(receiver, 60)
    except InvalidStatus as error:
        if error.response.status_code not in (429, 503):
            raise BenchError(f"the server rejects {address}: {error}") from error
        result.refused += 1
    except (ConnectionClosed, TimeoutError):
        result.lost += 1
    except OSError as error:
        raise BenchError(f"no server can be reached at {address}: {error}") from error


async def collect_lags(
    messages: AsyncIterable[str | bytes], sent: Sequence[float], block: int, result: LoadResult
) -> bool:
    """Adds the lags of a stream's events; returns True if the last one is an end event.

    `sent` holds the time at which each block of `block` samples was sent.
    """
    end, lag = 0.0, None  # of the last partial
    async for message in messages:
        now = time.perf_counter()
        event = json.loads(message)
        # A turn that ends at the end of the partial cuts it: the chunk contains later audio, so
        # the block that the answer depends on is unknown.
        is_cut = event["type"] == "turn" and event["time"] == end
        if lag is not None and not is_cut:
            result.lags.append(lag)
        lag = None
        if event["type"] == "partial":
            end = event["end"]
            needed = int((end + _WINDOW) * SAMPLE_RATE) // block
            if end > _WARM_UP and needed < len(sent):
                lag = now - sent[needed]
        elif event["type"] == "end":
            return True
    return False
