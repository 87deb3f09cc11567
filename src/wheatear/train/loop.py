"""Trains the network: one loop, resumable, paced by the clock.

    python -m wheatear.train.loop training/first.toml --work DIR
    torchrun --nproc-per-node 2 -m wheatear.train.loop training/first.toml --work DIR

DIR holds the corpus (DIR/corpus) and receives tokenizer.model, state.pt and the exported
checkpoint <name>.safetensors; starting again with the same DIR goes on where it stopped, and
so does a run that was asked to stop (SIGTERM).  Several processes average their gradients.
"""

from __future__ import annotations

import argparse
import copy
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from wheatear.train import checkpoint
from wheatear.train.data import Batch, Data, Recipe
from wheatear.train.initialise import initialise
from wheatear.train.manifest import read_manifest
from wheatear.train.network import Network, NetworkConfig
from wheatear.train.objective import Heads, losses
from wheatear.train.plan import Plan
from wheatear.train.tokenizer import Tokenizer


class _Stream(IterableDataset[Batch]):
    """Runs in the loader's worker process."""

    def __init__(self, data: Data, recipe: Recipe, seed: int, skip: int) -> None:
        self.data, self.recipe, self.seed, self.skip = data, recipe, seed, skip

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return self.data.stream(self.recipe, self.seed, self.skip)


