"""Training data: locales of a checkpoint, silent recordings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from training_runs import FINETUNING_PLAN, STAGE, make_trainer, run_steps

from wheatear.train.run.config import Stage
from wheatear.train.run.training_data import load_training_data


def test_locale_is_mapped_to_the_nearest_of_the_checkpoint(work: Path) -> None:
    lines = [json.loads(line) for line in (work / "corpus" / "a.jsonl").read_text().splitlines()]
    given = ["en-AU", "en_us", "de-AT", "en", "fr-BE", "sw-KE"]
    entries = [line | {"lang": given[n % len(given)]} for n, line in enumerate(lines)]
    manifest = work / "corpus" / "regions.jsonl"
    manifest.write_text("\n".join(map(json.dumps, entries)))
    warnings: list[str] = []
    plan = replace(FINETUNING_PLAN, start="wheatear-small", manifests={"a": str(manifest)})
    data = load_training_data(plan, work, warnings.append)
    assert data.summary()["locales"] == ["de-DE", "en-US", "fr-CA", "sw-KE"]
    assert data.pretrained is not None
    new = set(data.prompts) - set(data.pretrained.prompts)
    assert new == {"sw-KE"}  # a new language has a slot of its own
    assert warnings == [
        f"language {given}: {locale} is the nearest that this model has"
        for given, locale in (("en-AU", "en-US"), ("de-AT", "de-DE"), ("fr-BE", "fr-CA"))
    ]


def test_silent_recording_gives_finite_gradients(work: Path) -> None:
    (work / "corpus" / "a.pcm").write_bytes(bytes((work / "corpus" / "a.pcm").stat().st_size))
    trainer = make_trainer(
        replace(FINETUNING_PLAN, stages=(Stage(1.0, STAGE.batches, (0,)),)), work
    )
    run_steps(trainer, 2)
    assert trainer.bad_steps == 0
