"""The query of /v1/listen: Deepgram's parameters, obeyed, refused, or without effect.

A parameter that would do harm if it were ignored is refused, and so is a misspelled one.  The
others that have no effect are returned as `warnings` of the metadata.  An empty value is none.
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

_OBEYED = (
    "channels", "detect_language", "encoding", "extra", "keyterm", "keywords", "language", "model",
    "sample_rate", "tag",
)  # fmt: skip
_LIVE = ("endpointing", "interim_results", "utterance_end_ms", "vad_events")
_WHOLE = ("utterances",)
_LISTS = ("detect_language", "extra", "keyterm", "keywords", "language_hint", "tag")
_REFUSED = {
    "redact": "nothing is redacted here",
    "callback": "results come on this connection",
    "diarize": "speakers are not told apart",
    "diarize_model": "speakers are not told apart",
    "multichannel": "channels are averaged",
    "detect_entities": "entities are not detected",
    "ner": "entities are not detected",
    "replace": "no words are replaced",
    "search": "nothing is searched for",
    "profanity_filter": "no words are left out",
    "summarize": "nothing is summed up",
    "sentiment": "no sentiments are told",
    "analyze_sentiment": "no sentiments are told",
    "topics": "no topics are told",
    "detect_topics": "no topics are told",
    "custom_topic": "no topics are told",
    "intents": "no intents are told",
    "custom_intent": "no intents are told",
    "translate": "nothing is translated",
}
_NO_EFFECT = {
    "alternatives": "one transcript is given",
    "custom_intent_mode": "no intents are told",
    "custom_topic_mode": "no topics are told",
    "diarize_version": "speakers are not told apart",
    "dictation": "spoken punctuation stays in words",
    "filler_words": "they are written as the model writes them",
    "language_hint": "give language, or let it be detected",
    "measurements": "they are written as the model writes them",
    "numerals": "numbers are written as the model writes them",
    "paragraphs": "the transcript has none",
    "sentiment_threshold": "no sentiments are told",
    "tier": "the model has none",
    "utt_split": "utterances end as sentences do",
    "version": "a model has one version",
}
_USUAL = {"alternatives": "1", "version": "latest"}
"""Values that ask for the usual behavior."""
_SILENT = ("callback_method", "mip_opt_out", "no_delay", "punctuate", "smart_format")
"""Without effect: they ask for the usual behavior, or modify a parameter that is refused."""
_KNOWN = (*_OBEYED, *_LIVE, *_WHOLE, *_REFUSED, *_NO_EFFECT, *_SILENT)
_NO = ("false", "0")
_SHORTEST_PAUSE = 240  # ms: a shorter silence may lie within a word
_LONGEST_SPAN = 6.0  # seconds
_MOST_UNKNOWN = 10

Warned = dict[str, str]
"""An entry of Deepgram's `warnings`: parameter, type, message."""


@dataclass(frozen=True)
class Asked:
    """The settings that a query gives."""

    served: ServedModel
    encoding: str = ""
    """The encoding of headerless audio, by our name; empty if the query gives none."""
    named: str = ""
    """The encoding as the query has it."""
    rate: int | None = None
    channels: int | None = None
    language: str = AUTO
    keyterms: tuple[str, ...] = ()
    interim: bool = False
    pause_ms: int | None = 10
    """Milliseconds of silence that end a span with speech_final; None for never."""
    utterance_end_ms: int | None = None
    vad_events: bool = False
    utterances: bool = False
    multilingual: bool = False
    """True if the answer names the languages."""
    tags: tuple[str, ...] = ()
    extra: tuple[tuple[str, str], ...] = ()
    warnings: tuple[Warned, ...] = ()
    """Parameters that have no effect."""

    @property
    def rules(self) -> TurnRules:
        if self.pause_ms is None:
            return TurnRules(longest_s=_LONGEST_SPAN)
        pause = max(_SHORTEST_PAUSE, self.pause_ms)
        return TurnRules(min(400, pause), pause, pause, _LONGEST_SPAN)

    @property
    def sound(self) -> Raw:
        """The form of the audio on a socket.  Raises ApiError if the query does not give it."""
        if not self.encoding:
            raise ApiError(
                400, f"give an encoding that sockets take, one of {', '.join(ENCODINGS)}, and the "
                f"sample_rate: files in containers are taken by POST", code="missing",
                param="encoding",
            )  # fmt: skip
        return self._said

    @property
    def _said(self) -> Raw:
        return headerless_format(self.encoding, self.rate, self.channels, "sample_rate")

    def body(self, head: bytes, content_type: str | None) -> tuple[Raw | None, "Asked"]:
        """The form of a body without a header, and these settings with warnings about the body.

        head: the first bytes of the body.  Raises ApiError.
        """
        check_file(self.named, head)
        raw, why = None, "the body is a file with a header"
        if not is_file(head):
            why = "it describes a body without a header, with an encoding"
            raw = self._said if self.encoding else format_of_media_type(content_type, self.rate)
        if raw is not None:
            return replace(raw, channels=self.channels or raw.channels), self
        given = {"encoding": self.encoding, "sample_rate": self.rate, "channels": self.channels}
        without = tuple(
            warning_of(name, "no_effect", f"{name} has no effect: {why}")
            for name, value in given.items()
            if value
        )
        return None, replace(self, warnings=self.warnings + without)

    def told(self, warnings: Sequence[str] = ()) -> dict[str, object]:
        """Further fields of the metadata.  warnings: those about the audio."""
        about_audio = [warning_of("audio", "damaged_audio", text) for text in warnings]
        found = [*self.warnings, *about_audio]
        return {
            **({"tags": list(self.tags)} if self.tags else {}),
            **({"extra": dict(self.extra)} if self.extra else {}),
            **({"warnings": found} if found else {}),
        }


