"""/v1/listen in the shape of Deepgram's: bytes of PCM in, Results out.

    wss .../v1/listen?encoding=linear16&sample_rate=16000&interim_results=true&...

    Results         is_final false: what has been said in this span so far (interim_results)
                    is_final true: the span is fixed, the next one begins where it ends
                    speech_final: and it ends with a pause (endpointing), or with a Finalize
    SpeechStarted   a turn begins (vad_events)
    UtteranceEnd    no word for so long after the last fixed one (utterance_end_ms)
    Metadata        after CloseStream, last

Spans tile the audio; times count from the beginning of the stream.  A span ends with a pause or,
in speech without one, before the first word after 6 seconds.  The client sends bytes, KeepAlive,
Finalize, Configure and CloseStream; if nothing comes for ten seconds the socket is closed (1011,
NET-0001).  Fields and order follow deepgram-sdk 7.17 and Deepgram's documentation.

`deepgram_query` says which parameters are obeyed and which are refused; what has no effect is told
in the metadata.  Text is punctuated and cased whatever the query says.
"""

import hashlib
import string
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wheatear import __version__
from wheatear.audio import file_type
from wheatear.decoder.boosting import Phrase
from wheatear.errors import PhraseError, WheatearError
from wheatear.recognizer.options import StreamOptions
from wheatear.server.api_errors import ApiError, to_api_error
from wheatear.server.background import run_in_background
from wheatear.server.protocols.deepgram_query import Asked, asked_of
from wheatear.server.protocols.openai_files import FileJob, Files, Intake
from wheatear.server.protocols.openai_form import Asked as Wanted
from wheatear.server.scheduler.events import FeedEvent, Flushed, StreamEnded
from wheatear.server.served_models import ServedModel, ServedModels
from wheatear.server.session.connection import NORMAL, Connection, ProtocolHandler
from wheatear.server.session.json_messages import check_size
from wheatear.server.session.live_stream import live_pcm
from wheatear.server.session.utterance import Utterance
from wheatear.transcript.results import Final, Partial, Turn, Word
from wheatear.transcript.segments import join_words
from wheatear.transcript.turns import TurnRules

_IDLE = 10.0  # seconds
_PIECE = 1 << 18  # bytes that are hashed at once
_SPACE = uuid.UUID("6b2f1a52-7c0e-4a63-9d0b-0f6a8d1c5b11")
"""In which models have their UUIDs."""
_SIGNS = string.punctuation + "¿¡«»“”„…。、？！，।؟،"
CHANNEL = [0, 1]
"""The first of one."""


# -- what clients say


class KeepAlive(msgspec.Struct, tag="KeepAlive", forbid_unknown_fields=True):
    pass


class Finalize(msgspec.Struct, tag="Finalize", forbid_unknown_fields=True):
    pass


class CloseStream(msgspec.Struct, tag="CloseStream", forbid_unknown_fields=True):
    pass


class Configure(msgspec.Struct, tag="Configure", forbid_unknown_fields=True):
    keyterms: list[str] | None = None
    features: dict[str, bool] | None = None


_decoder = msgspec.json.Decoder(KeepAlive | Finalize | CloseStream | Configure)


