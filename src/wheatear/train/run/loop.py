"""Runs a training plan from where it stands to its end, or until it is asked to stop.

WORK holds the corpus (WORK/corpus, unless the plan names manifests) and receives tokenizer.model,
state.pt, report.json, report.png and the checkpoint <name>.safetensors: the running average of
the weights that did best in validation.  Starting again with the same WORK goes on where it
stopped; a run whose schedule counts steps then equals one that was never stopped, bit by bit.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from wheatear.errors import PlanError
from wheatear.train.data.batches import Batch, Data, Recipe
from wheatear.train.run.config import Plan
from wheatear.train.run.launch import MEETING
from wheatear.train.run.progress import Display
from wheatear.train.run.report import write_report
from wheatear.train.run.trainer import Trainer
from wheatear.train.run.training_data import Material, gather
from wheatear.train.run.validation import mean_wer, validate


class _Stream(IterableDataset[Batch]):
    """Every `every`-th batch from `skip` on; runs in the loader's worker processes."""

    def __init__(self, data: Data, recipe: Recipe, seed: int, skip: int, every: int) -> None:
        self.data, self.recipe, self.seed = data, recipe, seed
        self.skip, self.every = skip, every

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        # Who asks the run to stop asks the trainer, which stops its workers.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        worker = get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        skip = self.skip + number * self.every
        return self.data.stream(self.recipe, self.seed, skip, self.every * count)


def batches_of(trainer: Trainer, workers: int = 1) -> Iterator[Batch]:
    """Batches of the current stage, from where it stands, the same for any number of workers."""
    plan, material = trainer.plan, trainer.material
    data = Data(material.parts, material.tokenizer, material.prompts, trainer.network.config.mels)
    stream = _Stream(
        data, plan.stages[trainer.stage].recipe, plan.seed + trainer.stage,
        trainer.batches + trainer.rank, trainer.ranks,
    )  # fmt: skip
    return iter(DataLoader(stream, batch_size=None, num_workers=workers, prefetch_factor=6))


class Loop:
    """A trainer on its way through the plan."""

    def __init__(self, trainer: Trainer, display: Display, workers: int = 1) -> None:
        self.trainer, self.display, self.workers = trainer, display, workers
        self._window: list[dict[str, float]] = []
        self._begun = time.monotonic(), trainer.progress

    def run(self, save_every: float = 300.0) -> None:
        """save_every: seconds.  Whatever ends the run, the state is saved."""
        trainer = self.trainer
        trainer.history.ended = ""
        trainer.network.train()
        if trainer.material.start and not trainer.history.checks:
            self._check()  # what it was before
        batches = batches_of(trainer, self.workers)
        clock = saved = time.monotonic()
        while trainer.progress < 1 and not trainer.stopping:
            if trainer.progress >= trainer.plan.stages[trainer.stage].until:
                trainer.stage, trainer.batches = trainer.stage + 1, 0
                self.display.say(f"stage {trainer.stage + 1} of {len(trainer.plan.stages)}")
                batches = batches_of(trainer, self.workers)
            some = [next(batches) for _ in range(trainer.plan.accumulate)]
            now = time.monotonic()
            self._window.append(trainer.update(some, now - clock))
            clock = now
            self._show()
            if self._due():
                self._check()
                clock = time.monotonic()
            if not trainer.rank and now - saved > save_every:
                self._save()
                saved = time.monotonic()
        trainer.history.ended = trainer.history.ended or (
            "the plan is done" if trainer.progress >= 1 else "asked to stop"
        )
        if not trainer.rank:
            self._log()
            self._save()

    def _save(self) -> None:
        trainer = self.trainer
        trainer.save()
        count = sum(p.numel() for p in trainer.network.parameters())
        about = {
            "name": trainer.plan.name,
            "started_from": trainer.plan.start or None,
            "parameters": count,
            "trained_parameters": sum(p.numel() for p in trainer.trained.values()),
            **trainer.material.summary(),
            "steps": trainer.step,
            "minutes": round(trainer.seconds / 60, 2),
            "audio_hours_seen": round(trainer.audio / 3600, 2),
            "device": str(trainer.device),
            "processes": trainer.ranks,
            "torch": torch.__version__,
            "plan": asdict(trainer.plan),
        }
        write_report(trainer.work, trainer.history, about)

    # -- validation

    def _due(self) -> bool:
        """Evenly spread over the run, the last at its end; told by progress, not by chance."""
        trainer, checks = self.trainer, self.trainer.plan.checks
        done = sum(check["progress"] > 0 for check in trainer.history.checks)
        return done < checks and trainer.progress >= (done + 1) / checks

    def _check(self) -> None:
        """Measures in the first process while the others wait."""
        trainer, plan = self.trainer, self.trainer.plan
        if not plan.checks:
            return
        stop = False
        if not trainer.rank:
            history = trainer.history
            with trainer.averaged():
                rows = validate(
                    trainer.network, trainer.material.tokenizer, trainer.material.prompts,
                    trainer.material.validation, plan.check_latencies,
                )  # fmt: skip
            mean = mean_wer(rows)
            best = history.best is None or mean < history.best
            history.checks.append(
                {
                    "step": trainer.step, "progress": trainer.progress,
                    "mean_wer": round(mean, 3), "warming": trainer.warming, "rows": rows,
                }
            )  # fmt: skip
            if best:
                history.best, history.best_step = mean, trainer.step
                trainer.export()
            self.display.check(trainer.step, rows, best)
            stop = 0 < plan.patience <= history.waiting()
        else:
            trainer.history.checks.append({"step": trainer.step, "progress": trainer.progress})
        if trainer.agree(stop):
            trainer.stopping = True
            trainer.history.ended = f"no better in {plan.patience} validations"

    # -- what is shown

    def _left(self) -> float:
        """Seconds until the end, as fast as it has been going."""
        trainer = self.trainer
        if not trainer.plan.steps:
            return max(0.0, 60 * trainer.plan.minutes - trainer.seconds)
        begun, before = self._begun
        gone = max(1e-9, trainer.progress - before)
        return (time.monotonic() - begun) * (1 - trainer.progress) / gone

    def _show(self) -> None:
        trainer = self.trainer
        if not trainer.rank:
            self.display.advance(trainer.step, trainer.progress, self._left())
            if self.display.due():
                self._log()

    def _log(self) -> None:
        if not self._window:
            return
        trainer, window = self.trainer, self._window
        means = {
            key: sum(w[key] for w in window if key in w) / sum(key in w for w in window)
            for key in window[-1]
        }
        row = {"step": trainer.step, "minutes": round(trainer.seconds / 60, 3), **means}
        trainer.history.losses.append(row)
        self._window = []
        speed = trainer.audio / max(1e-9, trainer.seconds)
        self.display.losses(row, self._left(), trainer.audio / 3600, speed)


