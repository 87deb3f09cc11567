"""Wyoming, the protocol of Home Assistant's voice services: events of JSON and PCM over TCP.

    describe                                      -> info
    transcribe, audio-start, audio-chunk ..., audio-stop
                 -> transcript-start, transcript-chunk ..., transcript, transcript-stop

It knows no keys and no encryption.  A connection has a place among live sockets from its first
audio on; without one it may be closed to make room for others.  A command ends with audio-stop;
where `transcribe` has a vad_sensitivity it ends with its first turn, if that comes earlier, and
what is said after it is not listened to.  A connection may bring one command after the other.  It
is held to the limits of any other live socket.
"""

import asyncio
import io
import logging
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, TypeVar, cast

import msgspec
import numpy as np
from msgspec import Meta
from starlette.websockets import WebSocket
from wyoming.asr import Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.error import Error
from wyoming.event import Eventable, write_event
from wyoming.info import AsrModel, AsrProgram, Attribution, Info
from wyoming.ping import Pong

from wheatear import __version__
from wheatear.model.languages import AUTO, replacement_note
from wheatear.recognizer.options import StreamOptions
from wheatear.server.access.limits import TokenBucket
from wheatear.server.access.listener import Acceptor, Port
from wheatear.server.access.message_buffers import Share
from wheatear.server.access.middleware import LARGE_MESSAGE_BYTES, anonymous_client
from wheatear.server.api_errors import ApiError, no_room
from wheatear.server.app import Service
from wheatear.server.background import run_in_background, set_caller
from wheatear.server.parameters import nearest, unknown_name
from wheatear.server.scheduler.events import FeedEvent, Flushed, StreamEnded
from wheatear.server.served_models import ServedModel, ServedModels, rules_for_eagerness
from wheatear.server.session.connection import NORMAL, Connection, ProtocolHandler
from wheatear.server.session.json_messages import MAX_JSON_CHARACTERS
from wheatear.server.session.live_stream import live_pcm
from wheatear.server.session.utterance import Utterance
from wheatear.server.settings import Limits
from wheatear.transcript.results import Final, Partial
from wheatear.transcript.turns import TurnRules

_log = logging.getLogger("wheatear.access")

_LONGEST_HEAD = 1 << 16  # bytes of an event's first line
_USUAL, _COSTLY = 1024, 512  # bytes of JSON that count for nothing, and for a message each
_MOST_NOTES = 10  # of a connection, and unknown fields that are looked at
_REST_SECONDS = 2.0  # that a client which is not let in may take to go
_EAGERNESS = {"relaxed": "low", "default": "medium", "aggressive": "high"}
_HOME = Attribution("Wheatear", "")
Length = Annotated[int, Meta(ge=0)]


# -- what clients say


class Head(msgspec.Struct):
    """The first line of an event."""

    type: str
    data: dict[str, Any] | None = None
    data_length: Length | None = None
    payload_length: Length | None = None


class Sizes(msgspec.Struct):
    """What comes after the first line of an event, which is skipped otherwise."""

    data_length: Length | None = None
    payload_length: Length | None = None


class Transcribe(msgspec.Struct):
    """How the next command is to be listened to."""

    name: str | None = None
    language: str | None = None
    context: dict[str, Any] | None = None
    """Of earlier commands; the model makes nothing of it."""
    vad_sensitivity: str | None = None
    transcript_names: list[str] | None = None
    transcript_terms: list[str] | None = None

    @property
    def turns(self) -> TurnRules:
        return rules_for_eagerness(_EAGERNESS.get(self.vad_sensitivity or "default", "medium"))

    def hints(self, longest: int) -> str:
        """What may be said, as a prompt, names first, of no more letters than that."""
        hints = ""
        for hint in (*(self.transcript_names or ()), *(self.transcript_terms or ())):
            if len(hints) + len(hint) >= longest:
                break
            hints += hint + "\n"
        return hints


