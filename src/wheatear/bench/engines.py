"""The engines that are measured, each in processes of its own.

All get a fresh process for every measurement but NeMo, which takes a minute to load and holds
6 GB: one process of it stays for all, idle while others are measured.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.rivals.sherpa_export import sherpa_packs
from wheatear.bench.measurements import NEMO, NEMO_CPP, OURS, SHERPA, Setting, Taken
from wheatear.bench.process import Process
from wheatear.bench.random_model import Progress, random_checkpoint
from wheatear.bench.token_rate import chance
from wheatear.bench.worker import chunks_of, speech, warm_up_chunks
from wheatear.errors import MissingExtraError
from wheatear.model.native_library import VARIABLE

PEERS = Path(__file__).parents[3] / "benchmarks" / "rivals" / "workers"
PEER_PRECISIONS = {NEMO: "fp32", SHERPA: "int8", NEMO_CPP: "q8_0"}  # what each runs on a processor
_MORE = 2.0  # seconds of audio beyond what is measured, for what an engine waits for


class Engine(Protocol):
    """Something that can be measured."""

    def take(self, setting: Setting) -> Taken:
        """Measures one setting once.  Raises BenchError if that cannot be done."""
        ...


class Wheatear:
    """This package, on bundles by precision, with the native encoder or without."""

    def __init__(self, bundles: Mapping[str, Path], native: bool = True) -> None:
        self._bundles = bundles
        self._environment = {} if native else {VARIABLE: "0"}

    def take(self, setting: Setting) -> Taken:
        bundle = str(self._bundles[setting.precision].absolute())
        load = load_average()
        command = [sys.executable, "-m", "wheatear.bench.worker"]
        with Process(OURS, command, self._environment) as process:
            answer = process.ask({"setting": asdict(setting), "bundle": bundle})
        return _taken(answer, load)


class Nemo:
    """NeMo under another Python, on a checkpoint of `wheatear.bench.random_model`."""

    def __init__(self, python: Path, checkpoint: Path) -> None:
        script = PEERS / "nemo_worker.py"
        self.process = Process("NeMo", [python, script, checkpoint])

    def take(self, setting: Setting) -> Taken:
        load = load_average()
        answer = _stream(self.process, setting)
        return _taken(answer | {"peak_rss_mb": self.process.peak_rss_mb()}, load)


class Sherpa:
    """sherpa-onnx under another Python, on packs by latency."""

    def __init__(self, python: Path, packs: Mapping[int, Path]) -> None:
        self._python, self._packs = python, packs

    def take(self, setting: Setting) -> Taken:
        script = PEERS / "sherpa_worker.py"
        pack = self._packs[setting.latency_ms].absolute()
        load = load_average()
        command = [self._python, script, pack, str(setting.threads)]
        with Process("sherpa-onnx", command) as process:
            answer = _stream(process, setting)
            answer["peak_rss_mb"] = process.peak_rss_mb()
        return _taken(answer, load)


class NemoCpp:
    """NeMo-Speech.cpp, by its library, on a pack of `benchmarks.rivals.gguf_export`."""

    def __init__(self, library: Path, pack: Path) -> None:
        self._library, self._model = library.absolute(), (pack / "model.gguf").absolute()

    def take(self, setting: Setting) -> Taken:
        load = load_average()
        command = [
            sys.executable, PEERS / "nemo_speech_cpp_worker.py", self._library, self._model
        ]  # fmt: skip
        # It asks for four threads, whatever there is.
        threads = {"OMP_THREAD_LIMIT": str(setting.threads)}
        with Process("NeMo-Speech.cpp", command, threads) as process:
            answer = _stream(process, setting)
            answer["peak_rss_mb"] = process.peak_rss_mb()
        return _taken(answer, load)


@contextmanager
def peer_engines(
    name: str, places: Mapping[str, Path], latencies_ms: Sequence[int], progress: Progress
) -> Iterator[dict[str, Engine]]:
    """The peers whose Python, or library, is given, on the random weights of that name.

    Raises BenchError, or MissingExtraError.
    """
    engines: dict[str, Engine] = {}
    with ExitStack() as stack:
        exporter = None
        if NEMO in places:
            checkpoint = stack.enter_context(random_checkpoint(name, progress))
            nemo = engines[NEMO] = Nemo(places[NEMO], checkpoint)
            exporter = stack.enter_context(nemo.process)
        if SHERPA in places:
            packs = sherpa_packs(name, latencies_ms, exporter, progress)
            engines[SHERPA] = Sherpa(places[SHERPA], packs)
        if NEMO_CPP in places:
            engines[NEMO_CPP] = NemoCpp(places[NEMO_CPP], _gguf_pack(name, progress))
        yield engines


def _gguf_pack(name: str, progress: Progress) -> Path:
    try:
        from benchmarks.rivals import gguf_export as gguf_pack  # noqa: PLC0415  (nothing else needs gguf)
    except ImportError as error:
        raise MissingExtraError(f"writing GGUF needs {error.name}: pip install gguf") from error
    pack = gguf_pack.gguf_pack(name)
    if not gguf_pack.is_current(pack):
        with random_checkpoint(name, progress) as checkpoint:
            gguf_pack.write_pack(pack, checkpoint)
    return pack


def load_average() -> float:
    """Processes that want to run, on the average of the last minute; 0 where it is not told."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _stream(process: Process, setting: Setting) -> dict[str, Any]:
    """A peer's answer: the same audio, warm-up and rate of tokens as ours."""
    warm_up = warm_up_chunks(setting.latency_ms)
    chunks = chunks_of(setting)
    seconds = (warm_up + chunks) * setting.latency_ms / 1000
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples.npy"
        np.save(samples, speech(seconds + _MORE))
        request = {
            "do": "stream",
            "samples": str(samples),
            "latency_ms": setting.latency_ms,
            "threads": setting.threads,
            "warm_up": warm_up,
            "chunks": chunks,
            "odds": chance(setting.tokens_per_s or 0.0),
        }
        return process.ask(request)


def _taken(answer: dict[str, Any], load: float) -> Taken:
    chunk_ms = tuple(answer.pop("chunk_ms"))
    answer["load_average"] = load
    return Taken(chunk_ms, **answer)
