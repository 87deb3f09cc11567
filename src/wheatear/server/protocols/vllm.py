"""/v1/realtime?dialect=vllm: the realtime transcription of vLLM, which is not OpenAI's.

    session.created                                     when the socket opens
    <- session.update {model}                           not answered; must come before a commit
    <- input_audio_buffer.append {audio}                PCM16, 16 kHz, base64
    <- input_audio_buffer.commit                        text is told from now on
    transcription.delta {delta} ...
    <- input_audio_buffer.commit {final: true}          the utterance ends
    transcription.done {text, usage}                    the next one may begin
    error {error, code}

Events are those of vLLM 0.2x.  Besides, the query may have sample_rate, language and delay.
"""

import logging
import math
import time
import uuid
from collections import deque
from dataclasses import dataclass
from typing import Any, get_args

import msgspec

from wheatear.errors import WheatearError
from wheatear.model.languages import AUTO, replacement_note
from wheatear.model.latency import FRAME_MS
from wheatear.server.api_errors import Refusal, refusal_of
from wheatear.server.audio_formats import base64_audio
from wheatear.server.known_names import single_values
from wheatear.server.protocols.openai_events import wrong_value
from wheatear.server.scheduler.scheduler import Cut, Ended, Told
from wheatear.server.served_models import DELAYS, Models
from wheatear.server.session.connection import NORMAL, Dialogue, Socket
from wheatear.server.session.json_messages import Audio, put_back, split_audio
from wheatear.server.session.live_stream import Live, live_pcm
from wheatear.server.session.utterance import Said
from wheatear.transcript.results import Final, Partial


class Update(msgspec.Struct, tag="session.update", forbid_unknown_fields=True):
    model: str | None = None
    event_id: str | None = None


class Append(msgspec.Struct, tag="input_audio_buffer.append", forbid_unknown_fields=True):
    audio: str
    event_id: str | None = None


class Commit(msgspec.Struct, tag="input_audio_buffer.commit", forbid_unknown_fields=True):
    final: bool = False
    event_id: str | None = None


_log = logging.getLogger(__name__)
_QUERY = ("api-version", "delay", "dialect", "intent", "language", "model", "sample_rate")
_decoder = msgspec.json.Decoder(Update | Append | Commit)
_KNOWN = [kind.__struct_config__.tag for kind in get_args(Update | Append | Commit)]


@dataclass
class Utterance(Said):
    """What is said up to a final commit."""

    start: float = 0.0
    """Seconds of the stream."""
    end: float = 0.0
    begun: bool = False
    """Whether its text is told as it comes."""


