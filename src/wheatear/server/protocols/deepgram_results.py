"""Deepgram's JSON: alternatives, words, results of files, metadata."""

import string
import uuid
from collections.abc import Sequence
from datetime import datetime
from statistics import fmean
from typing import Any

from wheatear import __version__
from wheatear.server.protocols.deepgram_query import ListenQuery
from wheatear.server.scheduler.events import StreamEnded
from wheatear.server.served_models import ServedModel
from wheatear.transcript.results import Final, Partial, Word
from wheatear.transcript.segments import join_words

_MODEL_NAMESPACE = uuid.UUID("6b2f1a52-7c0e-4a63-9d0b-0f6a8d1c5b11")
_PUNCTUATION = string.punctuation + "¿¡«»“”„…。、？！，।؟،"


def model_info(model: ServedModel) -> tuple[str, dict[str, str]]:
    """Returns the UUID of a model and its description."""
    uid = str(uuid.uuid5(_MODEL_NAMESPACE, model.name))
    return uid, {"name": model.name, "version": __version__, "arch": "fastconformer-rnnt"}


def metadata(
    query: ListenQuery, request_id: str, sha256: str, created: datetime, duration: float
) -> dict[str, Any]:
    """Returns the metadata of a request without its warnings."""
    uid, info = model_info(query.model)
    return {
        "transaction_key": "deprecated", "request_id": request_id, "sha256": sha256,
        "created": created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "duration": duration, "channels": 1, "models": [uid], "model_info": {uid: info},
    }  # fmt: skip


def file_results(finals: Sequence[Final], ended: StreamEnded, query: ListenQuery) -> dict[str, Any]:
    """Returns the results of a whole file."""
    words = tuple(word for final in finals for word in final.words)
    whole = Final(join_words(words), words, 0.0, ended.duration, ended.language, (), ())
    channel: dict[str, Any] = {"alternatives": [alternative(whole, query.multilingual)]}
    if query.multilingual and ended.language:
        channel["detected_language"] = ended.language
    results: dict[str, Any] = {"channels": [channel]}
    if query.utterances:
        results["utterances"] = [
            {
                "start": s.start, "end": s.end, "confidence": _confidence(s.words), "channel": 0,
                "transcript": s.text, "words": [_word(word) for word in s.words],
                "id": str(uuid.uuid4()),
            }
            for final in finals
            for s in final.segments
        ]  # fmt: skip
    return results


def alternative(event: Partial | Final, multilingual: bool) -> dict[str, Any]:
    """Returns the text of an event, with its language if results name their languages."""
    languages = {"languages": [event.language] if event.text and event.language else []}
    return {
        "transcript": event.text.strip(), "confidence": _confidence(event.words),
        "words": [_word(word) for word in event.words],
        **(languages if multilingual else {}),
    }  # fmt: skip


def _word(word: Word) -> dict[str, Any]:
    """A word, in lower case without punctuation and as the model writes it."""
    bare = word.text.strip(_PUNCTUATION).lower()
    return {
        "word": bare or word.text, "start": round(word.start, 3), "end": round(word.end, 3),
        "confidence": round(word.confidence, 4), "punctuated_word": word.text,
    }  # fmt: skip


def _confidence(words: Sequence[Word]) -> float:
    return round(fmean(word.confidence for word in words), 4) if words else 0.0