class Sound(msgspec.Struct, frozen=True):
    """The form of audio."""

    rate: int
    width: Annotated[int, Meta(ge=1, le=4)]
    """Bytes of a sample."""
    channels: int


@dataclass
class Command(Utterance):
    """What is said up to audio-stop, or to the end of its first turn."""

    language: str
    """That was asked for."""
    one_turn: bool
    begun: bool = False
    """Whether transcript-start has been sent."""
    audio: bool = False
    """Whether any has come."""


class Wyoming(ProtocolHandler[Command]):
    wire = "wyoming"

    def __init__(
        self, connection: Connection, models: ServedModels, take_place: Callable[[], None]
    ) -> None:
        """take_place: takes a place among live sockets, or raises ApiError."""
        super().__init__(connection)
        self._models, self._take_place = models, take_place
        self._since = time.monotonic()
        """When the client last brought or got anything of a command."""
        self._asked = Transcribe()
        self._sound: Sound | None = None
        self._rest = b""
        """Bytes of a sample that has not come whole."""
        self._command: Command | None = None
        """What is being listened to."""
        self._noted: set[str] = set()
        """Sentences about settings without effect, which were logged."""
        self._deaf = False
        """Whether audio is passed over, since the command it belongs to has had its turn."""

    # -- the client speaks

    async def on_open(self) -> None:
        """Nothing is asked for yet."""

    async def on_text(self, message: str) -> None:
        raise ApiError(400, "events come as bytes")

    async def on_bytes(self, data: bytes) -> None:
        """A whole event."""
        begin = data.index(b"\n") + 1
        rest = memoryview(data)[begin:]
        head = _decoded(data[:begin], Head, "event")
        length = head.data_length or 0
        fields = head.data or {}
        if length:
            fields = fields | _decoded(rest[:length], dict[str, Any], head.type)
        self._check_idle(head.type)
        match head.type:
            case "describe":
                self._send(_info(self._models))
            case "ping":
                text = fields.get("text")
                self._send(Pong(text if isinstance(text, str) else None))
            case "transcribe":
                self._account(fields, Transcribe, head.type)
                await self._transcribe(_typed(fields, Transcribe, head.type))
            case "audio-start":
                self._account(fields, Sound, head.type)
                await self._start(_typed(fields, Sound, head.type))
            case "audio-chunk" if not self._deaf:
                await self._take(_typed(fields, Sound, head.type), rest[length:])
            case "audio-stop":
                self._stop_audio()
            case kind if kind != "audio-chunk":
                self._note(f"{kind[:80]!r} is not known, and has no effect")

    def _account(self, fields: dict[str, Any], form: type[msgspec.Struct], kind: str) -> None:
        """Notes the fields that are not known: they may be of a newer protocol.

        Raises ApiError for one that looks misspelled.
        """
        known = [*form.__struct_fields__, "timestamp"]
        for name in islice((name for name in fields if name not in known), _MOST_NOTES):
            if nearest(name, known):
                raise unknown_name(name, known, f"in {kind}")
            self._note(f"{name[:80]!r} of {kind} is not known, and has no effect")

    def _note(self, sentence: str) -> None:
        """Logs a sentence about a setting without effect, once."""
        if sentence not in self._noted and len(self._noted) < _MOST_NOTES:
            self._noted.add(sentence)
            _log.info("%s: %s", self.connection.request_id, sentence)

    def _check_idle(self, event: str) -> None:
        """Raises ApiError for a client that keeps a connection and brings no audio."""
        now, idle = time.monotonic(), self.connection.settings.limits.idle_seconds
        if event.startswith("audio-"):
            self._since = now
        elif now - self._since > idle:
            raise ApiError(408, f"no audio has come for {idle:g} s", code="idle")

    async def _start(self, sound: Sound) -> None:
        """A command begins; one that has not been ended is forgotten."""
        if self._command is not None:
            self._forget()
        if self.live is not None:
            self.live.count_control()
        else:
            self._take_place()
        asked, served = self._asked, self._models.named(self._asked.name, "name")
        options = await self._options(served)
        if self.live is None or self.live.served is not served:
            await self._open(served, sound, options)
        else:
            self._switch(options)
            await self._listen(sound)
        self._deaf, self._rest = False, b""
        one_turn = asked.vad_sensitivity is not None
        self._command = Command(language=self._told_language(), one_turn=one_turn)

    async def _transcribe(self, asked: Transcribe) -> None:
        """How to listen: to the next command, and to the one that has begun."""
        self._asked, command, sound = asked, self._command, self._sound
        if command is None or sound is None:
            return
        if not command.audio:
            await self._start(sound)
        elif (served := self._models.named(asked.name, "name")) is not self.stream.served:
            self._send(Error(f"{served.name} listens from the next command on", "invalid_value"))
        else:
            self._switch(await self._options(served))
            command.language = self._told_language()
            command.one_turn = asked.vad_sensitivity is not None

    def _switch(self, options: StreamOptions) -> None:
        self.stream.switch(language=options.language, turns=options.turns, phrases=options.phrases)

    async def _options(self, served: ServedModel) -> StreamOptions:
        """What was asked for, as a stream takes it.  Raises PhraseError."""
        asked = self._asked
        longest = self.connection.settings.limits.phrase_letters
        hints = asked.hints(longest)
        given = (*(asked.transcript_names or ()), *(asked.transcript_terms or ()))
        if hints.count("\n") < len(given):
            self._note(f"names and terms beyond {longest} letters have no effect")
        if (wanted := asked.vad_sensitivity) and wanted not in _EAGERNESS:
            self._note(f"vad_sensitivity {wanted[:80]!r} counts as default")
        phrases = await run_in_background(served.phrases, hints, ()) if hints else ()
        if phrases:
            await run_in_background(served.recognizer.compile_phrases, phrases)
        return StreamOptions(asked.language or AUTO, served.latency_ms, asked.turns, phrases)

    def _told_language(self) -> str:
        """The language of the command, which its transcript tells; logged where it is another
        than was asked for."""
        key = self.stream.scheduled.language
        if note := replacement_note(self._asked.language or AUTO, key):
            self._note(note)
        return key

    async def _open(self, served: ServedModel, sound: Sound, options: StreamOptions) -> None:
        if self.pending:
            raise ApiError(409, "the model can't be changed before the last transcript is there")
        pcm = await live_pcm(sound.rate, "s16", sound.channels)
        await self.open_stream(served, pcm, options)
        self._sound = sound

    async def _listen(self, sound: Sound) -> None:
        """From now on audio is of this form."""
        if sound != self._sound:
            self.stream.set_format(await live_pcm(sound.rate, "s16", sound.channels))
            self._sound, self._rest = sound, b""

    async def _take(self, sound: Sound, data: memoryview) -> None:
        if self._command is None:
            await self._start(sound)
        if self._command is not None:
            self._command.audio = True
        await self._listen(sound)
        if self._rest:
            data = memoryview(self._rest + data)
        whole = len(data) // sound.width * sound.width
        self._rest = bytes(data[whole:])
        await self.stream.push(_s16(data[:whole], sound.width))

    def _stop_audio(self) -> None:
        """The command has its end, and gets its answer in its turn, also if it had no audio."""
        command, deaf = self._command, self._deaf
        self._command, self._deaf = None, False
        if deaf:
            return  # it has been answered
        command = command or Command(language=self._asked.language or AUTO, one_turn=False)
        if self.live is None:
            self._answer(command)
        else:
            self.end_utterance(command)

    def _forget(self) -> None:
        self.discard_audio()
        self._command = None

    # -- the model speaks

    def on_event(self, item: FeedEvent) -> None:
        match item:
            case Partial() | Final() if item.text and not self.discarding:
                self._hear_text(item)
            case Flushed():
                if (command := self.pending.popleft()) is not None:
                    self._answer(command)
            case StreamEnded():
                if self._command is not None:
                    self._answer(self._command)
                self.connection.close(NORMAL)

    def _hear_text(self, event: Partial | Final) -> None:
        command = self.pending[0] if self.pending else self._command
        if command is None:
            return  # its turn is over
        command.add(event)
        self._tell(command)
        if isinstance(event, Final) and command.one_turn and command is self._command:
            self._answer(command)
            if not self.stopped:
                self._forget()
            self._command, self._deaf = None, True

    # -- the server speaks

    def _tell(self, command: Command) -> None:
        """Tells what has been said and not been told."""
        if not command.begun:
            command.begun = True
            self._send(TranscriptStart(language=command.language))
        if delta := command.delta()[0]:
            self._send(TranscriptChunk(delta))

    def _answer(self, command: Command) -> None:
        self._tell(command)
        language = next(iter(command.languages), command.language)
        self._send(Transcript(command.text, language=language))
        self._send(TranscriptStop())

    def on_error(self, refusal: ApiError) -> None:
        self._send(Error(refusal.message, refusal.code))

    def _send(self, event: Eventable) -> None:
        self.connection.send(_framed(event))