class Vllm(Dialogue):
    wire = "vllm"

    def __init__(self, socket: Socket, models: Models) -> None:
        super().__init__(socket)
        self._models = models
        self._served = models.default
        self._rate, self._language = "16000", AUTO
        self._delay: str | None = None
        self._validated = False
        self._utterance = Utterance()
        self._cuts: deque[Utterance] = deque()
        """What ends with each cut that is to come."""

    # -- the client speaks

    def ask(self) -> None:
        query = single_values(self.socket.websocket.query_params, _QUERY, "in the address")
        self._served = self._models.named(query.get("model"))
        self._rate = query.get("sample_rate", self._rate)
        if not (self._rate.isascii() and self._rate.isdigit() and len(self._rate) < 7):
            raise Refusal(
                400, "sample_rate must be a whole number", code="invalid_value",
                param="sample_rate",
            )  # fmt: skip
        self._delay, self._language = query.get("delay"), query.get("language", AUTO)
        if self._delay not in (None, *DELAYS):
            raise Refusal(
                400, f"delay is one of {', '.join(DELAYS)}", code="invalid_value", param="delay"
            )
        try:
            _, key = self._served.recognizer.choose(self._language, None)
        except WheatearError as error:
            raise refusal_of(error, "language") from error
        if note := replacement_note(self._language, key):
            _log.info("%s: %s", self.socket.request_id, note)

    async def begin(self) -> None:
        await self._open()
        self._say("session.created", id=f"sess-{uuid.uuid4().hex}", created=int(time.time()))
        self.socket.listen()

    async def _open(self) -> None:
        """Goes on with a stream of the model that is wanted."""
        served = self._served
        latency = served.delayed(self._delay) if self._delay else served.latency_ms
        pcm = await live_pcm(int(self._rate), "s16", 1)
        limits = self.socket.settings.limits
        live = await Live.open(served, pcm, limits, language=self._language, latency_ms=latency)
        former, self.live = self.live, live
        if former is not None:
            former.abandon()

    async def binary(self, data: bytes) -> None:
        self._fail("audio is sent as input_audio_buffer.append, in base64", "invalid_audio")

    async def text(self, message: str) -> None:
        try:
            message, audio = split_audio(message)
            event = _decoder.decode(message)
            audio = put_back(event.audio if isinstance(event, Append) else None, audio)
        except Refusal as refusal:
            self._fail(refusal.message, refusal.code)
            return
        except msgspec.ValidationError as error:
            self._fail(_misread(error), "unknown_event")
            return
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            self._fail(f"this is not JSON: {error}", "invalid_json")
            return
        if self.stopped:
            return
        try:
            await self._do(event, audio)
        except Exception as error:
            refusal = refusal_of(error)
            if refusal.status >= 500:
                raise
            self._fail(refusal.message, refusal.code)

    async def _do(self, event: Update | Append | Commit, audio: Audio) -> None:
        """audio: of an Append.  Raises Refusal, and what a stream raises."""
        match event:
            case Update():
                await self._update(event.model)
            case Append():
                await self.stream.push(await audio.decoded(_audio))
            case Commit() if not self._validated:
                self._fail("send session.update with a model first", "model_not_validated")
            case Commit(final=True):
                self._finish()
            case Commit():
                self._utterance.begun = True
                self._tell(self._utterance)

    async def _update(self, model: str | None) -> None:
        served = self._models.named(model)
        if served is not self._served:
            if self.stream.seconds:
                raise Refusal(400, "the model can't be changed once audio has come")
            self._served = served
            await self._open()
        self._validated = True

    def _finish(self) -> None:
        """The utterance ends with the audio that has come."""
        self.stream.flush()
        utterance, self._utterance = self._utterance, Utterance(start=self.stream.seconds)
        utterance.end, utterance.begun = self.stream.seconds, True
        self._cuts.append(utterance)
        self.stream.cut()

    # -- the model speaks

    def hear(self, item: Told) -> None:
        match item:
            case Partial() | Final() if item.text:
                utterance = self._cuts[0] if self._cuts else self._utterance
                utterance.hear(item)
                if utterance.begun:
                    self._tell(utterance)
            case Cut():
                self._tell_done(self._cuts.popleft())
            case Ended():
                self._utterance.end = item.duration
                if self._utterance.begun:
                    self._tell_done(self._utterance)
                self.socket.close(NORMAL)

    # -- the server speaks

    def _tell(self, utterance: Utterance) -> None:
        """Tells what has been said and not been told."""
        if delta := utterance.delta()[0]:
            self._say("transcription.delta", delta=delta)

    def _tell_done(self, utterance: Utterance) -> None:
        self._tell(utterance)
        heard = math.ceil((utterance.end - utterance.start) * 1000 / FRAME_MS)
        wrote = len(utterance.tokens)
        usage = {
            "prompt_tokens": heard, "completion_tokens": wrote, "total_tokens": heard + wrote,
        }  # fmt: skip
        self._say("transcription.done", text=utterance.text, usage=usage)

    def refuse(self, refusal: Refusal) -> None:
        self._fail(refusal.message, refusal.code)

    def _fail(self, message: str, code: str) -> None:
        self._say("error", error=message, code=code)

    def _say(self, type: str, **fields: Any) -> None:  # noqa: A002
        self.socket.send({"type": type, **fields})


def _misread(error: msgspec.ValidationError) -> str:
    """What is wrong with an event."""
    refusal = wrong_value(error)
    if refusal.code == "unknown_parameter":
        return refusal.message
    return f"{refusal.message}; events are {', '.join(_KNOWN)}"


def _audio(text: str) -> bytes:
    """Raises Refusal."""
    try:
        return base64_audio(text)
    except Refusal as refusal:
        refusal.code = "invalid_audio"
        raise
