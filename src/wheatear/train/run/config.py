"""Training plans: sizes, schedule, and stages of the corpus.

docs/training.md explains every entry.
"""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from wheatear.audio.mel import FRAME_MS
from wheatear.common.text_files import read_text
from wheatear.errors import PlanError
from wheatear.model.latency import PUBLISHED_LOOKAHEADS
from wheatear.train.data.batches import BatchConfig
from wheatear.train.data.manifest import BadLines

LOOKAHEADS = {FRAME_MS * (r + 1): r for r in PUBLISHED_LOOKAHEADS}
"""Frames of lookahead by latency in ms."""
_MAX_WARMUP = 0.2  # share of a run: a run of minutes may have fewer steps than its warm-up
_PLAIN_TYPES: dict[str, Any] = {"float": int | float, "int": int, "str": str, "bool": bool}


@dataclass(frozen=True)
class Stage:
    """Part of the schedule."""

    until: float
    """Share of the run at which the stage ends."""
    batches: BatchConfig
    lookaheads: tuple[int, ...]
    """Lookaheads in frames, of which each batch draws one."""


@dataclass(frozen=True)
class TrainConfig:
    """Options of a training run."""

    name: str
    rate: float
    """Peak learning rate."""
    seed: int = 0
    minutes: float = 0.0
    """Training time; the schedule follows the clock."""
    steps: int = 0
    """Optimizer steps instead of minutes; such a run can be repeated bit by bit."""
    warmup: int = 100
    """Steps of linear warm-up, which takes at most a fifth of the run."""
    hold: float = 0.5
    """Share of the run until which the rate stays at its peak; then it falls to 1 %."""
    ctc: float = 0.3
    """Weight of the CTC loss; the transducer's loss has the rest."""
    token_dropout: float = 0.0
    """Share of the predictor's tokens that are replaced by the blank."""
    frame_until: float = 0.0
    """Share of the run at which the frame loss has faded out."""
    transducer_share: float = 1.0
    """Share of a batch's clips in the transducer's loss; the CTC loss has all."""
    accumulate: int = 1
    """Batches in an optimizer step."""
    half: bool = False
    """Exports the checkpoint in float16."""
    bf16: bool | None = None
    """Computes the encoder in bfloat16; None: on CUDA only."""
    pieces: int = 0
    """Pieces of a new model, or word pieces to add to a pretrained one."""
    network: dict[str, Any] = field(default_factory=dict)
    """Sizes of a new model."""
    start: str = ""
    """Pretrained checkpoint, instead of a new model."""
    freeze: int = 0
    """Number of first encoder layers that are not trained."""
    lora: int = 0
    """Rank of adapters of the encoder; 0 trains its weights."""
    manifests: dict[str, str] = field(default_factory=dict)
    """Manifest of each part; by default WORK/corpus/<part>.jsonl."""
    bad_lines: BadLines = "refuse"
    locale: str | None = None
    """Locale of manifest lines that name none."""
    validation: tuple[str, ...] = ()
    """Manifests to validate on; by default a twentieth of the sentences is held out."""
    checks: int = 10
    """Validations, evenly spread over the run; 0: none."""
    check_clips: int = 32
    """Clips of each locale in a validation."""
    check_latencies: tuple[int, ...] = (80, 1120)
    """Latencies of a validation in milliseconds."""
    patience: int = 0
    """Validations without a better word error rate that end the run; 0: never ends it."""
    license: str = ""
    notice: str = ""
    stages: tuple[Stage, ...] = ()

    @classmethod
    def read(cls, path: Path) -> TrainConfig:
        """Reads a TOML or JSON file.  Raises PlanError that names the wrong entry."""
        try:
            raw = read_text(path)
            values = json.loads(raw) if path.suffix == ".json" else tomllib.loads(raw)
        except OSError as error:
            raise PlanError(f"the plan {path} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise PlanError(f"the plan {path} cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise PlanError(f"the plan {path} is not a table of entries")
        try:
            stages = tuple(_stage(dict(entry)) for entry in values.pop("stage", []))
            for key in ("validation", "check_latencies"):
                if isinstance(values.get(key), list):
                    values[key] = tuple(values[key])
            _check_entries(values, cls, "the plan")
            plan = cls(**values, stages=stages)
            plan.check()
        except (TypeError, ValueError) as error:
            raise PlanError(f"{path}: {error}") from error
        return plan

    def write(self, path: Path) -> None:
        """Writes the plan as JSON."""
        values = asdict(self)
        stages = values.pop("stages")
        values["stage"] = [{**stage.pop("batches"), **stage} for stage in stages]
        path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def check(self) -> None:
        """Raises ValueError for values that are out of range or contradict each other."""
        ends = [stage.until for stage in self.stages]
        faults = {
            "give either minutes or steps, more than zero": (self.minutes > 0) != (self.steps > 0),
            "rate must be above zero": self.rate > 0 and math.isfinite(self.rate),
            "hold must be from 0 to below 1": 0 <= self.hold < 1,
            "ctc must be from 0 to 1": 0 <= self.ctc <= 1,
            "token_dropout must be from 0 to below 1": 0 <= self.token_dropout < 1,
            "transducer_share must be above 0, to 1": 0 < self.transducer_share <= 1,
            "accumulate must be 1 or more": self.accumulate >= 1,
            "bad_lines must be refuse or skip": self.bad_lines in ("refuse", "skip"),
            "a new model needs pieces": bool(self.start) or self.pieces > 0,
            "network sizes come from the checkpoint: leave out network or start":
                not (self.start and self.network),
            "freeze and lora are for a run that starts from a checkpoint":
                bool(self.start) or not (self.freeze or self.lora),
            "there is no stage": bool(self.stages),
            "the stages must end in rising order, the last at 1.0":
                ends == sorted(set(ends)) and ends[-1:] == [1.0],
            "a stage needs parts": all(stage.batches.parts for stage in self.stages),
            "a stage needs lookaheads": all(stage.lookaheads for stage in self.stages),
            f"check_latencies are of {', '.join(map(str, LOOKAHEADS))} ms":
                set(self.check_latencies) <= LOOKAHEADS.keys(),
        }  # fmt: skip
        for fault, fine in faults.items():
            if not fine:
                raise ValueError(fault)

    def resolved(self, folder: Path) -> TrainConfig:
        """Returns the plan with its paths, which are relative to `folder`, resolved."""
        local = folder / self.start
        return replace(
            self,
            start=str(local) if self.start and local.exists() else self.start,
            manifests={name: str(folder / path) for name, path in self.manifests.items()},
            validation=tuple(str(folder / path) for path in self.validation),
        )

    def parts(self) -> list[str]:
        """Returns the names of the parts of the corpus."""
        return sorted({name for stage in self.stages for name in stage.batches.parts})

    def learning_rate(self, step: int, progress: float) -> float:
        """Returns the learning rate of a step at a progress from 0 to 1."""
        decay = (1 - progress) / (1 - self.hold)
        return self.rate * self.warmup_factor(step, progress) * min(1.0, max(0.01, decay))

    def warmup_factor(self, step: int, progress: float) -> float:
        """Returns the factor of the warm-up, from 0 to 1."""
        return min(1.0, max((step + 1) / max(1, self.warmup), progress / _MAX_WARMUP))


def _stage(entry: dict[str, Any]) -> Stage:
    if "until" not in entry:
        raise ValueError("a stage has no until")
    until, lookaheads = float(entry.pop("until")), tuple(entry.pop("lookaheads", (13,)))
    _check_entries(entry, BatchConfig, "a stage", "until", "lookaheads")
    if not all(type(n) is int and n >= 0 for n in lookaheads):
        raise ValueError(f"a stage has lookaheads {list(lookaheads)}, which are not frames")
    if not all(isinstance(n, int | float) and n > 0 for n in entry.get("parts", {}).values()):
        raise ValueError("the parts of a stage are names with numbers above zero")
    return Stage(until, BatchConfig(**entry), lookaheads)


def _check_entries(values: dict[str, Any], table: type, where: str, *more: str) -> None:
    """Raises ValueError for an unknown entry, or one of the wrong type."""
    types = {f.name: str(f.type) for f in fields(table) if f.name != "stages"}
    if unknown := sorted(values.keys() - types.keys()):
        may = ", ".join(sorted({*types, *more}))
        raise ValueError(f"{where} has no entry {unknown[0]!r}; it may have {may}")
    for name, value in values.items():
        kind = _PLAIN_TYPES.get(types[name])
        if kind and (not isinstance(value, kind) or (kind is not bool and value is True)):
            raise ValueError(f"{where} has {name} {value!r}, which is not {types[name]}")