def _framed(event: Eventable) -> str:
    """An event as it is sent."""
    out = io.BytesIO()
    write_event(event.event(), out)
    return out.getvalue().decode()


Form = TypeVar("Form")
Fields = TypeVar("Fields", bound=msgspec.Struct)


def _decoded(data: bytes | memoryview, form: type[Form], what: str) -> Form:
    """Raises ApiError."""
    try:
        return msgspec.json.decode(data, type=form)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ApiError(
            400, f"this is no Wyoming {what[:50]}: {error}", code="bad_message"
        ) from error


def _typed(fields: dict[str, Any], form: type[Fields], what: str) -> Fields:
    """Raises ApiError."""
    try:
        return msgspec.convert(fields, form)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"{what}: {error}", code="invalid_value") from error


def _s16(data: memoryview, width: int) -> bytes | memoryview:
    """Samples of so many bytes, little-endian with a sign -> of two bytes, the upper ones."""
    if width == 2:
        return data
    bytes_ = np.frombuffer(data, np.uint8).reshape(-1, width)
    if width == 1:
        return np.stack([np.zeros_like(bytes_[:, 0]), bytes_[:, 0]], axis=1).tobytes()
    return bytes_[:, -2:].tobytes()


def _info(models: ServedModels) -> Info:
    """What this server can do."""
    made = {"attribution": _HOME, "installed": True}
    known = [
        AsrModel(
            name=served.name, description=f"{served.name}, {served.latency_ms} ms behind speech",
            version=None, languages=sorted({*served.recognizer.languages} - {AUTO}), **made,
        )
        for served in models
    ]  # fmt: skip
    program = AsrProgram(
        name="wheatear", description="Streaming speech recognition", version=__version__,
        models=known, supports_transcript_streaming=True, requires_external_vad=True, **made,
    )  # fmt: skip
    return Info(asr=[program])


