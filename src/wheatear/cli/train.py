"""`wheatear train`: follows a training plan, alone or as several processes."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wheatear.errors import MissingExtraError, PlanError

if TYPE_CHECKING:
    from wheatear.train.run.config import Plan

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
    """Train a model from a plan, or go on where the run stopped.

    Stop it with Ctrl-C (or SIGTERM): the step is finished and everything is saved. The same
    command goes on from there. docs/training.md explains the plan, entry by entry.

    Parameters
    ----------
    config
        The plan: a .toml or .json file.
    work
        Folder of the run; a folder with the plan's name beside you if left out.
    device
        auto takes CUDA where there is any.
    processes
        Processes that share each step; on a CPU two on two cores beat two threads in one.
    threads
        Of torch in each process; the cores shared out if left out.
    workers
        Processes that make batches, for each training process.
    """
    with_extra("training")
    from wheatear.train.run.config import Plan  # noqa: PLC0415
    from wheatear.train.run.loop import with_paths  # noqa: PLC0415  (an extra, and slow to import)

    plan = with_paths(Plan.read(config), config.parent.absolute())
    return follow(
        plan, work or Path(plan.name), ["train", str(config)], device, processes, threads, workers
    )


def follow(
    plan: Plan,
    work: Path,
    command: list[str],
    device: Device,
    processes: int,
    threads: int | None,
    workers: int | None,
) -> int:
    """Runs a plan here, or in several processes that get the same command."""
    from wheatear.train.run.launch import launch  # noqa: PLC0415
    from wheatear.train.run.loop import check_device, train  # noqa: PLC0415
    from wheatear.train.run.training_data import gather  # noqa: PLC0415

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
        gather(plan, work, lambda _: None)  # one tokenizer, and bad lines are told once
        options = {
            "--work": str(work), "--device": place, "--processes": str(processes),
            "--threads": str(threads), "--workers": str(workers),
        }  # fmt: skip
        return launch([*command, *(word for pair in options.items() for word in pair)], processes)
    trainer = train(plan, work, place, threads, workers)
    if not trainer.rank:
        made = work / f"{plan.name}.safetensors"
        print(f"{trainer.history.ended} at step {trainer.step}; {made}, report.json beside it")
        if trainer.history.gained_nothing():
            print(
                f"nothing gained: no validation was better than the one before training, so these "
                f"are the weights of {plan.start}; give more time or recordings, or another --rate"
            )
        print(f"to run it: wheatear convert {made} {work / plan.name}")
    return 0


def with_extra(what: str) -> None:
    """Raises MissingExtraError where something that training needs is not installed."""
    for module in ("torch", "google.protobuf", "safetensors", "sentencepiece", "yaml"):
        try:
            found = find_spec(module)
        except ModuleNotFoundError:  # of the package around it
            found = None
        if found is None:
            raise MissingExtraError(f"{what} needs {module}: pip install 'wheatear[train]'")