def warning_of(parameter: str, kind: str, message: str) -> Warned:
    """A warning in Deepgram's shape."""
    return {"parameter": parameter, "type": kind, "message": message}


def asked_of(query: QueryParams, models: ServedModels, live: bool = True) -> Asked:
    """The settings that a query gives.  live: true for a socket.  Raises ApiError."""
    given = Parameters(query.multi_items())
    warnings = _accounted(given, live)
    for name, why in _REFUSED.items():
        mono = name == "multichannel" and given.texts("channels") == ["1"]
        if not mono and any(value.lower() not in _NO for value in given.texts(name)):
            raise ApiError(400, f"{name} can't be used: {why}", code="unsupported", param=name)
    served = models.named(given.text("model"))
    language, multilingual = _language(given, served, warnings)
    encoding = given.text("encoding")
    rate, channels = given.number("sample_rate"), given.number("channels")
    known = encoding_of(encoding) if encoding else ""
    asked = Asked(
        served,
        known, encoding or "", rate, channels,
        language=language,
        keyterms=_keyterms(given),
        interim=given.flag("interim_results"),
        pause_ms=given.milliseconds("endpointing", usual=10),
        utterance_end_ms=given.milliseconds("utterance_end_ms"),
        vad_events=given.flag("vad_events"),
        utterances=given.flag("utterances"),
        multilingual=multilingual,
        tags=tuple(given.texts("tag")),
        extra=tuple(_pair(value) for value in given.texts("extra")),
        warnings=tuple(warnings),
    )  # fmt: skip
    if live:
        asked.sound  # noqa: B018  (raises for one that is not known)
    return asked


def _accounted(given: Parameters, live: bool) -> list[Warned]:
    """Warnings about parameters without effect.  Raises ApiError for a misspelled one."""
    warnings = []

    def no_effect(name: str, why: str) -> None:
        warnings.append(warning_of(name, "no_effect", f"{name} has no effect: {why}"))

    lists = given.lists()
    if (count := len(lists.keys() - set(_KNOWN))) > _MOST_UNKNOWN:
        raise ApiError(
            400, f"{count} parameters of this query are not known", code="unknown_parameter"
        )
    for name, values in lists.items():
        if name in _KNOWN and name not in _LISTS and name not in _REFUSED:
            given.text(name)
        if name not in _KNOWN:
            if nearest(name, _KNOWN):
                raise unknown_name(name, _KNOWN, "in this query")
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


def _language(given: Parameters, served: ServedModel, warnings: list[Warned]) -> tuple[str, bool]:
    """The language, and true if the answer names the languages.  Raises ApiError."""
    wanted = [value for value in given.texts("detect_language") if value.lower() not in _NO]
    for value in wanted:
        if value.lower() not in ("true", "1"):
            _known_language(value, "detect_language", served)
            message = f"all languages are considered, not {value} alone"
            warnings.append(warning_of("detect_language", "no_effect", message))
    language = given.text("language") or AUTO
    if wanted or language.lower() == "multi":
        return AUTO, True
    key = _known_language(language, "language", served)
    if note := replacement_note(language, key):
        warnings.append(warning_of("language", "unsupported_language", note))
    return key, False


def _known_language(language: str, param: str, served: ServedModel) -> str:
    """The model's name of a language.  Raises ApiError."""
    try:
        return served.recognizer.resolve(language, None)[1]
    except WheatearError as error:
        raise to_api_error(error, param) from error


def _keyterms(given: Parameters) -> tuple[str, ...]:
    """Phrases to favor.  Those of `keywords` may have a weight; a negative one excludes them."""
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
