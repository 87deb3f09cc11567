"""The state of a training run and one step of it; everything is saved and restored."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from wheatear.errors import PlanError
from wheatear.train.data.batches import Batch
from wheatear.train.network import lora as adapters
from wheatear.train.network.initialize import initialise
from wheatear.train.network.transducer import Network
from wheatear.train.run import checkpoint
from wheatear.train.run.config import Plan
from wheatear.train.run.objective import Heads, Weights, losses
from wheatear.train.run.report import History
from wheatear.train.run.training_data import Material

STATE = "state.pt"
_FORMAT = 2
_LOST = 100  # steps in a row without a finite gradient


class Trainer:
    """Network, optimiser, running average, counters and history of a run."""

    def __init__(
        self, plan: Plan, material: Material, work: Path, device: str | torch.device = "cpu"
    ) -> None:
        self.plan, self.material, self.work = plan, material, work
        self.device = torch.device(device)
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.ranks = dist.get_world_size() if dist.is_initialized() else 1
        self.bf16 = self.device.type == "cuda" if plan.bf16 is None else plan.bf16
        self.asked = self.stopping = False  # to stop; all processes stop together
        torch.manual_seed(plan.seed)
        self.network = Network(material.config)
        self.heads = Heads(material.config).to(self.device)
        if material.start:
            material.start.fit(self.network)
        else:
            initialise(self.network)
        adapters.freeze(self.network, plan.freeze)
        if plan.lora:
            adapters.adapt(self.network, plan.lora)
        self.network.to(self.device)
        self.trained = {n: p for n, p in self.network.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.trained.items()}
        self.parameters = [*self.trained.values(), *self.heads.parameters()]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": 1e-2},
                {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=plan.rate, betas=(0.9, 0.98), fused=True,
        )  # fmt: skip
        self.step = self.stage = 0
        self.batches = 0
        """Taken from the current stage, by all processes together."""
        self.seconds = 0.0
        """Of training so far."""
        self.audio = 0.0
        """Seconds of audio seen, by all processes together."""
        self.lost = 0
        self.history = History()

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        if self.plan.steps:
            return min(1.0, self.step / self.plan.steps)
        return min(1.0, self.seconds / (60 * self.plan.minutes))

    @property
    def warming(self) -> bool:
        """True until the learning rate has been at its peak for a step."""
        return not self.step or self.plan.warmth(self.step - 1, self.progress) < 1

    def save(self) -> None:
        state = {
            "format": _FORMAT,
            "config": asdict(self.network.config),
            # What is not trained comes from the start again.
            "trained": {name: p.detach() for name, p in self.trained.items()},
            "average": self.average,
            "heads": self.heads.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "counters": (self.step, self.stage, self.batches, self.seconds, self.audio),
            "history": asdict(self.history),
        }
        partial = self.work / "state.partial"
        torch.save(state, partial)
        os.replace(partial, self.work / STATE)
        if self.history.best is None:
            self.export()

    def load(self) -> bool:
        """Goes on from the state in WORK; False if there is none.

        Raises PlanError for a state that is damaged or of another network.
        """
        path = self.work / STATE
        if not path.exists():
            return False
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            known = state["format"] == _FORMAT
        except Exception as error:  # torch raises whatever the bytes make it stumble over
            raise PlanError(
                f"{path} is damaged ({type(error).__name__}): remove it to begin anew"
            ) from error
        mine = self.trained.keys(), asdict(self.network.config)
        if not known or (state["trained"].keys(), state["config"]) != mine:
            raise PlanError(
                f"{path} is of another run, with another network, start, freeze or lora: "
                "go on with the plan it was begun with, or train in another folder"
            )
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(state["trained"][name])
                self.average[name].copy_(state["average"][name])
        self.heads.load_state_dict(state["heads"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.stage, self.batches, self.seconds, self.audio = state["counters"]
        self.history = History(**state["history"])
        # A shorter plan than the last time may have fewer stages.
        self.stage = min(self.stage, len(self.plan.stages) - 1)
        return True

    def export(self) -> Path:
        """Writes the running average as WORK/<name>.safetensors, which `convert` reads."""
        plan, start = self.plan, self.material.start
        licence = plan.licence or (start.licence if start else "")
        notice = plan.notice or (start.notice if start else "")
        path = self.work / f"{plan.name}.safetensors"
        with self.averaged():
            weights = adapters.merged(self.network)
            checkpoint.export(
                weights, self.network.config, self.material.tokenizer,
                checkpoint.Terms(plan.name, self.material.about, licence, notice), path,
                torch.float16 if plan.half else torch.float32,
            )  # fmt: skip
        return path

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The network has the averaged weights for as long as the block lasts."""
        now = {name: p.detach().clone() for name, p in self.trained.items()}
        self._set(self.average)
        try:
            yield
        finally:
            self._set(now)

    @torch.no_grad()
    def _set(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.trained.items():
            parameter.copy_(values[name])

    def update(self, batches: Sequence[Batch], elapsed: float = 0.0) -> dict[str, float]:
        """One step of the optimiser over the batches; elapsed: seconds since the last.

        Raises PlanError when the run has diverged.
        """
        # By step, so that a run that goes on draws what one that never stopped would draw.
        chance = random.Random(f"{self.plan.seed} {self.rank} {self.step}")  # noqa: S311
        torch.manual_seed(chance.getrandbits(63))
        rate = self.plan.learning_rate(self.step, self.progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        sizes = [float(batch.target_lengths.sum()) + len(batch.targets) for batch in batches]
        parts = [
            self._backward(batch, size / sum(sizes), chance)
            for batch, size in zip(batches, sizes, strict=True)
        ]
        self._share(elapsed, sum(batch.seconds for batch in batches))
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self._step(norm)
        self.step += 1
        self.batches += len(batches) * self.ranks
        return {**_sums(parts), "norm": norm.item(), "rate": rate}

    def _backward(self, batch: Batch, share: float, chance: random.Random) -> dict[str, float]:
        """Adds the gradient of a batch that makes up a share of the step; its losses, weighed."""
        plan = self.plan
        faded = self.progress / plan.frame_until if plan.frame_until else 1.0
        weights = Weights(
            max(0.0, 1 - faded), plan.ctc, plan.forget, plan.transducer_share, self.bf16
        )
        moved = Batch(*(x.to(self.device) for x in batch[:-1]), seconds=batch.seconds)
        lookahead = chance.choice(plan.stages[self.stage].lookaheads)
        loss, parts = losses(self.network, self.heads, moved, lookahead, weights)
        (loss * share).backward()
        return {key: value * share for key, value in parts.items()}

    def _share(self, elapsed: float, audio: float) -> None:
        """Averages gradients over the processes, and the clock with them: one schedule for all."""
        counts = torch.tensor([elapsed, audio, float(self.asked)], device=self.device)
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

    def _step(self, norm: Tensor) -> None:
        """Moves the weights and their average, unless the gradient is broken."""
        self.lost = 0 if torch.isfinite(norm) else self.lost + 1
        if self.lost >= _LOST:
            raise PlanError(
                f"the gradient has not been finite for {_LOST} steps (at step {self.step}): "
                f"begin again with a lower rate than {self.plan.rate:g}"
            )
        if self.lost:  # one broken batch must not break the run
            return
        self.optimiser.step()
        decay = min(0.999, (self.step + 1) / (self.step + 10))
        kept: list[Tensor] = list(self.average.values())
        new: list[Tensor] = list(self.trained.values())
        with torch.no_grad():
            torch._foreach_lerp_(kept, new, 1 - decay)

    def agree(self, stop: bool) -> bool:
        """What the first process says, in all of them; the others wait for it."""
        if self.ranks == 1:
            return stop
        flag = torch.tensor([float(stop)], device=self.device)
        dist.broadcast(flag, 0)
        return flag.item() > 0


def _sums(parts: list[dict[str, float]]) -> dict[str, Any]:
    return {key: sum(part[key] for part in parts if key in part) for key in parts[0]}
