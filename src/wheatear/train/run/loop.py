"""Training loop: runs a plan until its end, or until SIGTERM or Ctrl-C.

WORK holds the corpus (WORK/corpus, unless the plan names manifests) and receives tokenizer.model,
state.pt, report.json, report.png and the checkpoint <name>.safetensors: the running average of
the weights that did best in validation.  A run resumes from its WORK.  If its schedule counts
steps, a resumed run gives the same bits as one that was never stopped.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from wheatear.train.data.batches import Batch, BatchBuilder, BatchConfig
from wheatear.train.run.config import TrainConfig
from wheatear.train.run.launch import join_processes
from wheatear.train.run.progress import ProgressDisplay
from wheatear.train.run.report import write_report
from wheatear.train.run.trainer import Trainer
from wheatear.train.run.training_data import load_training_data
from wheatear.train.run.validation import mean_wer, validate


class _BatchDataset(IterableDataset[Batch]):
    """Each `every`-th batch from `skip` on; iterated in the worker processes of the loader."""

    def __init__(
        self, builder: BatchBuilder, config: BatchConfig, seed: int, skip: int, every: int
    ) -> None:
        self.builder, self.config, self.seed = builder, config, seed
        self.skip, self.every = skip, every

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        # Requests to stop go to the trainer, which stops its workers.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        worker = get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        skip = self.skip + number * self.every
        return self.builder.stream(self.config, self.seed, skip, self.every * count)


def training_batches(trainer: Trainer, workers: int = 1) -> Iterator[Batch]:
    """Yields the remaining batches of the current stage, the same for any number of workers."""
    plan, data = trainer.plan, trainer.data
    dataset = _BatchDataset(
        BatchBuilder(data.parts, data.tokenizer, data.prompts, data.config.mels),
        plan.stages[trainer.stage].batches, plan.seed + trainer.stage,
        trainer.batches + trainer.rank, trainer.ranks,
    )  # fmt: skip
    return iter(DataLoader(dataset, batch_size=None, num_workers=workers, prefetch_factor=6))


class Loop:
    """Steps, validations and saves of a run, in the order of its plan."""

    def __init__(self, trainer: Trainer, display: ProgressDisplay, workers: int = 1) -> None:
        self.trainer, self.display, self.workers = trainer, display, workers
        self._window: list[dict[str, float]] = []
        self._begun = time.monotonic(), trainer.progress

    def run(self, save_every: float = 300.0) -> None:
        """Trains until the end of the plan or a request to stop, and saves the state.

        Args:
            save_every: Seconds between saves.
        """
        trainer = self.trainer
        trainer.history.ended = ""
        trainer.network.train()
        if trainer.data.pretrained and not trainer.history.checks:
            self._validate()  # error rates before training
        batches = training_batches(trainer, self.workers)
        clock = saved = time.monotonic()
        while trainer.progress < 1 and not trainer.stopping:
            if trainer.progress >= trainer.plan.stages[trainer.stage].until:
                trainer.stage, trainer.batches = trainer.stage + 1, 0
                self.display.message(f"stage {trainer.stage + 1} of {len(trainer.plan.stages)}")
                batches = training_batches(trainer, self.workers)
            accumulated = [next(batches) for _ in range(trainer.plan.accumulate)]
            now = time.monotonic()
            self._window.append(trainer.update(accumulated, now - clock))
            clock = now
            self._show()
            if self._validation_due():
                self._validate()
                clock = time.monotonic()
            if not trainer.rank and now - saved > save_every:
                self._save()
                saved = time.monotonic()
        trainer.history.ended = trainer.history.ended or (
            "the plan is done" if trainer.progress >= 1 else "stopped by a signal"
        )
        if not trainer.rank:
            self._log()
            self._save()

    def _save(self) -> None:
        trainer = self.trainer
        trainer.save()
        about = {
            "name": trainer.plan.name,
            "started_from": trainer.plan.start or None,
            "parameters": sum(p.numel() for p in trainer.network.parameters()),
            "trained_parameters": sum(p.numel() for p in trainer.trained.values()),
            **trainer.data.summary(),
            "steps": trainer.step,
            "minutes": round(trainer.seconds / 60, 2),
            "audio_hours_seen": round(trainer.audio / 3600, 2),
            "device": str(trainer.device),
            "processes": trainer.ranks,
            "torch": torch.__version__,
            "plan": asdict(trainer.plan),
        }
        write_report(trainer.work, trainer.history, about)

    def _validation_due(self) -> bool:
        """True if progress has reached the next validation; the last is at the end."""
        trainer, checks = self.trainer, self.trainer.plan.checks
        done = sum(check["progress"] > 0 for check in trainer.history.checks)
        return done < checks and trainer.progress >= (done + 1) / checks

    def _validate(self) -> None:
        """Validates in the first process while the others wait."""
        trainer, plan = self.trainer, self.trainer.plan
        if not plan.checks:
            return
        stop = False
        if not trainer.rank:
            history = trainer.history
            with trainer.averaged_weights():
                rows = validate(
                    trainer.network, trainer.data.tokenizer, trainer.data.prompts,
                    trainer.data.validation, plan.check_latencies,
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
            self.display.validation(trainer.step, rows, best)
            stop = 0 < plan.patience <= history.checks_without_improvement()
        else:
            trainer.history.checks.append({"step": trainer.step, "progress": trainer.progress})
        if trainer.broadcast(stop):
            trainer.stopping = True
            trainer.history.ended = f"no better in {plan.patience} validations"

    def _left_s(self) -> float:
        """Estimates the seconds until the end."""
        trainer = self.trainer
        if not trainer.plan.steps:
            return max(0.0, 60 * trainer.plan.minutes - trainer.seconds)
        begun, before = self._begun
        done = max(1e-9, trainer.progress - before)
        return (time.monotonic() - begun) * (1 - trainer.progress) / done

    def _show(self) -> None:
        trainer = self.trainer
        if not trainer.rank:
            self.display.advance(trainer.step, trainer.progress, self._left_s())
            if self.display.log_due():
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
        self.display.losses(row, self._left_s(), trainer.audio / 3600, speed)


def train(plan: TrainConfig, work: Path, device: str, threads: int, workers: int) -> Trainer:
    """Runs a plan in this process, which is one of several if RANK is in the environment.

    Args:
        plan: Plan whose paths are absolute or relative to the current folder.
        work: Folder of the run.
        device: "cpu" or "cuda".
        threads: Threads of torch.
        workers: Processes that make batches.

    Raises:
        ManifestError, CheckpointError, PlanError
    """
    rank = int(os.environ.get("RANK", "0"))
    torch.set_num_threads(threads)
    if "RANK" in os.environ:
        join_processes("nccl" if device == "cuda" else "gloo", rank)
    place = torch.device(device, rank) if device == "cuda" else torch.device(device)
    with ProgressDisplay(quiet=rank > 0) as display:
        trainer = Trainer(plan, load_training_data(plan, work, display.message), work, place)
        display.message(_description(trainer))
        if trainer.load():
            display.message(f"resuming at step {trainer.step}")
        try:
            with _stopping_on_signals(trainer):
                Loop(trainer, display, workers).run()
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()
    return trainer


def _description(trainer: Trainer) -> str:
    summary = trainer.data.summary()
    every = sum(p.numel() for p in trainer.network.parameters())
    trained = sum(p.numel() for p in trainer.trained.values())
    share = "" if trained == every else f", {trained:,} of them trained"
    return (
        f"{trainer.plan.name}: {every:,} parameters{share}, {summary['pieces']} pieces; "
        f"{summary['hours']:.2f} h of {', '.join(summary['locales'])}; on {trainer.device}"
    )


@contextmanager
def _stopping_on_signals(trainer: Trainer) -> Iterator[None]:
    """Makes SIGTERM and Ctrl-C stop the run after a step; a second one stops it at once."""

    def stop(number: int, _frame: object) -> None:
        trainer.stop_requested = True
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
