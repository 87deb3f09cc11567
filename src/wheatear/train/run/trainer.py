"""State and steps of a training run, with saving and restoring."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from wheatear.errors import PlanError
from wheatear.train.data.batches import Batch
from wheatear.train.network import lora
from wheatear.train.network.initialize import initialize
from wheatear.train.network.transducer import Network
from wheatear.train.run.checkpoint import CheckpointInfo, export_checkpoint
from wheatear.train.run.config import TrainConfig
from wheatear.train.run.objective import Heads, LossWeights, loss_of_batch
from wheatear.train.run.report import History
from wheatear.train.run.training_data import TrainingData

STATE = "state.pt"
MAX_BAD_STEPS = 100
"""Steps in a row without a finite gradient that end a run."""
_FORMAT = 3


class Trainer:
    """Network, optimizer, running average of the weights, counters and history of a run."""

    def __init__(
        self, plan: TrainConfig, data: TrainingData, work: Path, device: str | torch.device = "cpu"
    ) -> None:
        self.plan, self.data, self.work = plan, data, work
        self.device = torch.device(device)
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.ranks = dist.get_world_size() if dist.is_initialized() else 1
        self.bf16 = self.device.type == "cuda" if plan.bf16 is None else plan.bf16
        self.stop_requested = False  # in this process
        self.stopping = False  # in all processes, which stop together
        torch.manual_seed(plan.seed)
        self.network = Network(data.config)
        self.heads = Heads(data.config).to(self.device)
        if data.pretrained:
            data.pretrained.copy_to(self.network)
        else:
            initialize(self.network)
        lora.freeze_layers(self.network, plan.freeze)
        if plan.lora:
            lora.add_adapters(self.network, plan.lora)
        self.network.to(self.device)
        self.trained = {n: p for n, p in self.network.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.trained.items()}
        self.parameters = [*self.trained.values(), *self.heads.parameters()]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": 1e-2},
                {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=plan.rate, betas=(0.9, 0.98), fused=True,
        )  # fmt: skip
        self.step = self.stage = 0
        self.batches = 0
        """Batches of the current stage that all processes have used."""
        self.seconds = 0.0
        """Training time."""
        self.audio = 0.0
        """Seconds of audio that all processes have used."""
        self.bad_steps = 0
        self.history = History()

    @property
    def progress(self) -> float:
        """Progress of the run, from 0 to 1."""
        if self.plan.steps:
            return min(1.0, self.step / self.plan.steps)
        return min(1.0, self.seconds / (60 * self.plan.minutes))

    @property
    def warming(self) -> bool:
        """True until the end of the warm-up."""
        return not self.step or self.plan.warmup_factor(self.step - 1, self.progress) < 1

    def save(self) -> None:
        """Writes WORK/state.pt, and exports the weights unless a validation has done so."""
        state = {
            "format": _FORMAT,
            "config": asdict(self.network.config),
            # Weights that are not trained come from the pretrained checkpoint.
            "trained": {name: p.detach() for name, p in self.trained.items()},
            "average": self.average,
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "counters": (self.step, self.stage, self.batches, self.seconds, self.audio),
            "history": asdict(self.history),
        }
        partial = self.work / "state.partial"
        torch.save(state, partial)
        os.replace(partial, self.work / STATE)
        if self.history.best is None:
            self.export()

    def load(self) -> bool:
        """Restores WORK/state.pt; returns False if there is none.

        Raises PlanError for a state that is damaged or of another network.
        """
        path = self.work / STATE
        if not path.exists():
            return False
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            known = state["format"] == _FORMAT
        except Exception as error:  # torch raises errors of any class for damaged bytes
            raise PlanError(
                f"{path} is damaged ({type(error).__name__}): remove it to start again"
            ) from error
        expected = self.trained.keys(), asdict(self.network.config)
        if not known or (state["trained"].keys(), state["config"]) != expected:
            raise PlanError(
                f"{path} is of another run, with another network, start, freeze or lora: "
                "continue with the plan of that run, or train in another folder"
            )
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(state["trained"][name])
                self.average[name].copy_(state["average"][name])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.stage, self.batches, self.seconds, self.audio = state["counters"]
        self.history = History(**state["history"])
        # The plan may have been shortened since.
        self.stage = min(self.stage, len(self.plan.stages) - 1)
        return True

    def export(self) -> Path:
        """Writes the running average as WORK/<name>.safetensors, which `convert` reads."""
        plan, old = self.plan, self.data.pretrained
        info = CheckpointInfo(
            plan.name,
            self.data.nemo_config,
            plan.license or (old.license if old else ""),
            plan.notice or (old.notice if old else ""),
        )
        path = self.work / f"{plan.name}.safetensors"
        with self.averaged_weights():
            export_checkpoint(
                lora.merged_state_dict(self.network), self.network.config, self.data.tokenizer,
                info, path, torch.float16 if plan.half else torch.float32,
            )  # fmt: skip
        return path

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Gives the network the averaged weights within a `with` block."""
        current = {name: p.detach().clone() for name, p in self.trained.items()}
        self._set_weights(self.average)
        try:
            yield
        finally:
            self._set_weights(current)

    @torch.no_grad()
    def _set_weights(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.trained.items():
            parameter.copy_(values[name])

    def update(self, batches: Sequence[Batch], elapsed: float = 0.0) -> dict[str, float]:
        """Takes an optimizer step over batches, `elapsed` seconds after the last.

        Returns the losses.  Raises PlanError when the run has diverged.
        """
        rate = self.plan.learning_rate(self.step, self.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts = self.compute_gradients(batches)
        self.synchronize(elapsed, sum(batch.seconds for batch in batches))
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self._apply_gradient(norm)
        self.step += 1
        self.batches += len(batches) * self.ranks
        return {**parts, "norm": norm.item(), "rate": rate}

    def compute_gradients(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Computes the gradients of a step, batches weighted by tokens; returns the losses."""
        # Seeded by step, so that a resumed run draws the same numbers as one without a stop.
        chance = random.Random(f"{self.plan.seed} {self.rank} {self.step}")  # noqa: S311
        torch.manual_seed(chance.getrandbits(63))
        self.optimizer.zero_grad(set_to_none=True)
        sizes = [float(batch.target_lengths.sum()) + len(batch.targets) for batch in batches]
        parts = [
            self._backward(batch, size / sum(sizes), chance)
            for batch, size in zip(batches, sizes, strict=True)
        ]
        return {key: sum(part[key] for part in parts if key in part) for key in parts[0]}

    def _backward(self, batch: Batch, share: float, chance: random.Random) -> dict[str, float]:
        """Adds the gradient of a batch with its share of the step; returns its weighted losses."""
        plan = self.plan
        faded = self.progress / plan.frame_until if plan.frame_until else 1.0
        weights = LossWeights(
            max(0.0, 1 - faded), plan.ctc, plan.token_dropout, plan.transducer_share, self.bf16
        )
        moved = Batch(*(x.to(self.device) for x in batch[:-1]), seconds=batch.seconds)
        lookahead = chance.choice(plan.stages[self.stage].lookaheads)
        loss, parts = loss_of_batch(self.network, self.heads, moved, lookahead, weights)
        (loss * share).backward()
        return {key: value * share for key, value in parts.items()}

    def synchronize(self, elapsed: float, audio: float) -> None:
        """Averages gradients and the clock over the processes, and collects requests to stop."""
        counts = torch.tensor([elapsed, audio, float(self.stop_requested)], device=self.device)
        if self.ranks > 1:
            gradients = [p.grad for p in self.parameters if p.grad is not None]
            flat = torch.cat([*(g.flatten() for g in gradients), counts])
            dist.all_reduce(flat)
            flat /= self.ranks
            counts = flat[-3:]
            for gradient, mean in zip(
                gradients, flat[:-3].split([g.numel() for g in gradients]), strict=True
            ):
                gradient.copy_(mean.view_as(gradient))
        self.seconds += counts[0].item()
        self.audio += counts[1].item() * self.ranks
        self.stopping = counts[2].item() > 0

    def _apply_gradient(self, norm: Tensor) -> None:
        """Updates the weights and their average, unless the gradient is not finite."""
        self.bad_steps = 0 if torch.isfinite(norm) else self.bad_steps + 1
        if self.bad_steps >= MAX_BAD_STEPS:
            raise PlanError(
                f"the gradient has not been finite for {MAX_BAD_STEPS} steps (at step "
                f"{self.step}): start again with a lower rate than {self.plan.rate:g}"
            )
        if self.bad_steps:
            return
        self.optimizer.step()
        decay = min(0.999, (self.step + 1) / (self.step + 10))
        update_average = get_ema_multi_avg_fn(decay)
        update_average(list(self.average.values()), list(self.trained.values()), 0)

    def broadcast(self, stop: bool) -> bool:
        """Returns the value of the first process in all processes."""
        if self.ranks == 1:
            return stop
        flag = torch.tensor([float(stop)], device=self.device)
        dist.broadcast(flag, 0)
        return flag.item() > 0