class Deepgram(ProtocolHandler[Utterance]):
    wire = "deepgram"
    protocols = ("token", "bearer")
    idle_seconds = _IDLE

    def __init__(self, connection: Connection, models: ServedModels) -> None:
        super().__init__(connection)
        self._models = models
        self._asked = Asked(models.default)
        self._model = model_of(models.default)
        self._sha256 = hashlib.sha256()
        self._created = datetime.now(UTC)
        self._held: Final | None = None
        """A span that is fixed and may yet turn out to be the answer to a Finalize."""
        self._from = 0.0
        """Seconds at which the span begins that is not fixed yet."""
        self._speaking = False
        self._pause = False
        """Whether the turn that has ended last ended with a pause."""
        self._last_word: float | None = None
        """Seconds at which the last fixed word ended, if UtteranceEnd has not told of it."""

    # -- the client speaks

    def check_request(self) -> None:
        self._asked = asked_of(self.connection.websocket.query_params, self._models)
        self._model = model_of(self._asked.served)

    async def on_open(self) -> None:
        asked, served = self._asked, self._asked.served
        pcm = await live_pcm(asked.sound.rate, asked.sound.encoding, asked.sound.channels)
        phrases = await self._phrases(asked.keyterms)
        options = StreamOptions(asked.language, served.latency_ms, asked.rules, phrases)
        await self.open_stream(served, pcm, options)

    async def _phrases(self, terms: tuple[str, ...]) -> tuple[Phrase, ...]:
        """Raises ApiError or PhraseError."""
        return await run_in_background(self._asked.served.phrases, None, terms) if terms else ()

    async def on_bytes(self, data: bytes) -> None:
        if self.stopped:
            return
        if not data:  # how streams were closed before CloseStream
            self.stop()
            return
        for at in range(0, len(data), _PIECE):
            piece = data[at : at + _PIECE]
            self._sha256.update(piece)
            await self.stream.push(piece)
        self._look_for_utterance_end()

    async def on_text(self, message: str) -> None:
        await self.connection.charge_json(len(message))
        try:
            check_size(message)
            event = _decoder.decode(message)
        except ApiError as refusal:
            self._tell_error("SchemaError", refusal.message, message=message[:1000])
            return
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            description = f"this is no message of this protocol: {error}"
            self._tell_error("SchemaError", description, message=message[:1000])
            return
        if self.stopped:
            return
        match event:
            case Finalize():
                self.end_utterance(Utterance())
            case CloseStream():
                self.stop()
            case Configure():
                await self._configure(event)

    async def _configure(self, event: Configure) -> None:
        """Goes on listening for other terms."""
        told: dict[str, Any] = {"request_id": self.connection.request_id}
        if event.features:
            told |= {
                "type": "ConfigureFailure", "code": "CONFIGURE_INTERNAL_ERROR",
                "description": f"features {', '.join(event.features)[:200]} can't be changed: "
                "text is written as the model writes it",
            }  # fmt: skip
            self.connection.send(told)
            return
        if event.keyterms is not None:
            try:
                self.stream.count_control()
                phrases = await self._phrases(tuple(event.keyterms))
                await run_in_background(self._asked.served.recognizer.compile_phrases, phrases)
                self.stream.switch(phrases=phrases)
            except (PhraseError, ApiError) as error:
                refusal = to_api_error(error)
                many = refusal.code == "too_large"
                code = "CONFIGURE_KEYTERM_LIMIT_EXCEEDED" if many else "CONFIGURE_INTERNAL_ERROR"
                told |= {"type": "ConfigureFailure", "code": code, "description": refusal.message}
                self.connection.send(told)
                return
            told["keyterms"] = event.keyterms
        self.connection.send({"type": "ConfigureSuccess", **told})

    def _look_for_utterance_end(self) -> None:
        """A gap after the last fixed word, as far as the audio has been heard."""
        wanted, live = self._asked.utterance_end_ms, self.stream
        if wanted is None or self._last_word is None or self._speaking:
            return
        heard = live.seconds - live.scheduled.backlog_s - live.scheduled.latency_ms / 1000
        if heard - self._last_word >= wanted / 1000:
            self.connection.send(
                {
                    "type": "UtteranceEnd", "channel": CHANNEL,
                    "last_word_end": round(self._last_word, 3),
                }
            )  # fmt: skip
            self._last_word = None

    # -- the model speaks

    def on_event(self, item: FeedEvent) -> None:
        match item:
            case Partial():
                self._let_out()
                if self._asked.interim:
                    self._tell(item, is_final=False)
            case Final():
                self._hear_final(item)
            case Turn():
                self._let_out()
                self._hear_turn(item)
            case Flushed():
                self.pending.popleft()
                last = self._held or Final("", (), self._from, item.duration, None, (), ())
                self._held, self._speaking = None, False
                self._fix(last, from_finalize=True)
            case StreamEnded():
                self._let_out()
                self._tell_metadata(item.duration)
                self.connection.close(NORMAL)

    def _hear_final(self, final: Final) -> None:
        if self._held is not None and not final.text:
            self._held = replace(self._held, end=final.end)
            return
        self._let_out()
        if self.pending:
            self._held = final
        else:
            self._fix(final)

    def _let_out(self) -> None:
        """What was held back is no answer to a Finalize."""
        if self._held is not None:
            held, self._held = self._held, None
            self._fix(held)

    def _fix(self, final: Final, from_finalize: bool = False) -> None:
        """Tells a span that is fixed."""
        pause = self._pause and self._asked.pause_ms is not None
        self._tell(final, True, from_finalize, pause or from_finalize)
        self._pause, self._from = False, final.end
        if final.words:
            self._last_word = final.words[-1].end

    def _hear_turn(self, turn: Turn) -> None:
        if turn.kind == "started":
            if self._asked.vad_events and not self._speaking:
                at = round(turn.time, 3)
                self.connection.send({"type": "SpeechStarted", "channel": CHANNEL, "timestamp": at})
            self._speaking = True
        elif turn.kind == "ended" and not turn.forced:
            self._speaking, self._pause = False, True

    # -- the server speaks

    def _tell(
        self,
        event: Partial | Final,
        is_final: bool,
        from_finalize: bool = False,
        speech_final: bool = False,
    ) -> None:
        self.connection.send(
            {
                "type": "Results",
                "channel_index": CHANNEL,
                "duration": round(event.end - event.start, 3),
                "start": round(event.start, 3),
                "is_final": is_final,
                "speech_final": speech_final,
                "channel": {"alternatives": [alternative(event, self._asked.multilingual)]},
                "metadata": {
                    "request_id": self.connection.request_id, "model_info": self._model[1],
                    "model_uuid": self._model[0],
                },
                "from_finalize": from_finalize,
            }
        )  # fmt: skip

    def _tell_metadata(self, duration: float) -> None:
        uid, info = self._model
        self.connection.send(
            {
                "type": "Metadata", "transaction_key": "deprecated",
                "request_id": self.connection.request_id, "sha256": self._sha256.hexdigest(),
                "created": told_time(self._created), "duration": round(duration, 3),
                "channels": 1, "models": [uid], "model_info": {uid: info},
                **self._asked.told(),
            }
        )  # fmt: skip

    def on_error(self, refusal: ApiError) -> None:
        self._tell_error(*_fault(refusal))

    def close_reason(self, refusal: ApiError) -> tuple[int, str]:
        code, _ = super().close_reason(refusal)
        return 1011 if refusal.code == "idle" else code, ": ".join(_fault(refusal))

    def _tell_error(self, variant: str, description: str, **more: Any) -> None:
        self.connection.send(
            {"type": "Error", "variant": variant, "description": description, **more}
        )


