"""The configuration file of a training run: sizes, schedule, and the stages of the corpus.

docs/training.md explains every entry.
"""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from wheatear.common.text_files import read_text
from wheatear.errors import PlanError
from wheatear.train.data.batches import Recipe
from wheatear.train.data.manifest import BadLines

LOOKAHEADS = {80: 0, 160: 1, 320: 3, 560: 6, 1120: 13}
"""Latency in ms -> frames of lookahead."""
_LONGEST_WARMUP = 0.2
"""Share of a run: a warm-up of fixed steps would outlast a run of a few minutes."""
_PLAIN: dict[str, Any] = {"float": int | float, "int": int, "str": str, "bool": bool}


@dataclass(frozen=True)
class Stage:
    """One part of the schedule."""

    until: float
    """Share of the run at which the stage ends."""
    recipe: Recipe
    lookaheads: tuple[int, ...]
    """Drawn per batch, frames."""


@dataclass(frozen=True)
class Plan:
    """A training run."""

    name: str
    rate: float
    """Peak learning rate."""
    seed: int = 0
    minutes: float = 0.0
    """Training time; a schedule that follows the clock always finishes."""
    steps: int = 0
    """Instead of minutes: steps of the optimiser; such a run can be repeated bit by bit."""
    warmup: int = 100
    """Steps of linear warm-up, which takes at most a fifth of the run."""
    hold: float = 0.5
    """Share of the run until which the rate stays at its peak; then it falls to 1 %."""
    ctc: float = 0.3
    """Weight of the CTC head against the transducer's one minus it."""
    forget: float = 0.0
    """Share of the predictor's tokens that are hidden, so that the encoder has to hear."""
    frame_until: float = 0.0
    """Share of the run at which frame supervision has faded out."""
    transducer_share: float = 1.0
    """Share of a batch's clips that the transducer's loss looks at; the CTC head sees all."""
    accumulate: int = 1
    """Batches in a step of the optimiser."""
    half: bool = False
    """The exported checkpoint in float16, half as large; converting rounds it further anyway."""
    bf16: bool | None = None
    """The encoder in bfloat16; None: where the machine is faster for it (CUDA)."""
    pieces: int = 0
    """Of a new model; of a started one, word pieces to add to those it has."""
    network: dict[str, Any] = field(default_factory=dict)
    """Sizes of a new model."""
    start: str = ""
    """Checkpoint to start from, instead of a new model."""
    freeze: int = 0
    """First layers of the encoder that stay as they are."""
    lora: int = 0
    """Rank of adapters of the encoder; 0: its weights themselves are trained."""
    manifests: dict[str, str] = field(default_factory=dict)
    """Part -> manifest; a part that is not here is WORK/corpus/<part>.jsonl."""
    bad_lines: BadLines = "refuse"
    locale: str | None = None
    """Of manifest lines that name none."""
    validation: tuple[str, ...] = ()
    """Manifests to validate on; none: a twentieth of the sentences is kept aside for it."""
    checks: int = 10
    """Validations in the run, evenly spread; 0: none."""
    check_clips: int = 32
    """Clips of each locale in a validation."""
    check_latencies: tuple[int, ...] = (80, 1120)
    """Milliseconds."""
    patience: int = 0
    """Validations after the warm-up without a better word error rate after which the run ends; 0:
    never."""
    licence: str = ""
    notice: str = ""
    stages: tuple[Stage, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Plan:
        """A TOML or JSON file; raises PlanError naming the entry that is wrong."""
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
            _known(values, cls, "the plan")
            plan = cls(**values, stages=stages)
            plan.check()
        except (TypeError, ValueError) as error:
            raise PlanError(f"{path}: {error}") from error
        return plan

    def write(self, path: Path) -> None:
        """As JSON, which `read` reads."""
        values = asdict(self)
        stages = values.pop("stages")
        values["stage"] = [{**stage.pop("recipe"), **stage} for stage in stages]
        path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def check(self) -> None:
        """Raises ValueError for values that make no sense."""
        ends = [stage.until for stage in self.stages]
        faults = {
            "give either minutes or steps, more than zero": (self.minutes > 0) != (self.steps > 0),
            "rate must be above zero": self.rate > 0 and math.isfinite(self.rate),
            "hold must be from 0 to below 1": 0 <= self.hold < 1,
            "ctc must be from 0 to 1": 0 <= self.ctc <= 1,
            "forget must be from 0 to below 1": 0 <= self.forget < 1,
            "transducer_share must be above 0, to 1": 0 < self.transducer_share <= 1,
            "accumulate must be 1 or more": self.accumulate >= 1,
            "bad_lines must be refuse or skip": self.bad_lines in ("refuse", "skip"),
            "a new model needs pieces": bool(self.start) or self.pieces > 0,
            "network sizes are the checkpoint's when there is a start":
                not (self.start and self.network),
            "freeze and lora are for a run that starts from a checkpoint":
                bool(self.start) or not (self.freeze or self.lora),
            "there is no stage": bool(self.stages),
            "the stages must end in rising order, the last at 1.0":
                ends == sorted(set(ends)) and ends[-1:] == [1.0],
            "a stage needs parts": all(stage.recipe.parts for stage in self.stages),
            "a stage needs lookaheads": all(stage.lookaheads for stage in self.stages),
            f"check_latencies are of {', '.join(map(str, LOOKAHEADS))} ms":
                set(self.check_latencies) <= LOOKAHEADS.keys(),
        }  # fmt: skip
        for fault, fine in faults.items():
            if not fine:
                raise ValueError(fault)

    def parts(self) -> list[str]:
        """The parts of the corpus that any stage uses."""
        return sorted({name for stage in self.stages for name in stage.recipe.parts})

    def learning_rate(self, step: int, progress: float) -> float:
        falling = (1 - progress) / (1 - self.hold)
        return self.rate * self.warmth(step, progress) * min(1.0, max(0.01, falling))

    def warmth(self, step: int, progress: float) -> float:
        """Share of the peak rate that the warm-up allows; 1 when it is over."""
        return min(1.0, max((step + 1) / max(1, self.warmup), progress / _LONGEST_WARMUP))


def _stage(entry: dict[str, Any]) -> Stage:
    if "until" not in entry:
        raise ValueError("a stage has no until")
    until, lookaheads = float(entry.pop("until")), tuple(entry.pop("lookaheads", (13,)))
    _known(entry, Recipe, "a stage", "until", "lookaheads")
    if not all(type(n) is int and n >= 0 for n in lookaheads):
        raise ValueError(f"a stage has lookaheads {list(lookaheads)}, which are not frames")
    if not all(isinstance(n, int | float) and n > 0 for n in entry.get("parts", {}).values()):
        raise ValueError("the parts of a stage are names with numbers above zero")
    return Stage(until, Recipe(**entry), lookaheads)


def _known(values: dict[str, Any], of: type, where: str, *more: str) -> None:
    """Raises ValueError for an entry that there is not, or a plain one of another type."""
    types = {f.name: str(f.type) for f in fields(of) if f.name != "stages"}
    if unknown := sorted(values.keys() - types.keys()):
        may = ", ".join(sorted({*types, *more}))
        raise ValueError(f"{where} has no entry {unknown[0]!r}; it may have {may}")
    for name, value in values.items():
        kind = _PLAIN.get(types[name])
        if kind and (not isinstance(value, kind) or (kind is not bool and value is True)):
            raise ValueError(f"{where} has {name} {value!r}, which is not {types[name]}")
