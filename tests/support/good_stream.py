"""A client as it should be: it speaks as people do, and takes down how it is answered."""

import json
import threading
import time
from dataclasses import dataclass, field

import numpy as np
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

_BLOCK = 0.1  # seconds


@dataclass
class Answers:
    """Answers to one stream, or to several in succession."""

    texts: list[str] = field(default_factory=list)
    """Texts of the streams that ended regularly."""
    waits: list[float] = field(default_factory=list)
    """Seconds from the end of each word to its text."""
    faults: list[str] = field(default_factory=list)
    """Streams that broke off, and how."""
    refused: int = 0
    """Number of streams rejected because the machine was fully loaded."""


def speak(
    url: str, samples: np.ndarray, answers: Answers, key: str = "", pace: float = 1.0
) -> None:
    """Sends samples (16 kHz int16) to a /ws address at the pace of speech; pace 0 sends at once."""
    headers = {"x-api-key": key} if key else {}
    try:
        with connect(url, additional_headers=headers, open_timeout=60) as socket:
            _converse(socket, samples, answers, pace)
    except (OSError, WebSocketException, TimeoutError, KeyError) as error:
        answers.faults.append(repr(error))


def _converse(socket: ClientConnection, samples: np.ndarray, answers: Answers, pace: float) -> None:
    first = json.loads(socket.recv(timeout=60))
    if first.get("code") == "overloaded":
        answers.refused += 1
        return
    assert first["type"] == "ready", first
    began = time.monotonic()
    listener = threading.Thread(target=_listen, args=(socket, began, answers), daemon=True)
    listener.start()
    size = round(_BLOCK * 16_000)
    for number, start in enumerate(range(0, len(samples), size)):
        time.sleep(max(0.0, began + (number + 1) * _BLOCK * pace - time.monotonic()))
        socket.send(samples[start : start + size].tobytes())
    socket.send("finish")
    listener.join(120)
    if listener.is_alive():
        answers.faults.append("no end has come")


def _listen(socket: ClientConnection, began: float, answers: Answers) -> None:
    text, last_word_s, ended = [], 0.0, False
    try:
        for message in socket:
            now, event = time.monotonic() - began, json.loads(message)
            for word in event.get("words", ()):
                if word["end"] > last_word_s and event["type"] == "partial":
                    last_word_s = word["end"]
                    answers.waits.append(now - last_word_s)
            if event["type"] == "final":
                text.append(event["text"])
            ended = ended or event["type"] == "end"
            if event["type"] == "error":
                answers.faults.append(event["message"])
    except (OSError, WebSocketException) as error:
        answers.faults.append(repr(error))
    if ended:
        answers.texts.append(" ".join(filter(None, text)))
    else:
        answers.faults.append("it was closed before its end")
