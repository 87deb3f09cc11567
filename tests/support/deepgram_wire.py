"""Deepgram's protocol as its SDK defines it: message types, and the rules of a stream."""

import json
from contextlib import contextmanager

import pydantic
import pytest
from deepgram import DeepgramClientEnvironment
from deepgram.listen.v1.types.listen_v1configure_failure import ListenV1ConfigureFailure
from deepgram.listen.v1.types.listen_v1configure_success import ListenV1ConfigureSuccess
from deepgram.listen.v1.types.listen_v1error import ListenV1Error
from deepgram.listen.v1.types.listen_v1metadata import ListenV1Metadata
from deepgram.listen.v1.types.listen_v1results import ListenV1Results
from deepgram.listen.v1.types.listen_v1speech_started import ListenV1SpeechStarted
from deepgram.listen.v1.types.listen_v1utterance_end import ListenV1UtteranceEnd
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

TYPES = {
    "Results": ListenV1Results, "Metadata": ListenV1Metadata, "Error": ListenV1Error,
    "SpeechStarted": ListenV1SpeechStarted, "UtteranceEnd": ListenV1UtteranceEnd,
    "ConfigureSuccess": ListenV1ConfigureSuccess, "ConfigureFailure": ListenV1ConfigureFailure,
}  # fmt: skip


PCM16 = "encoding=linear16&sample_rate=16000"


# Of Metadata: in Deepgram's documentation, not in its SDK.
MODEL_INFO = {"models", "model_info", "warnings", "extra", "tags"}


def check(message):
    """Every field is there that the SDK's type has, and none besides."""
    parsed = pydantic.TypeAdapter(TYPES[message["type"]]).validate_python(message)

    def look(value):
        if isinstance(value, list):
            for part in value:
                look(part)
        elif isinstance(value, pydantic.BaseModel):
            assert not set(value.model_extra or {}) - MODEL_INFO, value.model_extra
            for name in type(value).model_fields:
                look(getattr(value, name))

    look(parsed)


class Session:
    """A socket; whatever comes is held to the rules as it comes."""

    def __init__(self, socket):
        self.socket = socket
        self.got = []
        self.end = 0.0
        """End of the last settled span."""
        self._interim = ""

    def send(self, type):  # noqa: A002
        self.socket.send(json.dumps({"type": type}))

    def push(self, samples, block=1600):
        for at in range(0, len(samples), block):
            self.socket.send(samples[at : at + block].tobytes())

    def next(self, type, **fields):  # noqa: A002
        """The next message of a type with these fields."""
        while True:
            message = self.take()
            if message["type"] == type and fields.items() <= message.items():
                return message

    def all(self):
        with pytest.raises(ConnectionClosed):  # noqa: PT012
            while True:
                self.take()
        return self.got

    def take(self, timeout=30):
        message = json.loads(self.socket.recv(timeout=timeout))
        self.got.append(message)
        check(message)
        if message["type"] == "Results":
            self._check_results(message)
        return message

    def _check_results(self, message):
        """Spans tile the audio, and the text of a span only grows."""
        (best,) = message["channel"]["alternatives"]
        assert message["start"] == pytest.approx(self.end, abs=2e-3)
        assert best["transcript"].startswith(self._interim)
        assert " ".join(w["punctuated_word"] for w in best["words"]) == best["transcript"]
        starts = [w["start"] for w in best["words"]]
        assert starts == sorted(starts)
        self._interim = best["transcript"]
        if message["is_final"]:
            self.end = message["start"] + message["duration"]
            self._interim = ""
        else:
            assert not message["speech_final"]

    @property
    def finals(self):
        """The fixed spans with text."""
        results = [m for m in self.got if m["type"] == "Results" and m["is_final"]]
        return [m for m in results if m["channel"]["alternatives"][0]["transcript"]]

    @property
    def text(self):
        return " ".join(m["channel"]["alternatives"][0]["transcript"] for m in self.finals)


@contextmanager
def session(server, query=PCM16):
    with connect(f"{server.ws}/v1/listen?{query}") as socket:
        yield Session(socket)


def environment(server):
    return DeepgramClientEnvironment(
        base=server.url, production=server.ws, agent=server.ws, agent_rest=server.url
    )
