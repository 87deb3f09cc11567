"""Models of a server by name, each with a scheduler."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wheatear.decoder.boosting import Phrase
from wheatear.errors import SettingsError
from wheatear.recognizer.recognizer import Recognizer, load
from wheatear.server.api_errors import ApiError
from wheatear.server.metrics import Metrics, ModelObserver
from wheatear.server.scheduler.admission import LoadBudget
from wheatear.server.scheduler.scheduler import Scheduler
from wheatear.server.settings import Limits, Settings
from wheatear.transcript.turns import TurnRules

DELAYS = ("minimal", "low", "medium", "high", "xhigh")
"""OpenAI's five delays, in the order of our five latencies."""
_EAGERNESS = {"low": (1600, 1200), "medium": (800, 560), "auto": (800, 560), "high": (480, 240)}
"""Milliseconds of silence that end a turn, anywhere and after a sentence, by eagerness."""
_FOREIGN = re.compile(
    "(whisper|gpt|nova|flux|enhanced|base|default|auto|"
    "(2-)?(general|meeting|phonecall|voicemail|finance|conversationalai|video|medical|drivethru|"
    "automotive|atc))(-.*)?",
    re.IGNORECASE,
)
"""Names of OpenAI's and Deepgram's models, of Deepgram's with or without their version."""
PHRASE_LETTERS = 15_000
"""Letters of the phrases and prompt of one stream or file."""
_MAX_TERM_WORDS = 4  # of a prompt


def rules_for_eagerness(eagerness: str) -> TurnRules:
    """Returns the turn rules for an eagerness: "low", "medium", "high" or "auto"."""
    end, sentence_end = _EAGERNESS[eagerness]
    return TurnRules(min(400, sentence_end), end, sentence_end)


@dataclass(frozen=True)
class ServedModel:
    """Model with the name that clients use."""

    name: str
    recognizer: Recognizer
    scheduler: Scheduler
    latency_ms: int
    """Default latency of live streams."""
    file_latency_ms: int
    """Default latency of files."""
    created: int
    """Time at which its bundle was made, in seconds since 1970."""
    limits: Limits

    @property
    def description(self) -> dict[str, Any]:
        """Entry of /v1/models; fields beyond OpenAI's come last."""
        return {
            "id": self.name, "object": "model", "created": self.created, "owned_by": "wheatear",
            "languages": sorted(self.recognizer.languages),
            "latencies_ms": list(self.recognizer.latencies_ms),
            "default_latency_ms": self.latency_ms,
        }  # fmt: skip

    def latency_for_delay(self, delay: str) -> int:
        """Returns the latency for one of OpenAI's delays: of fewer ones, the shortest as long."""
        wanted = (80, 160, 320, 560, 1120)[DELAYS.index(delay)]
        latencies = self.recognizer.latencies_ms
        return min((ms for ms in latencies if ms >= wanted), default=max(latencies))

    def phrases(self, prompt: str | None, keywords: Sequence[str]) -> tuple[Phrase, ...]:
        """Returns the phrases to boost.  Slow for many, so not for the event loop.

        Keywords are used unchanged.  Of a prompt, the short terms between commas, semicolons and
        line ends are used if the model can spell them; other text has no effect on a transducer.
        Only the last part of a long prompt counts, which may hold an earlier transcript.

        Raises:
            ApiError: If there are more keywords than the limits allow.
            PhraseError: If the model cannot spell a keyword.
        """
        letters = sum(map(len, keywords))
        if len(keywords) > self.limits.phrases or letters > PHRASE_LETTERS:
            raise ApiError(
                400, f"{len(keywords)} keywords of {letters} letters; there may be "
                f"{self.limits.phrases} of {PHRASE_LETTERS}", code="too_large",
                param="keywords",
            )  # fmt: skip
        found = {text: Phrase(text) for text in keywords if text.strip()}
        last: dict[str, Phrase] = {}
        for term in reversed(_terms(prompt or "", PHRASE_LETTERS - letters)):
            if len(found) + len(last) >= self.limits.phrases:
                break
            if term not in found and term not in last and self.recognizer.can_tokenize(term):
                last[term] = Phrase(term)
        return (*found.values(), *reversed(last.values()))


