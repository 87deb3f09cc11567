"""The models that a server has, side by side, each with a scheduler of its own."""

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
"""OpenAI's five waits for text, which stand for our five latencies."""
_EAGERNESS = {"low": (1600, 1200), "medium": (800, 560), "auto": (800, 560), "high": (480, 240)}
"""Milliseconds of silence that end a turn, and those after the end of a sentence."""
_FOREIGN = re.compile(
    "(whisper|gpt|nova|flux|enhanced|base|default|auto|"
    "(2-)?(general|meeting|phonecall|voicemail|finance|conversationalai|video|medical|drivethru|"
    "automotive|atc))(-.*)?",
    re.IGNORECASE,
)
"""Names of OpenAI's and Deepgram's models, of Deepgram's with or without their version."""
_LONGEST_TERM = 4  # words in a term of a prompt


def rules_for_eagerness(eagerness: str) -> TurnRules:
    """When a turn ends for a listener who is "low", "medium", "high" or "auto" in eagerness."""
    end, sentence_end = _EAGERNESS[eagerness]
    return TurnRules(min(400, sentence_end), end, sentence_end)


@dataclass(frozen=True)
class ServedModel:
    """A model under the name that it is served by."""

    name: str
    recognizer: Recognizer
    scheduler: Scheduler
    latency_ms: int
    """Of live streams that do not say."""
    file_latency_ms: int
    created: int
    """When its bundle was made, seconds since 1970."""
    limits: Limits

    @property
    def described(self) -> dict[str, Any]:
        """As /v1/models has it; the fields that OpenAI's do not have come last."""
        return {
            "id": self.name, "object": "model", "created": self.created, "owned_by": "wheatear",
            "languages": sorted(self.recognizer.languages),
            "latencies_ms": list(self.recognizer.latencies_ms),
            "default_latency_ms": self.latency_ms,
        }  # fmt: skip

    def latency_for_delay(self, delay: str) -> int:
        """The latency that one of OpenAI's five delays stands for: the shortest that waits as
        long, of a model that has fewer."""
        wanted = (80, 160, 320, 560, 1120)[DELAYS.index(delay)]
        latencies = self.recognizer.latencies_ms
        return min((ms for ms in latencies if ms >= wanted), default=max(latencies))

    def phrases(self, prompt: str | None, keywords: Sequence[str]) -> tuple[Phrase, ...]:
        """What to listen for.  Keywords are taken as they are, and must be such that the model
        can write them.  Of a prompt the short terms between commas, semicolons and line ends
        are, where it can write them: what else a prompt says does nothing to a transducer.  Of
        a prompt that is too long, as one that holds the transcript so far, the last part counts.

        Raises ApiError for more keywords than the server's limits allow, PhraseError for those
        that can't be written.  Takes a while for many: not for the event loop.
        """
        letters = sum(map(len, keywords))
        if len(keywords) > self.limits.phrases or letters > self.limits.phrase_letters:
            raise ApiError(
                400, f"{len(keywords)} keywords of {letters} letters; there may be "
                f"{self.limits.phrases} of {self.limits.phrase_letters}", code="too_large",
                param="keywords",
            )  # fmt: skip
        found = {text: Phrase(text) for text in keywords if text.strip()}
        last: dict[str, Phrase] = {}
        for term in reversed(_terms(prompt or "", self.limits.phrase_letters - letters)):
            if len(found) + len(last) >= self.limits.phrases:
                break
            if term not in found and term not in last and self.recognizer.can_tokenize(term):
                last[term] = Phrase(term)
        return (*found.values(), *reversed(last.values()))


def _terms(prompt: str, longest: int) -> list[str]:
    """The short terms of a prompt, in its last so many letters if it has more."""
    if len(prompt) > longest:
        tail = prompt[len(prompt) - longest - 1 :]
        # What the cut goes through is left out: a term, or a word where there are no terms.
        whole = re.search(r"[,;\r\n]", tail) or re.search(r"\s", tail)
        prompt = tail[whole.end() :] if whole else ""
    terms = (part.rpartition(":")[2].strip(" .\t\"'") for part in re.split(r"[,;\r\n]", prompt))
    return [term for term in terms if 0 < len(term.split()) <= _LONGEST_TERM]


class ServedModels:
    """What a server serves; the first is what is meant when none is named."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Loads all of them.  Raises SettingsError and what `wheatear.load` raises."""
        budget = LoadBudget(settings.load)
        self.budget = budget
        self._served: dict[str, ServedModel] = {}
        try:
            for said in settings.models or ("",):
                self._add(_load(said, settings, metrics, budget))
        except BaseException:
            self.close()
            raise

    def _add(self, served: ServedModel) -> None:
        if served.name in self._served:
            served.scheduler.close()
            raise SettingsError(
                f"two models would be served as {served.name!r}; say NAME=PATH for one of them"
            )
        self._served[served.name] = served

    def __iter__(self) -> Any:
        return iter(self._served.values())

    @property
    def default(self) -> ServedModel:
        return next(iter(self._served.values()))

    def named(self, name: str | None, param: str = "model") -> ServedModel:
        """The model of a name.  Names of OpenAI's and Deepgram's models mean the default one, for
        clients that cannot be told another.  Raises ApiError (404)."""
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
        """Ends all that goes on."""
        for served in self._served.values():
            served.scheduler.close()


def named_path(said: str) -> tuple[str, str]:
    """Splits a setting of `models` into the name to serve a model by and its path or name.

    Without NAME= the name is the last part of what was typed, so that clients can ask for it.
    The name is empty for the model that comes with Wheatear.  Raises SettingsError.
    """
    name, mark, path = said.partition("=")
    if not mark or os.path.isdir(said):  # a path may have an equals sign in it
        last = os.path.basename(os.path.normpath(said)) if said else ""
        return os.path.basename(os.path.abspath(said)) if last in (".", "..") else last, said
    if not name or not path:
        raise SettingsError(f"models has {said!r}; say NAME=PATH, both of them")
    return name, path


def _load(said: str, settings: Settings, metrics: Metrics, budget: LoadBudget) -> ServedModel:
    name, path = named_path(said)
    recognizer = load(path or None, threads=settings.threads)
    name = name or recognizer.model.manifest.name
    modes = recognizer.model.manifest.default_mode
    for asked in (settings.latency_ms, settings.file_latency_ms):
        recognizer.resolve("auto", asked)
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