class Trainer:
    """The state of a training run, all of it saved and restored."""

    def __init__(self, plan: Plan, work: Path, device: str) -> None:
        self.plan, self.work, self.device = plan, work, torch.device(device)
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.ranks = dist.get_world_size() if dist.is_initialized() else 1
        self.asked = self.stopping = False  # to stop; all processes stop together
        torch.manual_seed(plan.seed)
        self.tokenizer = self._tokenizer()
        config = NetworkConfig(vocab_size=self.tokenizer.size, **plan.network)
        self.network = Network(config).to(self.device)
        self.heads = Heads(config).to(self.device)
        initialise(self.network)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        every = [*self.network.named_parameters(), *self.heads.named_parameters()]
        self.parameters = [p for _, p in every]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": 1e-2},
                {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=plan.rate, betas=(0.9, 0.98), fused=True,
        )  # fmt: skip
        self.step, self.stage, self.stage_step = 0, 0, 0
        self.seconds = 0.0  # of training so far
        self.audio = 0.0  # seconds of audio seen

    def _tokenizer(self) -> Tokenizer:
        path = self.work / "tokenizer.model"
        if not path.exists():
            names = sorted({name for stage in self.plan.stages for name in stage.recipe.parts})
            found = [self.work / "corpus" / f"{name}.jsonl" for name in names]
            lines = [u for part in found if part.exists() for u in read_manifest(part)]
            locales = sorted({u.locale for u in lines})
            trained = Tokenizer.train([u.text for u in lines], locales, self.plan.pieces)
            path.write_bytes(trained.model)
        return Tokenizer(path.read_bytes())

    @property
    def progress(self) -> float:
        return min(1.0, self.seconds / (60 * self.plan.minutes))

    def save(self) -> None:
        state = {
            "config": asdict(self.network.config),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "heads": self.heads.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": (torch.get_rng_state(), random.getstate()),
            "counters": (self.step, self.stage, self.stage_step, self.seconds, self.audio),
        }
        partial = self.work / "state.partial"
        torch.save(state, partial)
        os.replace(partial, self.work / "state.pt")
        checkpoint.export(
            self.average, self.tokenizer.pieces(), self.work / f"{self.plan.name}.safetensors",
            self.plan.name, self.plan.licence, self.plan.notice,
        )  # fmt: skip

    def load(self) -> None:
        state = torch.load(self.work / "state.pt", map_location=self.device, weights_only=False)
        for name in ("network", "average", "heads", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        torch.set_rng_state(state["random"][0].cpu())
        random.setstate(state["random"][1])
        if self.rank:  # the state is the first process's: draw something else here
            torch.manual_seed(self.plan.seed + state["counters"][0] + self.rank)
        self.step, self.stage, self.stage_step, self.seconds, self.audio = state["counters"]

    @property
    def _seed(self) -> int:
        return self.plan.seed + self.stage + 1000 * self.rank

    def _batches(self) -> Iterator[Batch]:
        """Batches of the current stage, from where it stands, made in another process."""
        recipe = self.plan.stages[self.stage].recipe
        data = Data(self.work / "corpus", list(recipe.parts), self.tokenizer)
        stream = _Stream(data, recipe, self._seed, self.stage_step)
        return iter(DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=6))

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

    def update(self, batch: Batch, elapsed: float = 0.0) -> dict[str, float]:
        """One step of the optimiser; elapsed: seconds since the last."""
        plan, progress = self.plan, self.progress
        moved = Batch(*(x.to(self.device) for x in batch[:-1]), seconds=batch.seconds)
        rate = plan.learning_rate(self.step, progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        lookahead = random.choice(  # noqa: S311
            plan.stages[self.stage].lookaheads
        )
        frame_weight = max(0.0, 1 - progress / plan.frame_until)
        loss, parts = losses(
            self.network, self.heads, moved, lookahead, frame_weight, plan.ctc, plan.forget
        )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._share(elapsed, batch.seconds)
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        if torch.isfinite(norm):  # a broken batch must not break the run
            self.optimiser.step()
        decay = min(0.999, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            kept: list[Tensor] = list(self.average.parameters())
            new: list[Tensor] = list(self.network.parameters())
            torch._foreach_lerp_(kept, new, 1 - decay)
        self.step += 1
        self.stage_step += 1
        return {**parts, "norm": norm.item(), "rate": rate}

    def stop(self, *_: object) -> None:
        """Ends the run after a step, with everything saved."""
        self.asked = True

    def run(self, save_every: float = 300.0, print_every: int = 50) -> None:
        if self.step == 0:
            random.seed(self.plan.seed)
        self.network.train()
        batches = self._batches()
        window: list[dict[str, float]] = []
        clock = saved = time.monotonic()
        while self.progress < 1 and not self.stopping:
            if self.progress >= self.plan.stages[self.stage].until:
                self.stage, self.stage_step = self.stage + 1, 0
                print(f"stage {self.stage}", flush=True)
                batches = self._batches()
            batch = next(batches)
            now = time.monotonic()
            window.append(self.update(batch, now - clock))
            clock = now
            if self.rank:
                continue
            if self.step % print_every == 0:
                self._print(window)
                window = []
            if now - saved > save_every:
                self.save()
                saved = now
        if not self.rank:
            self.save()

    def _print(self, window: list[dict[str, float]]) -> None:
        means = {
            key: sum(w[key] for w in window if key in w) / sum(key in w for w in window)
            for key in window[-1]
        }
        shown = "  ".join(f"{key} {value:.4g}" for key, value in means.items())
        speed = self.audio / self.seconds
        print(
            f"step {self.step}  {self.seconds / 60:.1f} min  {shown}  "
            f"{self.audio / 3600:.2f} h of audio, {speed:.0f}x real time",
            flush=True,
        )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Trains a network from a plan.")
    parser.add_argument("plan", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder with corpus/")
    parser.add_argument("--threads", type=int, default=1, help="of torch, besides the loader")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    if "RANK" in os.environ:  # under torchrun
        dist.init_process_group("nccl" if arguments.device == "cuda" else "gloo")
    trainer = Trainer(Plan.read(arguments.plan), arguments.work, arguments.device)
    total = sum(p.numel() for p in trainer.network.parameters())
    print(f"{total:,} parameters, {trainer.tokenizer.size} pieces", flush=True)
    if (arguments.work / "state.pt").exists():
        trainer.load()
        print(f"going on at step {trainer.step}", flush=True)
    signal.signal(signal.SIGTERM, trainer.stop)
    trainer.run()


if __name__ == "__main__":
    main()