# -- connections


class Line:
    """A TCP connection, in the way of a WebSocket whose messages are events."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limits: Limits,
        share: Share,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._share = share
        self._largest = limits.message_bytes
        self._rate = TokenBucket(limits.messages_per_second, limits.messages_per_second)
        gone = cast("_Protocol", writer.transport.get_protocol()).gone
        self.scope: dict[str, Any] = {
            "state": {"request_id": f"req_{uuid.uuid4().hex}", "gone": gone.is_set}
        }

    async def accept(self, subprotocol: str | None = None) -> None:
        """There is nothing to agree on."""

    async def receive(self) -> dict[str, Any]:
        """The next event, whole.  Raises ApiError for what is none, or is too large."""
        self._share.release()  # the event before has been dealt with
        try:
            line = await self._reader.readuntil(b"\n")
            sizes = _decoded(line, Sizes, "event")
            data, payload = sizes.data_length or 0, sizes.payload_length or 0
            self._check_size(data, payload)
            cost = 1 + max(0, len(line) + data - _USUAL) / _COSTLY + payload / LARGE_MESSAGE_BYTES
            await asyncio.sleep(self._rate.spend(cost))  # others have their turn in any case
            rest = await self._reader.readexactly(data + payload)
        except asyncio.LimitOverrunError as error:
            raise ApiError(413, f"an event begins with a line of {_LONGEST_HEAD} bytes") from error
        except asyncio.IncompleteReadError:
            return {"type": "websocket.disconnect", "half_closed": True}
        except ConnectionError:
            return {"type": "websocket.disconnect"}
        return {"type": "websocket.receive", "bytes": line + rest}

    def _check_size(self, data: int, payload: int) -> None:
        """Raises ApiError for an event that is too large, or for which there is no room."""
        if data > MAX_JSON_CHARACTERS:
            raise ApiError(413, f"data of {data} bytes; {MAX_JSON_CHARACTERS} are the most")
        if (size := data + payload) > self._largest:
            raise ApiError(413, f"an event of {size} bytes; {self._largest} are the most")
        if not self._share.holds(size):
            raise no_room()

    async def send_text(self, message: str) -> None:
        self._writer.write(message.encode())
        await self._writer.drain()

    async def close(self, code: int = NORMAL, reason: str | None = None) -> None:
        """Says that nothing more comes, and waits for the client to go: what it sends meanwhile
        is dropped, since a connection closed on it takes the last words with it."""
        transport = cast("asyncio.Transport", self._writer.transport)
        if not (transport.is_closing() or self._reader.at_eof()):
            transport.set_protocol(deaf := _Deaf())
            transport.resume_reading()
            transport.write_eof()
            await deaf.gone.wait()


class _Protocol(asyncio.StreamReaderProtocol):
    """Tells when the client has gone, also where nobody is reading."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.gone = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(exc)


