"""Everything a run is trained on: utterances, tokenizer, prompts, network sizes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.errors import LanguageError, PlanError
from wheatear.model.languages import replacement_note, resolve_language
from wheatear.train.data.manifest import Utterance, read_manifest
from wheatear.train.data.prompts import add_locales, new_prompts
from wheatear.train.data.tokenizer import Tokenizer
from wheatear.train.network.transducer import NetworkConfig
from wheatear.train.run.checkpoint import config_to_nemo, updated_nemo_config
from wheatear.train.run.config import TrainConfig
from wheatear.train.run.pretrained import Pretrained, find_checkpoint, read_pretrained
from wheatear.train.run.validation import choose_clips, split_validation

Parts = dict[str, list[Utterance]]
Warn = Callable[[str], None]


@dataclass(frozen=True)
class TrainingData:
    """Inputs of the trainer other than the training plan."""

    parts: Parts
    validation: list[Utterance]
    tokenizer: Tokenizer
    prompts: dict[str, int]
    """Slot of each locale; empty for a model without language prompt."""
    config: NetworkConfig
    nemo_config: Mapping[str, Any]
    """Configuration of the exported checkpoint in NeMo's layout."""
    pretrained: Pretrained | None

    def summary(self) -> dict[str, Any]:
        """Returns sizes for the report."""
        utterances = [u for part in self.parts.values() for u in part]
        hours = sum(u.size for u in utterances) / SAMPLE_RATE / 3600
        return {
            "locales": sorted({u.locale for u in utterances}),
            "clips": {name: len(part) for name, part in self.parts.items()},
            "hours": round(hours, 3),
            "validation_clips": len(self.validation),
            "pieces": self.tokenizer.size,
        }


def load_training_data(plan: TrainConfig, work: Path, warn: Warn) -> TrainingData:
    """Reads the manifests and the pretrained checkpoint; makes WORK/tokenizer.model once.

    Raises ManifestError, CheckpointError, or PlanError for a plan that does not fit them.
    """
    pretrained = read_pretrained(find_checkpoint(plan.start)) if plan.start else None
    names: dict[str, str] = {}  # locales of manifests in the spelling of the checkpoint

    def read(path: str | Path) -> list[Utterance]:
        found = read_manifest(Path(path), plan.bad_lines, plan.locale, warn)
        for locale in {u.locale: None for u in found if u.locale not in names}:
            names[locale] = checkpoint_locale(pretrained, locale) if pretrained else locale
            if note := replacement_note(locale, names[locale]):
                warn(note)
        return [replace(u, locale=names[u.locale]) for u in found]

    parts = {
        name: read(plan.manifests.get(name, work / "corpus" / f"{name}.jsonl"))
        for name in plan.parts()
    }
    given = [u for path in plan.validation for u in read(path)] if plan.checks else []
    _warn_of_long_clips(plan, parts, warn)
    parts, validation = _split(plan, parts, given, warn)
    utterances = [u for part in parts.values() for u in part]
    locales = sorted({u.locale for u in utterances})
    tokenizer = _tokenizer(plan, work, pretrained, utterances)
    if pretrained:
        config = replace(pretrained.config, vocab_size=tokenizer.size)
        known, slots = pretrained.prompts, config.prompts
        prompts = add_locales(known, locales, slots) if slots else {}
        nemo_config: Mapping[str, Any] = updated_nemo_config(
            pretrained.nemo_config, config, prompts
        )
    else:
        config = NetworkConfig(vocab_size=tokenizer.size, **plan.network)
        prompts = new_prompts(locales, config.prompts) if config.prompts else {}
        nemo_config = config_to_nemo(config, prompts)
    return TrainingData(parts, validation, tokenizer, prompts, config, nemo_config, pretrained)


def checkpoint_locale(pretrained: Pretrained, locale: str) -> str:
    """Returns the checkpoint's locale for a language, or the locale itself if it is new."""
    prompts = pretrained.prompts
    try:
        key = resolve_language(prompts, locale) if prompts else locale
    except LanguageError:
        return locale
    same = [name for name, slot in prompts.items() if slot == prompts.get(key)]
    return next((name for name in same if pretrained.tokenizer.has(name)), key)


def _split(
    plan: TrainConfig, parts: Parts, given: list[Utterance], warn: Warn
) -> tuple[Parts, list[Utterance]]:
    """Returns the utterances to train on, by part, and those to validate on."""
    if not plan.checks:
        return parts, []
    if given:
        return parts, choose_clips(given, plan.check_clips)
    training, held_out = split_validation([u for part in parts.values() for u in part])
    if not held_out:
        warn("too few sentences to hold any out: validation is on the training data")
        return parts, choose_clips(training, plan.check_clips)
    texts = {u.text.lower() for u in held_out}
    left = {name: [u for u in part if u.text.lower() not in texts] for name, part in parts.items()}
    # A part with a single sentence would be empty: it stays and is not used in validation.
    left = {name: part or parts[name] for name, part in left.items()}
    return left, choose_clips(held_out, plan.check_clips)


def _warn_of_long_clips(plan: TrainConfig, parts: Parts, warn: Warn) -> None:
    for name, part in parts.items():
        limits = [s.batches.max_seconds for s in plan.stages if name in s.batches.parts]
        long = sum(u.size > max(limits) * SAMPLE_RATE for u in part)
        if long == len(part):
            raise PlanError(
                f"every clip of {name} is longer than {max(limits):g} s: "
                "cut them, or raise max_seconds"
            )
        if long:
            warn(
                f"{long} of {len(part)} clips of {name} are longer than {max(limits):g} s "
                "(max_seconds) and are left out"
            )


def _tokenizer(
    plan: TrainConfig, work: Path, pretrained: Pretrained | None, utterances: list[Utterance]
) -> Tokenizer:
    """Returns WORK/tokenizer.model; makes it by training or from the checkpoint if missing."""
    path = work / "tokenizer.model"
    if path.exists():
        return Tokenizer(path.read_bytes())
    texts = [u.text for u in utterances]
    locales = sorted({u.locale for u in utterances})
    if pretrained is None:
        made = Tokenizer.train(texts, locales, plan.pieces)
    else:
        old = pretrained.tokenizer
        tagged = pretrained.config.prompts > 0 or any(map(old.has, pretrained.prompts))
        new = [locale for locale in locales if tagged and not old.has(locale)]
        made = old.extended(texts, new)
        if plan.pieces:
            new_texts = [u.text for u in utterances if u.locale in new] or texts
            made = made.extended(new_texts, [], plan.pieces)
    partial = path.with_suffix(".partial")
    partial.write_bytes(made.model)
    os.replace(partial, path)
    return made
