"""`wheatear train`: trains by a plan, in one process or several."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wheatear.cli.extras import check_extra
from wheatear.errors import PlanError

if TYPE_CHECKING:
    from wheatear.train.run.config import TrainConfig

Device = Literal["auto", "cpu", "cuda"]


def train(
    config: Path,
    /,
    *,
    work: Path | None = None,
    device: Device = "auto",
    processes: int = 1,
    threads: int | None = None,
    workers: int | None = None,
) -> int:
    """Train a model from a plan, or resume a stopped run.

    Ctrl-C or SIGTERM finishes the step, saves the run and stops. The same command resumes it.
    docs/training.md explains the entries of a plan.

    Parameters
    ----------
    config
        Training plan, a .toml or .json file.
    work
        Folder of the run; by default the name of the plan in the current folder.
    device
        Device to train on; auto uses CUDA if available.
    processes
        Number of processes that share each step. On two CPU cores, two processes are faster
        than two threads.
    threads
        Number of torch threads per process; by default the cores are divided by the processes.
    workers
        Number of processes that prepare batches, per training process.
    """
    require_train_extra("training")
    from wheatear.train.run.config import TrainConfig  # noqa: PLC0415  (an extra, and slow to import)

    plan = TrainConfig.read(config).resolved(config.parent.absolute())
    return run_plan(
        plan, work or Path(plan.name), ["train", str(config)], device, processes, threads, workers
    )


def run_plan(
    plan: TrainConfig,
    work: Path,
    command: list[str],
    device: Device,
    processes: int,
    threads: int | None,
    workers: int | None,
) -> int:
    """Runs a plan in this process, or in several that get the same command."""
    from wheatear.train.run.launch import check_device, launch  # noqa: PLC0415
    from wheatear.train.run.loop import train  # noqa: PLC0415
    from wheatear.train.run.training_data import load_training_data  # noqa: PLC0415

    for name, value in {"processes": processes, "threads": threads, "workers": workers}.items():
        if value is not None and value < 1:
            raise PlanError(f"--{name} is {value}; give 1 or more")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlanError(f"cannot write to {work}: {error.strerror or error}") from error
    place = check_device(device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = threads or max(1, (cores or 1) // processes)
    workers = workers or (1 if place == "cpu" else 4)
    if processes > 1 and "RANK" not in os.environ:
        load_training_data(plan, work, lambda _: None)  # makes the tokenizer, checks manifests
        options = {
            "--work": str(work), "--device": place, "--processes": str(processes),
            "--threads": str(threads), "--workers": str(workers),
        }  # fmt: skip
        return launch([*command, *(word for pair in options.items() for word in pair)], processes)
    trainer = train(plan, work, place, threads, workers)
    if not trainer.rank:
        checkpoint = work / f"{plan.name}.safetensors"
        print(f"{trainer.history.ended} at step {trainer.step}; wrote {checkpoint} and report.json")
        if trainer.history.no_improvement():
            print(
                f"no improvement: no validation was better than the one before training, so these "
                f"are the weights of {plan.start}; use more time or recordings, or another --rate"
            )
        print(f"to run it: wheatear convert {checkpoint} {work / plan.name}")
    return 0


def require_train_extra(subject: str) -> None:
    """Raises MissingExtraError if a package of the extra `train` is not installed."""
    modules = ("torch", "google.protobuf", "safetensors", "sentencepiece", "yaml")
    check_extra("train", subject, modules)
