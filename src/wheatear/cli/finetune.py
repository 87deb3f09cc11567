"""`wheatear finetune`: a checkpoint goes on learning from your recordings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from wheatear.cli.train import Device, follow, with_extra
from wheatear.errors import PlanError

if TYPE_CHECKING:
    from wheatear.train.run.config import Plan

PLAN = "plan.json"
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

    A twentieth of the sentences (of few, up to a fifth) is kept aside to validate on, unless you
    give --validation. The error rates before, meanwhile and after are shown and written to
    report.json, and the weights that did best are exported for "wheatear convert". Stop it with
    Ctrl-C; the same command goes on.

    Parameters
    ----------
    checkpoint
        A .nemo or .safetensors file, or the name of a model that comes with its checkpoint.
    manifest
        JSON lines: {"audio_filepath": "a.flac", "text": "Good morning.", "lang": "en-US"},
        with "duration" and "offset" in seconds where a file holds more than the sentence.
    output
        Folder of the run; NAME-finetuned beside you if left out.
    validation
        Manifests to validate on.
    rehearse
        Manifest of what the model knew before, so that it does not forget.
    rehearse_share
        Share of the training audio that comes from --rehearse.
    locale
        Of manifest lines that name none.
    minutes
        How long to train; 15 if neither this nor --steps is given.
    steps
        How many steps to train, instead of minutes.
    rate
        Peak learning rate.
    freeze
        First encoder layers to keep as they are.
    lora
        Rank of low-rank adapters to train instead of the encoder's weights; 0 for none.
    new_pieces
        Word pieces to add to the vocabulary; letters and locale are added as needed.
    latencies
        Milliseconds that the result shall be good at.
    batch_seconds
        Seconds of audio in a batch.
    max_seconds
        Longest recording; longer ones are left out, and you are told.
    accumulate
        Batches in a step.
    patience
        Validations after the warm-up without a better result after which to stop; 0 for never.
    augment
        Share of clips with noise, reverberation, telephone band, and changed speed.
    bad_lines
        What to do about manifest lines that cannot be used.
    device
        auto takes CUDA where there is any.
    processes
        Processes that share each step.
    threads
        Of torch in each process.
    workers
        Processes that make batches, for each training process.
    seed
        Another seed, another order.
    """
    with_extra("fine-tuning")
    from wheatear.train.data.batches import Recipe  # noqa: PLC0415  (an extra, and slow to import)
    from wheatear.train.data.manifest import read_manifest  # noqa: PLC0415
    from wheatear.train.run.config import LOOKAHEADS, Plan, Stage  # noqa: PLC0415
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
    recipe = Recipe(
        parts, max_seconds=max_seconds, batch_seconds=batch_seconds, augment=augment,
        joined=0.05, silence=0.01,
    )  # fmt: skip
    plan = Plan(
        name=name, rate=rate, seed=seed, warmup=50, hold=0.5, ctc=0.0, forget=0.1,
        minutes=0.0 if steps else (minutes if minutes is not None else 15.0), steps=steps or 0,
        pieces=new_pieces, start=str(found.absolute()), freeze=freeze, lora=lora,
        accumulate=accumulate, patience=patience, manifests=manifests, bad_lines=bad_lines,
        locale=locale, validation=tuple(str(path.absolute()) for path in validation),
        check_latencies=tuple(sorted({min(latencies), max(latencies)})),
        stages=(Stage(1.0, recipe, tuple(LOOKAHEADS[ms] for ms in latencies)),),
    )  # fmt: skip
    try:
        plan.check()
    except ValueError as error:
        raise PlanError(str(error)) from error
    work = output or Path(name)
    kept = _keep(plan, work)
    return follow(plan, work, ["train", str(kept)], device, processes, threads, workers)


def _keep(plan: Plan, work: Path) -> Path:
    """Writes the plan into the folder of the run; a run that goes on must go on with its own."""
    from wheatear.train.run.config import Plan as Plans  # noqa: PLC0415

    path = work / PLAN
    if path.exists():
        before = Plans.read(path)
        longer = replace(before, minutes=plan.minutes, steps=plan.steps, patience=plan.patience)
        if longer != plan:
            raise PlanError(
                f"{work} holds a run with other options: give another --output, or the options "
                "of that run (how long it lasts may change)"
            )
    try:
        work.mkdir(parents=True, exist_ok=True)
        plan.write(path)
    except OSError as error:
        raise PlanError(f"cannot write to {work}: {error.strerror or error}") from error
    return path
