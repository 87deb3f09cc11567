"""The query of /v1/listen: Deepgram's parameters, applied, rejected, or without effect.

A parameter that would do harm if it were ignored is rejected, and so is a misspelled one.  The
others that have no effect are returned as `warnings` of the metadata.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from starlette.datastructures import QueryParams

from wheatear.errors import WheatearError
from wheatear.model.languages import AUTO, replacement_note
from wheatear.server.api_errors import ApiError, to_api_error
from wheatear.server.audio_formats import (
    ENCODINGS,
    Raw,
    check_file,
    encoding_of,
    format_of_media_type,
    headerless_format,
    is_file,
)
from wheatear.server.parameters import Parameters, nearest, unknown_name
from wheatear.server.served_models import ServedModel, ServedModels
from wheatear.transcript.turns import TurnRules

_APPLIED = (
    "channels", "detect_language", "encoding", "extra", "keyterm", "keywords", "language", "model",
    "sample_rate", "tag",
)  # fmt: skip
_LIVE = ("endpointing", "interim_results", "utterance_end_ms", "vad_events")
_WHOLE = ("utterances",)
_LISTS = ("detect_language", "extra", "keyterm", "keywords", "language_hint", "tag")
_REJECTED = {
    "redact": "nothing is redacted here",
    "callback": "results come on this connection",
    "diarize": "speakers are not distinguished",
    "diarize_model": "speakers are not distinguished",
    "multichannel": "channels are averaged",
    "detect_entities": "entities are not detected",
    "ner": "entities are not detected",
    "replace": "no words are replaced",
    "search": "nothing is searched for",
    "profanity_filter": "no words are left out",
    "summarize": "there are no summaries",
    "sentiment": "sentiments are not detected",
    "analyze_sentiment": "sentiments are not detected",
    "topics": "topics are not detected",
    "detect_topics": "topics are not detected",
    "custom_topic": "topics are not detected",
    "intents": "intents are not detected",
    "custom_intent": "intents are not detected",
    "translate": "nothing is translated",
}
_NO_EFFECT = {
    "alternatives": "one transcript is given",
    "custom_intent_mode": "intents are not detected",
    "custom_topic_mode": "topics are not detected",
    "diarize_version": "speakers are not distinguished",
    "dictation": "spoken punctuation stays in words",
    "filler_words": "they are written as the model writes them",
    "language_hint": "give language, or let it be detected",
    "measurements": "they are written as the model writes them",
    "numerals": "numbers are written as the model writes them",
    "paragraphs": "the transcript has none",
    "sentiment_threshold": "sentiments are not detected",
    "tier": "the model has none",
    "utt_split": "utterances end as sentences do",
    "version": "a model has one version",
}
_USUAL = {"alternatives": "1", "version": "latest"}
"""Values that mean the only behavior."""
_SILENT = ("callback_method", "mip_opt_out", "no_delay", "punctuate", "smart_format")
"""Without effect and warning: they mean the only behavior, or modify a rejected parameter."""
KNOWN = (*_APPLIED, *_LIVE, *_WHOLE, *_REJECTED, *_NO_EFFECT, *_SILENT)
"""All parameters of Deepgram that have a meaning here."""
_NO = ("false", "0")
_MIN_PAUSE_MS = 240  # a shorter silence may lie within a word
_MAX_SPAN_S = 6.0
_MAX_UNKNOWN = 10

WarningEntry = dict[str, str]
"""An entry of Deepgram's `warnings`: parameter, type, message."""


@dataclass(frozen=True)
class ListenQuery:
    """The settings of a query."""

    model: ServedModel
    encoding: str = ""
    """Encoding of headerless audio, by our name; empty if the query has none."""
    stated_encoding: str = ""
    """The encoding as the query names it."""
    rate: int | None = None
    channels: int | None = None
    language: str = AUTO
    keyterms: tuple[str, ...] = ()
    interim_results: bool = False
    endpointing_ms: int | None = 10
    """Silence that ends a span with speech_final; None for never."""
    utterance_end_ms: int | None = None
    vad_events: bool = False
    utterances: bool = False
    multilingual: bool = False
    """True if results name their languages."""
    tags: tuple[str, ...] = ()
    extra: tuple[tuple[str, str], ...] = ()
    warnings: tuple[WarningEntry, ...] = ()
    """Warnings about parameters without effect."""

    @property
    def turn_rules(self) -> TurnRules:
        """The rules that end a span."""
        if self.endpointing_ms is None:
            return TurnRules(longest_s=_MAX_SPAN_S)
        pause = max(_MIN_PAUSE_MS, self.endpointing_ms)
        return TurnRules(min(400, pause), pause, pause, _MAX_SPAN_S)

    @property
    def live_format(self) -> Raw:
        """The format of audio on a socket.  Raises ApiError if the query does not have it."""
        if not self.encoding:
            raise ApiError(
                400, f"give an encoding that sockets take, one of {', '.join(ENCODINGS)}, and the "
                f"sample_rate: files in containers are taken by POST", code="missing",
                param="encoding",
            )  # fmt: skip
        return self._headerless

    @property
    def _headerless(self) -> Raw:
        return headerless_format(self.encoding, self.rate, self.channels, "sample_rate")

    def body_format(
        self, head: bytes, content_type: str | None
    ) -> tuple[Raw | None, "ListenQuery"]:
        """Returns the format of a body without a header, and the query with warnings about it.

        Args:
            head: The first bytes of the body.
            content_type: The media type of the request.

        Raises:
            ApiError: The body is not what the query or the media type states.
        """
        check_file(self.stated_encoding, head)
        raw, why = None, "the body is a file with a header"
        if not is_file(head):
            why = "it describes a body without a header, with an encoding"
            raw = (
                self._headerless if self.encoding else format_of_media_type(content_type, self.rate)
            )
        if raw is not None:
            return replace(raw, channels=self.channels or raw.channels), self
        given = {"encoding": self.encoding, "sample_rate": self.rate, "channels": self.channels}
        without = tuple(
            _warning(name, "no_effect", f"{name} has no effect: {why}")
            for name, value in given.items()
            if value
        )
        return None, replace(self, warnings=self.warnings + without)

    def metadata(self, warnings: Sequence[str] = ()) -> dict[str, object]:
        """Returns the fields of the metadata that depend on the query.

        warnings: about the audio.
        """
        about_audio = [_warning("audio", "damaged_audio", text) for text in warnings]
        found = [*self.warnings, *about_audio]
        return {
            **({"tags": list(self.tags)} if self.tags else {}),
            **({"extra": dict(self.extra)} if self.extra else {}),
            **({"warnings": found} if found else {}),
        }