def _fault(refusal: ApiError) -> tuple[str, str]:
    """The name of a fault and what it is."""
    match refusal.code:
        case "idle":
            return "NET-0001", f"no audio and no KeepAlive for {_IDLE:g} s"
        case "invalid_audio":
            return "DATA-0000", refusal.message
    return refusal.code, refusal.message


# -- whole files


class Recordings:
    """POST /v1/listen: the file is the body."""

    def __init__(self, files: Files, models: ServedModels) -> None:
        self._files, self._models = files, models

    async def listen(self, request: Request) -> Response:
        try:
            asked = await run_in_background(asked_of, request.query_params, self._models, False)
        except WheatearError as error:
            raise to_api_error(error) from error
        sha256, created = hashlib.sha256(), datetime.now(UTC)
        content_type = request.headers.get("content-type", "")

        async def take_in(request: Request) -> Intake:
            nonlocal asked
            if content_type.startswith("multipart/"):
                raise ApiError(415, "the body is the file itself, not a form", code="unsupported")
            if content_type.startswith("application/json"):
                raise ApiError(
                    415, "send the file itself: nothing is fetched from addresses",
                    code="unsupported", param="url",
                )  # fmt: skip
            upload = self._files.upload(request)
            try:
                async for piece in request.stream():
                    sha256.update(piece)
                    await upload.write(piece)
                await upload.seek(0)
                raw, asked = asked.body(await upload.read(file_type.HEAD_BYTES), content_type)
                served = asked.served
                phrases = await run_in_background(served.phrases, None, asked.keyterms)
            except BaseException:
                await upload.close()
                raise
            wanted = Wanted(
                served, "json", asked.language, served.file_latency_ms, phrases, TurnRules(),
                words=True, segments=True, logprobs=False, stream=False, raw=raw,
            )  # fmt: skip
            return Intake(wanted, upload, upload.close)

        async def answer(job: FileJob, _: Wanted) -> Response:
            finals, ended = await job.whole()
            uid, info = model_of(asked.served)
            metadata = {
                "transaction_key": "deprecated", "request_id": request.state.request_id,
                "sha256": sha256.hexdigest(), "created": told_time(created),
                "duration": ended.duration, "channels": 1, "models": [uid],
                "model_info": {uid: info}, **asked.told(job.warnings),
            }  # fmt: skip
            results = await run_in_background(_results, finals, ended, asked)
            return JSONResponse({"metadata": metadata, "results": results})

        return await self._files.run(request, take_in, answer)


