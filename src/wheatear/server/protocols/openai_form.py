"""The form of POST /v1/audio/transcriptions: its fields and their values."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta
from starlette.datastructures import FormData, UploadFile

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.reader import RAW_SUFFIXES
from wheatear.errors import LatencyError, WheatearError
from wheatear.model.languages import replacement_note
from wheatear.recognizer.options import StreamOptions
from wheatear.server.api_errors import ApiError, to_api_error
from wheatear.server.audio_formats import (
    ENCODINGS,
    Raw,
    encoding_of,
    format_of_media_type,
    headerless_format,
)
from wheatear.server.parameters import Parameters
from wheatear.server.served_models import ServedModel, ServedModels
from wheatear.server.session.file_job import FileTask
from wheatear.transcript.turns import TurnRules

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
_LISTS = (
    "chunking_strategy", "include", "keywords", "known_speaker_names", "known_speaker_references",
    "languages", "timestamp_granularities",
)  # fmt: skip
_FIELDS = (
    *_LISTS, "channels", "encoding", "file", "language", "latency_ms", "model", "prompt",
    "response_format", "sample_rate", "seed", "stream", "task", "temperature", "user",
)  # fmt: skip
"""All fields.  The temperature, the seed and the user have no effect."""
_UNSUPPORTED = {
    "known_speaker_names": "it does not distinguish speakers",
    "known_speaker_references": "it does not distinguish speakers",
}


class ChunkingStrategy(msgspec.Struct, forbid_unknown_fields=True):
    """OpenAI's chunking_strategy, of which the silence has an effect."""

    type: Literal["server_vad"] = "server_vad"
    silence_duration_ms: int = 500
    prefix_padding_ms: Annotated[int, Meta(ge=0)] | None = None
    threshold: Annotated[float, Meta(ge=0, le=1)] | None = None


@dataclass(frozen=True)
class FileRequest:
    """A file to transcribe, and the parts of the answer."""

    task: FileTask
    format: ResponseFormat
    words: bool
    segments: bool
    logprobs: bool
    stream: bool


def read_request(form: FormData, models: ServedModels) -> FileRequest:
    """Reads a form.  Raises ApiError."""
    given = Parameters(form.multi_items())
    upload = given.file("file")
    given.check_names(_FIELDS, "in this form", _LISTS)
    for name, why in _UNSUPPORTED.items():
        if given.texts(name):
            raise ApiError(400, f"{name} can't be used: {why}", code="unsupported", param=name)
    if (given.text("task") or "transcribe").lower() != "transcribe":
        raise ApiError(
            400, "task can only be 'transcribe': this server translates nothing",
            code="unsupported", param="task",
        )  # fmt: skip
    given.share("temperature")
    model = models.named(given.text("model"))
    wanted = (given.text("response_format") or "json").lower()
    if wanted not in get_args(ResponseFormat):
        why = ": this server does not distinguish speakers" * (wanted == "diarized_json")
        raise ApiError(
            400, f"response_format {wanted[:50]!r} can't be given{why}; these can: "
            f"{', '.join(get_args(ResponseFormat))}", code="invalid_value",
            param="response_format",
        )  # fmt: skip
    return _read_options(given, model, wanted, upload)


def _read_options(
    given: Parameters,
    model: ServedModel,
    format: Any,  # noqa: A002
    upload: UploadFile,
) -> FileRequest:
    raw = _headerless(given, upload)
    language = given.text("language") or "auto"
    languages = given.texts("languages")
    if language == "auto" and len(languages) == 1:
        language = languages[0]
    latency = given.number("latency_ms") or model.file_latency_ms
    try:
        for each in languages:
            model.recognizer.resolve(each, None)
        mode, key = model.recognizer.resolve(language, latency)
    except WheatearError as error:
        param = "latency_ms" if isinstance(error, LatencyError) else "language"
        raise to_api_error(error, param) from None
    grains = given.choices("timestamp_granularities", ("word", "segment"))
    include = given.choices("include", ("logprobs",))
    try:
        phrases = model.phrases(given.text("prompt"), given.texts("keywords"))
    except WheatearError as error:
        raise to_api_error(error, "keywords") from None
    stream = given.flag("stream")
    notes = (replacement_note(language, key), *_without_effect(format, stream, grains, include))
    options = StreamOptions(key, mode.latency_ms, _turns(given), phrases)
    task = FileTask(upload, model, options, raw, tuple(filter(None, notes)))
    return FileRequest(
        task, format, words="word" in grains, segments="segment" in (grains or ("segment",)),
        logprobs=bool(include), stream=stream,
    )  # fmt: skip


def _without_effect(
    format: str,  # noqa: A002
    stream: bool,
    grains: Sequence[str],
    include: Sequence[str],
) -> Iterator[str]:
    """Yields a sentence for each setting that has no effect together with the others."""
    if stream and "json" not in format:
        yield f"response_format {format} has no effect with stream: the answer is events"
    if grains and format != "verbose_json":
        yield "timestamp_granularities have an effect only with response_format verbose_json"
    if include and not stream and format != "json":
        yield "include has an effect only with response_format json"


def _headerless(given: Parameters, upload: UploadFile) -> Raw | None:
    """Returns the format of headerless audio.  Raises ApiError.

    It comes from the fields, the type of the file's part, or the file's name.
    """
    encoding, rate = given.text("encoding"), given.number("sample_rate")
    channels = given.number("channels")
    if encoding is not None and (known := encoding_of(encoding)):
        return headerless_format(known, rate, channels, "the field sample_rate")
    if encoding is None:
        if raw := format_of_media_type(upload.content_type, rate):
            return replace(raw, rate=rate or raw.rate, channels=channels or raw.channels)
        if (upload.filename or "").lower().endswith(RAW_SUFFIXES):
            return Raw("s16", rate or SAMPLE_RATE, channels or 1)
    if rate or channels:
        raise ApiError(
            400, "sample_rate and channels describe headerless audio; give its encoding, too, as "
            f"one of {', '.join(ENCODINGS)}", code="missing", param="encoding",
        )  # fmt: skip
    return None


def _turns(given: Parameters) -> TurnRules:
    """Returns the rules that end a turn; segments and cues never span two turns."""
    whole, fields = given.text("chunking_strategy"), given.fields("chunking_strategy")
    if whole in (None, "auto") and not fields:
        return TurnRules()
    if whole and fields:
        raise ApiError(
            400, "chunking_strategy is given twice, whole and in parts", code="invalid_value",
            param="chunking_strategy",
        )  # fmt: skip
    try:
        if fields:
            chunking = msgspec.convert(fields, ChunkingStrategy, strict=False)
        else:
            chunking = msgspec.json.decode(whole or "", type=ChunkingStrategy)
        silence = max(80, chunking.silence_duration_ms)
        return TurnRules(min(400, silence), silence, min(560, silence))
    except (msgspec.DecodeError, ValueError) as error:
        raise ApiError(
            400, f"chunking_strategy: {error}", code="invalid_value", param="chunking_strategy"
        ) from error