def _warning(parameter: str, kind: str, message: str) -> WarningEntry:
    return {"parameter": parameter, "type": kind, "message": message}


def read_query(query: QueryParams, models: ServedModels, live: bool = True) -> ListenQuery:
    """Reads a query.  live: True for a socket.  Raises ApiError."""
    given = Parameters(query.multi_items())
    warnings = _check_names(given, live)
    for name, why in _REJECTED.items():
        mono = name == "multichannel" and given.texts("channels") == ["1"]
        if not mono and any(value.lower() not in _NO for value in given.texts(name)):
            raise ApiError(400, f"{name} can't be used: {why}", code="unsupported", param=name)
    model = models.named(given.text("model"))
    language, multilingual = _language(given, model, warnings)
    encoding = given.text("encoding")
    rate, channels = given.number("sample_rate"), given.number("channels")
    known = encoding_of(encoding) if encoding else ""
    parsed = ListenQuery(
        model,
        known, encoding or "", rate, channels,
        language=language,
        keyterms=_keyterms(given),
        interim_results=given.flag("interim_results"),
        endpointing_ms=given.milliseconds("endpointing", usual=10),
        utterance_end_ms=given.milliseconds("utterance_end_ms"),
        vad_events=given.flag("vad_events"),
        utterances=given.flag("utterances"),
        multilingual=multilingual,
        tags=tuple(given.texts("tag")),
        extra=tuple(_pair(value) for value in given.texts("extra")),
        warnings=tuple(warnings),
    )  # fmt: skip
    if live:
        parsed.live_format  # noqa: B018  (raises if it is missing)
    return parsed


def _check_names(given: Parameters, live: bool) -> list[WarningEntry]:
    """Returns warnings about parameters without effect.  Raises ApiError for a misspelled one."""
    warnings = []

    def no_effect(name: str, why: str) -> None:
        warnings.append(_warning(name, "no_effect", f"{name} has no effect: {why}"))

    lists = given.lists()
    if (count := len(lists.keys() - set(KNOWN))) > _MAX_UNKNOWN:
        raise ApiError(
            400, f"{count} parameters of this query are not known", code="unknown_parameter"
        )
    for name, values in lists.items():
        if name in KNOWN and name not in _LISTS and name not in _REJECTED:
            given.text(name)
        if name not in KNOWN:
            if nearest(name, KNOWN):
                raise unknown_name(name, KNOWN, "in this query")
            no_effect(name[:80], "it is not known here")
        elif name in _NO_EFFECT and values[0].lower() not in (*_NO, _USUAL.get(name)):
            no_effect(name, _NO_EFFECT[name])
        elif name == "punctuate" and values[0].lower() in _NO:
            no_effect(name, "the model writes punctuation")
        elif name in _LIVE and not live:
            no_effect(name, "it is for sockets")
        elif name in _WHOLE and live and values[0].lower() not in _NO:
            no_effect(name, "it is for whole files")
    return warnings


def _language(
    given: Parameters, model: ServedModel, warnings: list[WarningEntry]
) -> tuple[str, bool]:
    """Returns the language, and True if results name their languages.  Raises ApiError."""
    wanted = [value for value in given.texts("detect_language") if value.lower() not in _NO]
    for value in wanted:
        if value.lower() not in ("true", "1"):
            _resolve_language(value, "detect_language", model)
            message = f"all languages are considered, not only {value}"
            warnings.append(_warning("detect_language", "no_effect", message))
    language = given.text("language") or AUTO
    if wanted or language.lower() == "multi":
        return AUTO, True
    key = _resolve_language(language, "language", model)
    if note := replacement_note(language, key):
        warnings.append(_warning("language", "unsupported_language", note))
    return key, False


def _resolve_language(language: str, param: str, model: ServedModel) -> str:
    """Returns the model's name of a language.  Raises ApiError."""
    try:
        return model.recognizer.resolve(language, None)[1]
    except WheatearError as error:
        raise to_api_error(error, param) from error


def _keyterms(given: Parameters) -> tuple[str, ...]:
    """Returns phrases to boost.  `keywords` may have weights; a negative one excludes the word."""
    terms = given.texts("keyterm")
    for keyword in given.texts("keywords"):
        term, _, weight = keyword.rpartition(":")
        try:
            wanted = not float(weight) < 0
        except ValueError:
            term, wanted = keyword, True
        if wanted and term.strip():
            terms.append(term)
    return tuple(terms)


def _pair(value: str) -> tuple[str, str]:
    key, mark, text = value.partition(":")
    if not mark:
        raise ApiError(400, "extra is KEY:VALUE", code="invalid_value", param="extra")
    return key, text
