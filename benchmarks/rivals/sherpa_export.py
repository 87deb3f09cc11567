"""Packs of a random model for sherpa-onnx: exported by NeMo and quantised to int8, as its own are.

One for each latency, as sherpa-onnx wants it, kept in the models folder.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from wheatear.bench.process import Process
from wheatear.bench.random_model import Progress, fingerprint
from wheatear.bench.token_rate import SPEECH, chance
from wheatear.errors import BenchError
from wheatear.model.store import models_folder

_MAKER = "maker.txt"


def sherpa_packs(
    name: str, latencies_ms: Sequence[int], nemo: Process | None, progress: Progress
) -> dict[int, Path]:
    """Packs by latency; `nemo` exports those that are not there yet.

    Raises BenchError if that takes NeMo and there is none.
    """
    packs = {ms: models_folder() / f"random-{name}-sherpa-{ms}" for ms in latencies_ms}
    for latency_ms, pack in packs.items():
        maker = pack / _MAKER
        if maker.is_file() and maker.read_text() == _fingerprint():
            continue
        if nemo is None:
            raise BenchError(
                f"sherpa-onnx needs the model in its own form, at {latency_ms} ms not made yet: "
                f"give --nemo-python as well, NeMo exports it"
            )
        progress(f"exporting {name} at {latency_ms} ms for sherpa-onnx", 0.0)
        _make(pack, latency_ms, nemo)
    return packs


def _make(pack: Path, latency_ms: int, nemo: Process) -> None:
    if pack.exists():
        shutil.rmtree(pack)
    with tempfile.TemporaryDirectory(prefix=".random-", dir=models_folder()) as folder:
        request = {"folder": folder, "latency_ms": latency_ms, "odds": chance(SPEECH)}
        metadata = nemo.ask({"do": "export"} | request)["metadata"]
        quantised = Path(folder) / "int8"
        quantised.mkdir()
        command = [sys.executable, "-m", "benchmarks.rivals.quantize_export"]
        with Process("sherpa-onnx", command) as process:  # it takes 10 GB, and does not tidy up
            process.ask({"source": folder, "target": str(quantised), "metadata": metadata})
        shutil.copy(Path(folder) / "tokens.txt", quantised)
        (quantised / _MAKER).write_text(_fingerprint())
        quantised.rename(pack)


def _fingerprint() -> str:
    return fingerprint(
        "bench/random_model.py",
        "../../benchmarks/rivals/quantize_export.py",
        "../../benchmarks/rivals/workers/nemo_worker.py",
    )
