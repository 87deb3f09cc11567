"""OpenAI's wire as its SDK has it: types, held strictly, and what must be true of a session."""

import base64
import json
import typing
from typing import Any

import pydantic
from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from websockets.exceptions import ConnectionClosed

ITEM = "conversation.item.input_audio_transcription"
BUFFER = "input_audio_buffer"

_OURS = {
    "session": {"id", "object", "expires_at"},  # of a session's answer, not of its request
    "turn_detection": set(),
    "usage": {"seconds"},  # of transcript.text.done, beside its tokens
    "words": {"confidence"},
    "model": {"languages", "latencies_ms", "default_latency_ms", "default"},
    "verbose": {"task"},
}
"""Fields beyond OpenAI's types that docs/serving.md lists, by their place."""

EVENTS = {
    typing.get_args(kind.model_fields["type"].annotation)[0]: kind
    for kind in typing.get_args(typing.get_args(RealtimeServerEvent)[0])
}


def check(value: dict[str, Any], kind: Any, where: str = "event") -> Any:
    """The value as the SDK's type: every field there and right, none that it does not know."""
    parsed = pydantic.TypeAdapter(kind).validate_python(value)
    _check_extras(parsed, where)
    return parsed


def _check_extras(value: Any, where: str) -> None:
    if isinstance(value, list):
        for part in value:
            _check_extras(part, where)
    elif isinstance(value, pydantic.BaseModel):
        unknown = set(value.model_extra or {}) - _OURS.get(where, set())
        assert not unknown, f"{where} has {unknown}, which {type(value).__name__} does not"
        for name in type(value).model_fields:
            _check_extras(getattr(value, name), name)


def check_event(event: dict[str, Any]) -> Any:
    """A realtime event as the SDK's type."""
    event = json.loads(json.dumps(event))
    session = event.get("session", {})
    form = session.get("audio", {}).get("input", {}).get("format", {})
    if form.get("type") == "audio/pcm":
        assert 8000 <= form["rate"] <= 48_000
        form["rate"] = 24_000  # the only one that OpenAI's has
    return check(event, EVENTS[event["type"]])


class Session:
    """One side of a realtime session; whatever comes is held to the rules as it comes."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.got: list[dict[str, Any]] = []
        self.deltas: dict[str, str] = {}
        self.committed: dict[str, str | None] = {}
        """Item -> the one before it."""
        self.completed: dict[str, str] = {}
        self.speaking: str | None = None
        self.updates = 0
        """Updates without an answer."""
        self._spoken_ms = 0
        self._ids: set[str] = set()

    def send(self, type: str, **fields: Any) -> None:  # noqa: A002
        self.socket.send(json.dumps({"type": type, **fields}))

    def append(self, samples: Any) -> None:
        """Samples in the session's form, or their bytes."""
        data = samples if isinstance(samples, bytes) else samples.tobytes()
        self.send(f"{BUFFER}.append", audio=base64.b64encode(data).decode())

    def update(self, **audio_input: Any) -> dict[str, Any]:
        """Changes settings of the input; returns the answer or the error."""
        self.send_update(**audio_input)
        return self.next("session.updated", "error")

    def send_update(self, **audio_input: Any) -> None:
        """Sends other settings of the input."""
        session = {"type": "transcription", "audio": {"input": audio_input}}
        self.updates += 1
        self.send("session.update", session=session)

    def next(self, *types: str, timeout: float = 30.0) -> dict[str, Any]:
        """The next event of one of these types; all that come before it are taken in."""
        while True:
            event = self.take(timeout)
            if event["type"] in types:
                return event

    def all(self, timeout: float = 30.0) -> list[dict[str, Any]]:
        """Everything up to the end of the socket."""
        while True:
            try:
                self.take(timeout)
            except ConnectionClosed:
                return self.got

    def take(self, timeout: float = 30.0) -> dict[str, Any]:
        event = json.loads(self.socket.recv(timeout=timeout))
        self.got.append(event)
        check_event(event)
        self._follow(event)
        return event

    def _follow(self, event: dict[str, Any]) -> None:
        """Checks the order of events."""
        assert event["event_id"] not in self._ids
        self._ids.add(event["event_id"])
        item = event.get("item_id") or event.get("item", {}).get("id")
        match event["type"]:
            case "session.created":
                assert len(self.got) == 1
            case "session.updated":
                self.updates -= 1
            case "input_audio_buffer.speech_started":
                assert self.speaking is None
                assert item not in self.committed
                assert event["audio_start_ms"] >= self._spoken_ms
                self.speaking, self._spoken_ms = item, event["audio_start_ms"]
            case "input_audio_buffer.speech_stopped":
                assert self.speaking == item
                assert item not in self.committed
                assert event["audio_end_ms"] >= self._spoken_ms
                self.speaking, self._spoken_ms = None, event["audio_end_ms"]
            case "input_audio_buffer.committed":
                assert item not in self.committed
                assert event["previous_item_id"] == next(reversed(self.committed), None)
                self.committed[item] = event["previous_item_id"]
                self._expect = [("conversation.item.added", item), ("conversation.item.done", item)]
            case "conversation.item.added" | "conversation.item.done":
                assert self._expect.pop(0) == (event["type"], item)
                assert event["previous_item_id"] == self.committed[item]
                assert event["item"]["content"][0]["type"] == "input_audio"
            case "conversation.item.input_audio_transcription.delta":
                assert item not in self.completed
                assert event["delta"]
                self.deltas[item] = self.deltas.get(item, "") + event["delta"]
            case "conversation.item.input_audio_transcription.completed":
                assert item in self.committed
                assert item not in self.completed
                assert self.deltas.get(item, "") == event["transcript"]
                assert event["usage"]["seconds"] >= 0
                self.completed[item] = event["transcript"]

    def check_rest(self) -> None:
        """Checks that all committed items are completed, and that speech has stopped."""
        assert set(self.committed) == set(self.completed)
        assert self.speaking is None

    @property
    def transcripts(self) -> list[str]:
        """Transcripts of all items, in the order of their commits."""
        return [self.completed[item] for item in self.committed]