def _terms(prompt: str, longest: int) -> list[str]:
    """Returns the short terms in the last `longest` letters of a prompt."""
    if len(prompt) > longest:
        tail = prompt[len(prompt) - longest - 1 :]
        # A term at the cut is left out, or a word where there are no terms.
        whole = re.search(r"[,;\r\n]", tail) or re.search(r"\s", tail)
        prompt = tail[whole.end() :] if whole else ""
    terms = (part.rpartition(":")[2].strip(" .\t\"'") for part in re.split(r"[,;\r\n]", prompt))
    return [term for term in terms if 0 < len(term.split()) <= _MAX_TERM_WORDS]


class ServedModels:
    """Models of a server; the first one is the default."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Loads all models.  Raises SettingsError, and anything that `wheatear.load` raises."""
        budget = LoadBudget(settings.load)
        self.budget = budget
        self._served: dict[str, ServedModel] = {}
        try:
            for entry in settings.models or ("",):
                self._add(_load(entry, settings, metrics, budget))
        except BaseException:
            self.close()
            raise

    def _add(self, served: ServedModel) -> None:
        if served.name in self._served:
            served.scheduler.close()
            raise SettingsError(
                f"two models would be served as {served.name!r}; use NAME=PATH for one of them"
            )
        self._served[served.name] = served

    def __iter__(self) -> Any:
        return iter(self._served.values())

    @property
    def default(self) -> ServedModel:
        return next(iter(self._served.values()))

    def named(self, name: str | None, param: str = "model") -> ServedModel:
        """Returns the model of a name.  Raises ApiError (404).

        Names of OpenAI's and Deepgram's models stand for the default model, for clients whose
        model cannot be configured.
        """
        if not name:
            return self.default
        if (served := self._served.get(name)) is not None:
            return served
        if not _FOREIGN.fullmatch(name):
            raise ApiError(
                404, f"there is no model {name[:100]!r} here; there are {', '.join(self._served)}; "
                "names of OpenAI's and Deepgram's models mean the first of them",
                code="model_not_found", param=param,
            )  # fmt: skip
        return self.default

    def close(self) -> None:
        """Ends all streams and files."""
        for served in self._served.values():
            served.scheduler.close()


def named_path(entry: str) -> tuple[str, str]:
    """Splits an entry of the setting `models` into the served name and the path or name.

    Without NAME= the served name is the last part of the path.  The name of the bundled model is
    empty.  Raises SettingsError.
    """
    name, mark, path = entry.partition("=")
    if not mark or os.path.isdir(entry):  # a path may have an equals sign in it
        last = os.path.basename(os.path.normpath(entry)) if entry else ""
        return os.path.basename(os.path.abspath(entry)) if last in (".", "..") else last, entry
    if not name or not path:
        raise SettingsError(f"models has {entry!r}; write NAME=PATH with both of them")
    return name, path


def _load(entry: str, settings: Settings, metrics: Metrics, budget: LoadBudget) -> ServedModel:
    name, path = named_path(entry)
    recognizer = load(path or None, threads=settings.threads)
    name = name or recognizer.model.manifest.name
    modes = recognizer.model.manifest.default_mode
    for latency_ms in (settings.latency_ms, settings.file_latency_ms):
        recognizer.resolve("auto", latency_ms)
    scheduler = Scheduler(recognizer, budget, ModelObserver(metrics, name), settings.limits.streams)
    metrics.streams.labels(name).set_function(lambda: scheduler.admission.streams)
    return ServedModel(
        name,
        recognizer,
        scheduler,
        settings.latency_ms or modes.latency_ms,
        settings.file_latency_ms or recognizer.file_latency_ms,
        int(recognizer.model.path.stat().st_mtime),
        settings.limits,
    )
