"""`wheatear finetune`: trains a checkpoint further on a manifest of recordings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from wheatear.cli.train import Device, require_train_extra, run_plan
from wheatear.errors import PlanError

if TYPE_CHECKING:
    from wheatear.train.run.config import TrainConfig

_PLAN = "plan.json"
_SEVERAL = Parameter(consume_multiple=True, negative="")


def finetune(
    checkpoint: str,
    manifest: Path,
    /,
    *,
    output: Path | None = None,
    validation: Annotated[tuple[Path, ...], _SEVERAL] = (),
    rehearse: Path | None = None,
    rehearse_share: float = 0.5,
    locale: str | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    rate: float = 2e-4,
    freeze: int = 0,
    lora: int = 0,
    new_pieces: int = 0,
    latencies: Annotated[tuple[int, ...], _SEVERAL] = (80, 160, 320, 560, 1120),
    batch_seconds: float = 24.0,
    max_seconds: float = 20.0,
    accumulate: int = 1,
    patience: int = 4,
    augment: float = 0.12,
    bad_lines: Literal["refuse", "skip"] = "refuse",
    device: Device = "auto",
    processes: int = 1,
    threads: int | None = None,
    workers: int | None = None,
    seed: int = 0,
) -> int:
    """Fine-tune a checkpoint on a manifest of recordings.

    Without --validation, a twentieth of the sentences (up to a fifth of few) is held out for it.
    Error rates before, during and after training are shown and written to report.json. The
    weights with the lowest error rate are exported for "wheatear convert". Ctrl-C stops the run;
    the same command resumes it.

    Parameters
    ----------
    checkpoint
        A .nemo or .safetensors file, or the name of a model that includes its checkpoint.
    manifest
        JSON lines such as {"audio_filepath": "a.flac", "text": "Good morning.", "lang": "en-US"},
        with "duration" and "offset" in seconds if a file contains more than the sentence.
    output
        Folder of the run; by default NAME-finetuned in the current folder.
    validation
        Manifests to validate on.
    rehearse
        Manifest of earlier training data, which keeps the model from forgetting it.
    rehearse_share
        Share of --rehearse in the training audio.
    locale
        Locale of manifest lines that name none.
    minutes
        Training time in minutes; 15 without --steps.
    steps
        Number of training steps, instead of --minutes.
    rate
        Peak learning rate.
    freeze
        Number of first encoder layers to freeze.
    lora
        Rank of low-rank adapters to train instead of the encoder's weights; 0 for none.
    new_pieces
        Number of word pieces to add to the vocabulary. Missing letters and locales are always
        added.
    latencies
        Latencies in milliseconds to train for.
    batch_seconds
        Seconds of audio in a batch.
    max_seconds
        Maximum length of a recording in seconds; longer ones are left out with a warning.
    accumulate
        Number of batches in a step.
    patience
        Number of validations without improvement, after the warm-up, that end the run; 0 for no
        limit.
    augment
        Share of clips with noise, reverberation, telephone band, or changed speed.
    bad_lines
        Refuse a manifest with unusable lines, or skip these lines.
    device
        Device to train on; auto uses CUDA if available.
    processes
        Number of processes that share each step.
    threads
        Number of torch threads per process.
    workers
        Number of processes that prepare batches, per training process.
    seed
        Seed of the order of clips, of augmentation and of dropout.
    """
    require_train_extra("fine-tuning")
    from wheatear.train.data.batches import BatchConfig  # noqa: PLC0415  (an extra, and slow to import)
    from wheatear.train.data.manifest import read_manifest  # noqa: PLC0415
    from wheatear.train.run.config import LOOKAHEADS, Stage, TrainConfig  # noqa: PLC0415
    from wheatear.train.run.pretrained import CHECKPOINT, find_checkpoint  # noqa: PLC0415

    found = find_checkpoint(checkpoint)
    name = f"{found.parent.name if found.name == CHECKPOINT else found.stem}-finetuned"
    if minutes is not None and steps is not None:
        raise PlanError("give --minutes or --steps, not both")
    if unknown := [ms for ms in latencies if ms not in LOOKAHEADS]:
        known = ", ".join(map(str, LOOKAHEADS))
        raise PlanError(f"--latencies has {unknown[0]}; it may have {known}")
    if not 0 < rehearse_share < 1:
        raise PlanError(f"--rehearse-share is {rehearse_share:g}; give more than 0, less than 1")
    manifests = {"new": str(manifest.absolute())}
    parts = {"new": 1.0}
    if rehearse:
        manifests["old"] = str(rehearse.absolute())
        seconds = {
            part: sum(u.size for u in read_manifest(Path(path), bad_lines, locale, lambda _: None))
            for part, path in manifests.items()
        }
        wanted = seconds["new"] * rehearse_share / (1 - rehearse_share)
        parts["old"] = wanted / seconds["old"]
    batches = BatchConfig(
        parts, max_seconds=max_seconds, batch_seconds=batch_seconds, augment=augment,
        joined=0.05, silence=0.01,
    )  # fmt: skip
    plan = TrainConfig(
        name=name, rate=rate, seed=seed, warmup=50, hold=0.5, ctc=0.0, token_dropout=0.1,
        minutes=0.0 if steps else (minutes if minutes is not None else 15.0), steps=steps or 0,
        pieces=new_pieces, start=str(found.absolute()), freeze=freeze, lora=lora,
        accumulate=accumulate, patience=patience, manifests=manifests, bad_lines=bad_lines,
        locale=locale, validation=tuple(str(path.absolute()) for path in validation),
        check_latencies=tuple(sorted({min(latencies), max(latencies)})),
        stages=(Stage(1.0, batches, tuple(LOOKAHEADS[ms] for ms in latencies)),),
    )  # fmt: skip
    try:
        plan.check()
    except ValueError as error:
        raise PlanError(str(error)) from error
    work = output or Path(name)
    path = _save_plan(plan, work)
    return run_plan(plan, work, ["train", str(path)], device, processes, threads, workers)


def _save_plan(plan: TrainConfig, work: Path) -> Path:
    """Writes the plan into the folder of the run; only its duration may differ from an old one."""
    path = work / _PLAN
    if path.exists():
        before = plan.read(path)
        longer = replace(before, minutes=plan.minutes, steps=plan.steps, patience=plan.patience)
        if longer != plan:
            raise PlanError(
                f"{work} holds a run with other options: give another --output, or the options "
                "of that run (minutes, steps and patience may change)"
            )
    try:
        work.mkdir(parents=True, exist_ok=True)
        plan.write(path)
    except OSError as error:
        raise PlanError(f"cannot write to {work}: {error.strerror or error}") from error
    return path
