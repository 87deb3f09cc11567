"""The interface of measured engines, and Wheatear in a fresh process per measurement."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from wheatear.bench.measurements import WHEATEAR, Measurement, Setting
from wheatear.errors import BenchError
from wheatear.model.native_library import NATIVE_VARIABLE


class Engine(Protocol):
    """Something that can be measured."""

    def measure(self, setting: Setting) -> Measurement:
        """Measures one setting once.  Raises BenchError if that cannot be done."""
        ...


class Rival(Engine, Protocol):
    """Another engine, with its own precision."""

    precision: str


class Wheatear:
    """This package, on bundles by precision, with or without wheatear-native."""

    def __init__(self, bundles: Mapping[str, Path], native: bool = True) -> None:
        self._bundles = bundles
        self._environment = os.environ if native else os.environ | {NATIVE_VARIABLE: "0"}

    def measure(self, setting: Setting) -> Measurement:
        bundle = str(self._bundles[setting.precision].absolute())
        load = load_average()
        done = subprocess.run(
            [sys.executable, "-m", "wheatear.bench.worker"],
            input=json.dumps({"setting": asdict(setting), "bundle": bundle}),
            capture_output=True, text=True, check=False, env=self._environment,
        )  # fmt: skip
        if done.returncode:
            raise failure(WHEATEAR, done.stderr, done.returncode)
        return measurement(json.loads(done.stdout), load)


def failure(name: str, errors: str, code: int) -> BenchError:
    """The error of a process that ended without an answer: its last line on standard error."""
    lines = errors.strip().splitlines()
    reason = lines[-1] if lines else f"it ended with code {code}"
    return BenchError(f"{name} cannot be measured: {reason}")


def measurement(answer: Mapping[str, Any], load: float) -> Measurement:
    """The answer of a worker process; load: load average before the measurement."""
    fields: dict[str, Any] = {**answer, "chunk_ms": tuple(answer["chunk_ms"]), "load_average": load}
    return Measurement(**fields)


def load_average() -> float:
    """Load average of the last minute; 0 if the system does not report it."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