def _results(finals: Sequence[Final], ended: StreamEnded, asked: Asked) -> dict[str, Any]:
    """All that is said in a file."""
    words = tuple(word for final in finals for word in final.words)
    whole = Final(join_words(words), words, 0.0, ended.duration, ended.language, (), ())
    channel: dict[str, Any] = {"alternatives": [alternative(whole, asked.multilingual)]}
    if asked.multilingual and ended.language:
        channel["detected_language"] = ended.language
    told: dict[str, Any] = {"channels": [channel]}
    if asked.utterances:
        told["utterances"] = [
            {
                "start": s.start, "end": s.end, "confidence": _sure(s.words), "channel": 0,
                "transcript": s.text, "words": [word_told(word) for word in s.words],
                "id": str(uuid.uuid4()),
            }
            for final in finals
            for s in final.segments
        ]  # fmt: skip
    return told


# -- what the server says


def alternative(event: Partial | Final, multilingual: bool) -> dict[str, Any]:
    """What was said, as Deepgram tells it."""
    languages = {"languages": [event.language] if event.text and event.language else []}
    return {
        "transcript": event.text.strip(), "confidence": _sure(event.words),
        "words": [word_told(word) for word in event.words],
        **(languages if multilingual else {}),
    }  # fmt: skip


def word_told(word: Word) -> dict[str, Any]:
    """A word, bare and as it is written."""
    bare = word.text.strip(_SIGNS).lower()
    return {
        "word": bare or word.text, "start": round(word.start, 3), "end": round(word.end, 3),
        "confidence": round(word.confidence, 4), "punctuated_word": word.text,
    }  # fmt: skip


def _sure(words: Sequence[Word]) -> float:
    """How sure the model is of some words."""
    return round(fmean(word.confidence for word in words), 4) if words else 0.0


def model_of(served: ServedModel) -> tuple[str, dict[str, str]]:
    """A model's UUID, and what is told of it."""
    uid = str(uuid.uuid5(_SPACE, served.name))
    return uid, {"name": served.name, "version": __version__, "arch": "fastconformer-rnnt"}


def told_time(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
