"""What a run learns from, gathered before it begins: utterances, pieces, prompts, sizes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wheatear.errors import LanguageError, PlanError
from wheatear.model.languages import replacement_note, resolve_language
from wheatear.train.data import prompts as slots
from wheatear.train.data.manifest import Utterance, read_manifest
from wheatear.train.data.mel import SAMPLE_RATE
from wheatear.train.data.tokenizer import Tokenizer
from wheatear.train.network.transducer import NetworkConfig
from wheatear.train.run.checkpoint import config_to_nemo, updated
from wheatear.train.run.config import Plan
from wheatear.train.run.pretrained import Start, find_checkpoint, read_start
from wheatear.train.run.validation import choose, hold_out

TOKENIZER = "tokenizer.model"


@dataclass(frozen=True)
class Material:
    """All that the trainer needs beside the plan."""

    parts: dict[str, list[Utterance]]
    validation: list[Utterance]
    tokenizer: Tokenizer
    prompts: dict[str, int]
    """Slot of each locale; empty for a model without language prompt."""
    config: NetworkConfig
    about: Mapping[str, Any]
    """Configuration of the exported checkpoint, NeMo's layout."""
    start: Start | None

    def summary(self) -> dict[str, Any]:
        """Sizes, for the report."""
        utterances = [u for part in self.parts.values() for u in part]
        hours = sum(u.size for u in utterances) / SAMPLE_RATE / 3600
        return {
            "locales": sorted({u.locale for u in utterances}),
            "clips": {name: len(part) for name, part in self.parts.items()},
            "hours": round(hours, 3),
            "validation_clips": len(self.validation),
            "pieces": self.tokenizer.size,
        }


def gather(plan: Plan, work: Path, warn: Callable[[str], None]) -> Material:
    """Reads the manifests and the checkpoint to start from; makes WORK/tokenizer.model once.

    Raises ManifestError, CheckpointError, or PlanError for a plan that does not fit them.
    """
    start = read_start(find_checkpoint(plan.start)) if plan.start else None
    manifests = {
        name: Path(plan.manifests.get(name, work / "corpus" / f"{name}.jsonl"))
        for name in plan.parts()
    }
    read = _Reader(plan, start, warn)
    parts = {name: read(path) for name, path in manifests.items()}
    checked = plan.validation if plan.checks else ()
    given = [utterance for path in checked for utterance in read(Path(path))]
    _tell_what_is_too_long(plan, parts, warn)
    parts, validation = _validation(plan, parts, given, warn)
    utterances = [u for part in parts.values() for u in part]
    locales = sorted({u.locale for u in utterances})
    tokenizer = _tokenizer(plan, work, start, utterances)
    if start:
        config = replace(start.config, vocab_size=tokenizer.size)
        count, known = config.prompts, start.prompts
        prompts = slots.with_locales(known, locales, count) if count else {}
        about: Mapping[str, Any] = updated(start.about, config, prompts)
    else:
        config = NetworkConfig(vocab_size=tokenizer.size, **plan.network)
        prompts = slots.fresh(locales, config.prompts) if config.prompts else {}
        about = config_to_nemo(config, prompts)
    return Material(parts, validation, tokenizer, prompts, config, about, start)


class _Reader:
    """Reads manifests, in the locales of the checkpoint that is gone on with."""

    def __init__(self, plan: Plan, start: Start | None, warn: Callable[[str], None]) -> None:
        self._plan, self._start, self._warn = plan, start, warn
        self._known: dict[str, str] = {}

    def __call__(self, path: Path) -> list[Utterance]:
        """The utterances of a manifest.  Raises ManifestError."""
        found = read_manifest(path, self._plan.bad_lines, self._plan.locale, self._warn)
        return [replace(u, locale=self._locale(u.locale)) for u in found]

    def _locale(self, locale: str) -> str:
        """The checkpoint's name for a locale; the locale itself if its language is new."""
        if locale not in self._known:
            found = checkpoint_locale(self._start, locale) if self._start else locale
            if note := replacement_note(locale, found):
                self._warn(note)
            self._known[locale] = found
        return self._known[locale]


def checkpoint_locale(start: Start, locale: str) -> str:
    """The locale of a checkpoint that a language means, as its text is tagged with."""
    try:
        key = resolve_language(start.prompts, locale) if start.prompts else locale
    except LanguageError:
        return locale
    same = [k for k, slot in start.prompts.items() if slot == start.prompts.get(key)]
    return next((k for k in same if start.tokenizer.has(k)), key)


def _validation(
    plan: Plan,
    parts: dict[str, list[Utterance]],
    given: list[Utterance],
    warn: Callable[[str], None],
) -> tuple[dict[str, list[Utterance]], list[Utterance]]:
    """(what to train on, what to validate on)."""
    if not plan.checks:
        return parts, []
    if given:
        return parts, choose(given, plan.check_clips)
    training, kept = hold_out([u for part in parts.values() for u in part])
    if not kept:
        warn("too few sentences to keep any aside: validation is on what is trained on")
        return parts, choose(training, plan.check_clips)
    aside = {u.text.lower() for u in kept}
    left = {name: [u for u in part if u.text.lower() not in aside] for name, part in parts.items()}
    # A part of one sentence alone would be gone: it stays, and says nothing in validation.
    left = {name: part or parts[name] for name, part in left.items()}
    return left, choose(kept, plan.check_clips)


def _tell_what_is_too_long(
    plan: Plan, parts: dict[str, list[Utterance]], warn: Callable[[str], None]
) -> None:
    for name, part in parts.items():
        most = max(s.recipe.max_seconds for s in plan.stages if name in s.recipe.parts)
        long = sum(u.size > most * SAMPLE_RATE for u in part)
        if long == len(part):
            raise PlanError(
                f"every clip of {name} is longer than {most:g} s: cut them, or raise max_seconds"
            )
        if long:
            warn(
                f"{long} of {len(part)} clips of {name} are longer than {most:g} s "
                "(max_seconds) and are left out"
            )


def _tokenizer(
    plan: Plan, work: Path, start: Start | None, utterances: list[Utterance]
) -> Tokenizer:
    """That of the run so far, or a new one, or the checkpoint's with what the texts add."""
    path = work / TOKENIZER
    if path.exists():
        return Tokenizer(path.read_bytes())
    texts = [u.text for u in utterances]
    locales = sorted({u.locale for u in utterances})
    if start is None:
        made = Tokenizer.train(texts, locales, plan.pieces)
    else:
        tagged = start.config.prompts > 0 or any(map(start.tokenizer.has, start.prompts))
        new = [locale for locale in locales if tagged and not start.tokenizer.has(locale)]
        made = start.tokenizer.grown(texts, new)
        if plan.pieces:
            foreign = [u.text for u in utterances if u.locale in new] or texts
            made = made.grown(foreign, [], plan.pieces)
    partial = path.with_suffix(".partial")
    partial.write_bytes(made.model)
    os.replace(partial, path)
    return made