class _Deaf(asyncio.Protocol):
    """Hears nothing but that the client has gone."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    def eof_received(self) -> bool:
        self.gone.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()


async def serve(service: Service, listener: socket.socket) -> Acceptor:
    """Takes connections, until the acceptor is closed."""
    port = Port(service.settings.limits.connections)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _hold(service, port, reader, writer)

    def protocol() -> _Protocol:
        return _Protocol(asyncio.StreamReader(limit=_LONGEST_HEAD), connected)

    acceptor = Acceptor(listener, protocol, port.room)
    await acceptor.start()
    return acceptor


async def _hold(
    service: Service, port: Port, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Holds a connection to its end, from its first audio on in a place of a live socket."""
    transport = cast("asyncio.Transport", writer.transport)
    began = time.perf_counter()
    client = anonymous_client((writer.get_extra_info("peername") or ("nobody",))[0])
    share = Share(service.buffers, client.name)
    line = Line(reader, writer, service.settings.limits, share)
    line.scope["state"] |= {
        "pace": service.concurrency.pace(client), "client": client, "buffers": service.buffers
    }  # fmt: skip
    set_caller(client.name)
    place = ExitStack()

    def take_place() -> None:
        if not port.is_placed(transport):
            place.enter_context(service.concurrency.hold("streams", client))
            port.has_place(transport)

    port.enter(transport, client.name)
    try:
        with place:
            socket = cast("WebSocket", line)
            held = Connection(socket, service.settings, service.metrics, service.draining)
            await held.run(Wyoming(held, service.models, take_place))
    except ApiError as refusal:
        service.metrics.refused.labels(refusal.reason).inc()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_REST_SECONDS):
                await line.send_text(_framed(Error(refusal.message, refusal.code)))
                await line.close()
    finally:
        share.release()
        port.leave(transport)
        writer.close()
        asyncio.get_running_loop().call_later(_REST_SECONDS, writer.transport.abort)
        _log.info(
            "WYOMING", extra={
                "request_id": line.scope["state"]["request_id"], "holder": client.name,
                "seconds": round(time.perf_counter() - began, 4),
            },
        )  # fmt: skip
