"""Wyoming, the protocol of Home Assistant's voice services: events of JSON and PCM over TCP.

    describe                                      -> info
    transcribe, audio-start, audio-chunk ..., audio-stop
                 -> transcript-start, transcript-chunk ..., transcript, transcript-stop

A command ends with audio-stop.  If `transcribe` has a vad_sensitivity, it also ends with its
first turn, and later audio is ignored.  A connection may bring one command after the other, and
has the limits of any other live socket.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
from wyoming.asr import Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.error import Error
from wyoming.event import Eventable
from wyoming.ping import Pong

from wheatear.model.languages import AUTO, replacement_note
from wheatear.recognizer.options import StreamOptions
from wheatear.server.api_errors import ApiError
from wheatear.server.background import run_in_background
from wheatear.server.parameters import nearest, unknown_name
from wheatear.server.protocols.wyoming_events import (
    EAGERNESS,
    AudioFormat,
    Head,
    Transcribe,
    convert,
    decode,
    describe_models,
    encode,
    to_s16,
)
from wheatear.server.scheduler.events import FeedEvent, Flushed, StreamEnded
from wheatear.server.served_models import PHRASE_LETTERS, ServedModel, ServedModels
from wheatear.server.session.connection import Connection
from wheatear.server.session.live_stream import live_pcm
from wheatear.server.session.protocol_handler import NORMAL, ProtocolHandler
from wheatear.server.session.utterance import Utterance
from wheatear.transcript.results import Final, Partial

_log = logging.getLogger("wheatear.access")

_MAX_NOTES = 10  # of a connection, and unknown fields that are checked


@dataclass
class Command(Utterance):
    """The text up to audio-stop, or to the end of the first turn."""

    language: str
    """The requested language."""
    one_turn: bool
    """True if the end of a turn ends the command."""
    started: bool = False
    """True once transcript-start is sent."""
    has_audio: bool = False


class WyomingHandler(ProtocolHandler[Command]):
    """A connection of a client of Wyoming."""

    wire = "wyoming"

    def __init__(
        self, connection: Connection, models: ServedModels, take_slot: Callable[[], None]
    ) -> None:
        """take_slot: takes a slot of live streams, or raises ApiError."""
        super().__init__(connection)
        self._models, self._take_slot = models, take_slot
        self._active_at = time.monotonic()
        """Time of the last event about audio."""
        self._request = Transcribe()
        self._format: AudioFormat | None = None
        self._incomplete = b""
        """Bytes of an incomplete sample."""
        self._command: Command | None = None
        """The command whose audio arrives."""
        self._notes: set[str] = set()
        """Sentences about settings without effect, which are logged."""
        self._ignoring = False
        """True while audio of a command that has ended with its turn is ignored."""

    # -- events of the client

    async def on_open(self) -> None:
        """Waits for the first event."""

    async def on_text(self, message: str) -> None:
        raise ApiError(400, "events come as bytes")

    async def on_bytes(self, data: bytes) -> None:
        begin = data.index(b"\n") + 1
        rest = memoryview(data)[begin:]
        head = decode(data[:begin], Head, "event")
        length = head.data_length or 0
        fields = head.data or {}
        if length:
            fields = fields | decode(rest[:length], dict[str, Any], head.type)
        self._check_idle(head.type)
        match head.type:
            case "describe":
                self._send(describe_models(self._models))
            case "ping":
                text = fields.get("text")
                self._send(Pong(text if isinstance(text, str) else None))
            case "transcribe":
                self._check_names(fields, Transcribe, head.type)
                await self._transcribe(convert(fields, Transcribe, head.type))
            case "audio-start":
                self._check_names(fields, AudioFormat, head.type)
                await self._start(convert(fields, AudioFormat, head.type))
            case "audio-chunk" if not self._ignoring:
                await self._push(convert(fields, AudioFormat, head.type), rest[length:])
            case "audio-stop":
                self._stop_audio()
            case kind if kind != "audio-chunk":
                self._note(f"{kind[:80]!r} is not known, and has no effect")

    def _check_names(self, fields: dict[str, Any], kind: type[msgspec.Struct], event: str) -> None:
        """Notes unknown fields, which may be of a newer protocol.

        Raises ApiError for one that looks misspelled.
        """
        known = [*kind.__struct_fields__, "timestamp"]
        for name in islice((name for name in fields if name not in known), _MAX_NOTES):
            if nearest(name, known):
                raise unknown_name(name, known, f"in {event}")
            self._note(f"{name[:80]!r} of {event} is not known, and has no effect")

    def _note(self, sentence: str) -> None:
        """Logs a sentence about a setting without effect, once."""
        if sentence not in self._notes and len(self._notes) < _MAX_NOTES:
            self._notes.add(sentence)
            _log.info("%s: %s", self.connection.request_id, sentence)

    def _check_idle(self, event: str) -> None:
        """Raises ApiError for a client that keeps a connection without audio."""
        now, idle = time.monotonic(), self.connection.settings.limits.idle_seconds
        if event.startswith("audio-"):
            self._active_at = now
        elif now - self._active_at > idle:
            raise ApiError(408, f"no audio has come for {idle:g} s", code="idle")

    async def _start(self, audio: AudioFormat) -> None:
        """Starts a command, and discards one that has not ended."""
        if self._command is not None:
            self._discard()
        if self.live is not None:
            self.live.count_control()
        else:
            self._take_slot()
        request, model = self._request, self._models.named(self._request.name, "name")
        options = await self._options(model)
        if self.live is None or self.live.served is not model:
            await self._open(model, audio, options)
        else:
            self._switch(options)
            await self._set_format(audio)
        self._ignoring, self._incomplete = False, b""
        one_turn = request.vad_sensitivity is not None
        self._command = Command(language=self._language(), one_turn=one_turn)

    async def _transcribe(self, request: Transcribe) -> None:
        """Applies options to the next command and to the one that has started."""
        self._request, command, audio = request, self._command, self._format
        if command is None or audio is None:
            return
        if not command.has_audio:
            await self._start(audio)
        elif (model := self._models.named(request.name, "name")) is not self.stream.served:
            why = f"the model {model.name} can only be used from the next command on"
            self._send(Error(why, "invalid_value"))
        else:
            self._switch(await self._options(model))
            command.language = self._language()
            command.one_turn = request.vad_sensitivity is not None

    def _switch(self, options: StreamOptions) -> None:
        self.stream.switch(language=options.language, turns=options.turns, phrases=options.phrases)

    async def _options(self, model: ServedModel) -> StreamOptions:
        """Returns the options of the stream.  Raises PhraseError."""
        request = self._request
        max_letters = PHRASE_LETTERS
        prompt = request.prompt(max_letters)
        if prompt.count("\n") < len(request.terms):
            self._note(f"names and terms beyond {max_letters} letters have no effect")
        if (sensitivity := request.vad_sensitivity) and sensitivity not in EAGERNESS:
            self._note(f"vad_sensitivity {sensitivity[:80]!r} counts as default")
        phrases = await run_in_background(model.phrases, prompt, ()) if prompt else ()
        if phrases:
            await run_in_background(model.recognizer.compile_phrases, phrases)
        language = request.language or AUTO
        return StreamOptions(language, model.latency_ms, request.turn_rules, phrases)

    def _language(self) -> str:
        """Returns the language of the stream; logs it if it replaces the requested one."""
        language = self.stream.scheduled.language
        if note := replacement_note(self._request.language or AUTO, language):
            self._note(note)
        return language

    async def _open(self, model: ServedModel, audio: AudioFormat, options: StreamOptions) -> None:
        if self.pending:
            raise ApiError(409, "the model can't be changed before the last transcript is there")
        pcm = await live_pcm(audio.rate, "s16", audio.channels)
        await self.open_stream(model, pcm, options)
        self._format = audio

    async def _set_format(self, audio: AudioFormat) -> None:
        if audio != self._format:
            self.stream.set_format(await live_pcm(audio.rate, "s16", audio.channels))
            self._format, self._incomplete = audio, b""

    async def _push(self, audio: AudioFormat, data: memoryview) -> None:
        if self._command is None:
            await self._start(audio)
        if self._command is not None:
            self._command.has_audio = True
        await self._set_format(audio)
        if self._incomplete:
            data = memoryview(self._incomplete + data)
        complete = len(data) // audio.width * audio.width
        self._incomplete = bytes(data[complete:])
        await self.stream.push(to_s16(data[:complete], audio.width))

    def _stop_audio(self) -> None:
        """Ends the command, which is answered in order, also without audio."""
        command, answered = self._command, self._ignoring
        self._command, self._ignoring = None, False
        if answered:
            return
        command = command or Command(language=self._request.language or AUTO, one_turn=False)
        if self.live is None:
            self._answer(command)
        else:
            self.end_utterance(command)

    def _discard(self) -> None:
        self.discard_audio()
        self._command = None

    # -- events of the stream

    def on_event(self, item: FeedEvent) -> None:
        match item:
            case Partial() | Final() if item.text and not self.discarding:
                self._on_text_event(item)
            case Flushed():
                if (command := self.pending.popleft()) is not None:
                    self._answer(command)
            case StreamEnded():
                if self._command is not None:
                    self._answer(self._command)
                self.connection.close(NORMAL)

    def _on_text_event(self, event: Partial | Final) -> None:
        command = self.pending[0] if self.pending else self._command
        if command is None:
            return  # its turn is over
        command.add(event)
        self._send_chunk(command)
        if isinstance(event, Final) and command.one_turn and command is self._command:
            self._answer(command)
            if not self.stopped:
                self._discard()
            self._command, self._ignoring = None, True

    # -- events of the server

    def _send_chunk(self, command: Command) -> None:
        """Sends the text of a command that was not sent before."""
        if not command.started:
            command.started = True
            self._send(TranscriptStart(language=command.language))
        if delta := command.delta()[0]:
            self._send(TranscriptChunk(delta))

    def _answer(self, command: Command) -> None:
        self._send_chunk(command)
        language = next(iter(command.languages), command.language)
        self._send(Transcript(command.text, language=language))
        self._send(TranscriptStop())

    def on_error(self, error: ApiError) -> None:
        self._send(Error(error.message, error.code))

    def _send(self, event: Eventable) -> None:
        self.connection.send(encode(event))
