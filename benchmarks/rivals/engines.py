"""Rivals as engines of `wheatear.bench`, each in processes of its own.

NeMo takes a minute to load and 6 GB: one process stays for all measurements and is idle in those of
others. All other engines get a fresh process for every measurement.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.process import Process
from benchmarks.rivals.sherpa_export import sherpa_packs
from wheatear.bench.engines import Rival, load_average, measurement
from wheatear.bench.measurements import Measurement, Setting
from wheatear.bench.random_model import ProgressCallback, random_checkpoint
from wheatear.bench.token_rate import token_probability
from wheatear.bench.worker import measured_chunks, speech, warm_up_chunks
from wheatear.errors import MissingExtraError

NEMO, SHERPA, NEMO_SPEECH_CPP = "nemo", "sherpa", "nemo-speech-cpp"
_WORKERS = Path(__file__).with_name("workers")
_EXTRA_SECONDS = 2.0  # of audio after the measured chunks, for engines that look ahead


class Nemo:
    """NeMo under another Python, on a checkpoint of `wheatear.bench.random_model`."""

    precision = "fp32"

    def __init__(self, python: Path, checkpoint: Path) -> None:
        self.process = Process("NeMo", [python, _WORKERS / "nemo_worker.py", checkpoint])

    def measure(self, setting: Setting) -> Measurement:
        return _measure(self.process, setting)


class Sherpa:
    """sherpa-onnx under another Python, on packs by latency."""

    precision = "int8"

    def __init__(self, python: Path, packs: Mapping[int, Path]) -> None:
        self._python, self._packs = python, packs

    def measure(self, setting: Setting) -> Measurement:
        pack = self._packs[setting.latency_ms].absolute()
        command = [self._python, _WORKERS / "sherpa_worker.py", pack, str(setting.threads)]
        with Process("sherpa-onnx", command) as process:
            return _measure(process, setting)


class NemoSpeechCpp:
    """NeMo-Speech.cpp by its library, on a pack of `benchmarks.rivals.gguf_export`."""

    precision = "q8_0"

    def __init__(self, library: Path, pack: Path) -> None:
        self._library, self._model = library.absolute(), (pack / "model.gguf").absolute()

    def measure(self, setting: Setting) -> Measurement:
        worker = _WORKERS / "nemo_speech_cpp_worker.py"
        command = [sys.executable, worker, self._library, self._model]
        # It requests four threads on any machine.
        environment = {"OMP_THREAD_LIMIT": str(setting.threads)}
        with Process("NeMo-Speech.cpp", command, environment) as process:
            return _measure(process, setting)


@contextmanager
def open_rivals(
    name: str, places: Mapping[str, Path], latencies_ms: Sequence[int], progress: ProgressCallback
) -> Iterator[dict[str, Rival]]:
    """Yields rivals by name, on the same random weights.

    Args:
        name: Name of the random weights.
        places: Python, or library, of each rival.
        latencies_ms: Latencies that sherpa-onnx needs a pack for.
        progress: Called while packs are written.

    Raises:
        BenchError: A rival cannot be started, or a pack cannot be written.
        MissingExtraError: A package is missing.
    """
    rivals: dict[str, Rival] = {}
    with ExitStack() as stack:
        exporter = None
        if NEMO in places:
            checkpoint = stack.enter_context(random_checkpoint(name, progress))
            nemo = rivals[NEMO] = Nemo(places[NEMO], checkpoint)
            exporter = stack.enter_context(nemo.process)
        if SHERPA in places:
            packs = sherpa_packs(name, latencies_ms, exporter, progress)
            rivals[SHERPA] = Sherpa(places[SHERPA], packs)
        if NEMO_SPEECH_CPP in places:
            rivals[NEMO_SPEECH_CPP] = NemoSpeechCpp(
                places[NEMO_SPEECH_CPP], _gguf_pack(name, progress)
            )
        yield rivals


def _gguf_pack(name: str, progress: ProgressCallback) -> Path:
    try:
        from benchmarks.rivals import gguf_export  # noqa: PLC0415  (only this rival needs gguf)
    except ImportError as error:
        raise MissingExtraError(f"writing GGUF needs {error.name}: pip install gguf") from error
    pack = gguf_export.gguf_pack(name)
    if not gguf_export.is_current(pack):
        with random_checkpoint(name, progress) as checkpoint:
            gguf_export.write_pack(pack, checkpoint)
    return pack


def _measure(process: Process, setting: Setting) -> Measurement:
    """Requests the same audio, warm-up and token rate as for Wheatear."""
    load = load_average()
    warm_up, chunks = warm_up_chunks(setting.latency_ms), measured_chunks(setting)
    seconds = (warm_up + chunks) * setting.latency_ms / 1000
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples.npy"
        np.save(samples, speech(seconds + _EXTRA_SECONDS))
        request: dict[str, Any] = {
            "do": "stream",
            "samples": str(samples),
            "latency_ms": setting.latency_ms,
            "threads": setting.threads,
            "warm_up": warm_up,
            "chunks": chunks,
            "token_probability": token_probability(setting.tokens_per_s or 0.0),
        }
        answer = process.request(request)
    return measurement(answer | {"peak_rss_mb": process.peak_rss_mb()}, load)