def train(plan: Plan, work: Path, device: str, threads: int, workers: int) -> Trainer:
    """Runs a plan in this process (one of several, where the environment says so).

    Raises ManifestError, CheckpointError or PlanError.
    """
    rank = int(os.environ.get("RANK", "0"))
    torch.set_num_threads(threads)
    if "RANK" in os.environ:
        _meet("nccl" if device == "cuda" else "gloo", rank)
    place = torch.device(device, rank) if device == "cuda" else torch.device(device)
    with Display(quiet=rank > 0) as display:
        material = gather(plan, work, display.say)
        trainer = Trainer(plan, material, work, place)
        _introduce(trainer, material, display)
        if trainer.load():
            display.say(f"going on at step {trainer.step}")
        try:
            with _signals(trainer):
                Loop(trainer, display, workers).run()
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()
    return trainer


def _meet(backend: str, rank: int) -> None:
    """Finds the other processes: by a file if `launch` started them, else as torchrun says."""
    if path := os.environ.get(MEETING):
        size = int(os.environ["WORLD_SIZE"])
        dist.init_process_group(backend, f"file://{path}", rank=rank, world_size=size)
    else:
        dist.init_process_group(backend)


def _introduce(trainer: Trainer, material: Material, display: Display) -> None:
    summary = material.summary()
    every = sum(p.numel() for p in trainer.network.parameters())
    trained = sum(p.numel() for p in trainer.trained.values())
    share = "" if trained == every else f", {trained:,} of them trained"
    display.say(
        f"{trainer.plan.name}: {every:,} parameters{share}, {summary['pieces']} pieces; "
        f"{summary['hours']:.2f} h of {', '.join(summary['locales'])}; on {trainer.device}"
    )


@contextmanager
def _signals(trainer: Trainer) -> Iterator[None]:
    """SIGTERM and Ctrl-C end the run after a step, with everything saved; twice ends it at once."""

    def stop(number: int, _frame: object) -> None:
        trainer.asked = True
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def with_paths(plan: Plan, folder: Path) -> Plan:
    """The plan with its manifests and its start found from the folder that it lies in."""
    start = plan.start
    if start and (folder / start).exists():
        start = str(folder / start)
    return replace(
        plan,
        start=start,
        manifests={name: str(folder / path) for name, path in plan.manifests.items()},
        validation=tuple(str(folder / path) for path in plan.validation),
    )


def check_device(device: str) -> str:
    """`cpu`, `cuda` or `auto`; raises PlanError where there is no such device."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise PlanError("torch finds no CUDA device here: give --device cpu")
    return device
