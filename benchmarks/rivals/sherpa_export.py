"""Packs of a random model for sherpa-onnx: exported by NeMo, quantized to int8.

sherpa-onnx needs a pack for each latency; packs are kept in the models folder.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rivals.process import Process
from wheatear.bench.random_model import ProgressCallback, fingerprint
from wheatear.bench.token_rate import SPEECH, token_probability
from wheatear.errors import BenchError
from wheatear.model.store import models_folder

MAKER = "maker.txt"
"""File of a pack with the fingerprint of the code that wrote it."""


def sherpa_packs(
    name: str, latencies_ms: Sequence[int], nemo: Process | None, progress: ProgressCallback
) -> dict[int, Path]:
    """Returns packs by latency; `nemo` exports missing ones.

    Raises BenchError if a pack is missing and `nemo` is None.
    """
    packs = {ms: models_folder() / f"random-{name}-sherpa-{ms}" for ms in latencies_ms}
    for latency_ms, pack in packs.items():
        maker = pack / MAKER
        if maker.is_file() and maker.read_text() == maker_fingerprint():
            continue
        if nemo is None:
            raise BenchError(
                f"sherpa-onnx needs the model in its own format, which is missing for "
                f"{latency_ms} ms: give --nemo-python as well, NeMo exports it"
            )
        progress(f"exporting {name} at {latency_ms} ms for sherpa-onnx", 0.0)
        _write_pack(pack, latency_ms, nemo)
    return packs


def _write_pack(pack: Path, latency_ms: int, nemo: Process) -> None:
    if pack.exists():
        shutil.rmtree(pack)
    with tempfile.TemporaryDirectory(prefix=".random-", dir=models_folder()) as folder:
        metadata = nemo.request(
            {
                "do": "export", "folder": folder, "latency_ms": latency_ms,
                "token_probability": token_probability(SPEECH),
            }
        )["metadata"]  # fmt: skip
        quantized = Path(folder) / "int8"
        quantized.mkdir()
        command = [sys.executable, "-m", "benchmarks.rivals.quantize_export"]
        with Process("sherpa-onnx", command) as process:  # frees its 10 GB when it ends
            process.request({"source": folder, "target": str(quantized), "metadata": metadata})
        shutil.copy(Path(folder) / "tokens.txt", quantized)
        (quantized / MAKER).write_text(maker_fingerprint())
        quantized.rename(pack)


def maker_fingerprint() -> str:
    """Fingerprint of the code that writes packs."""
    return fingerprint(
        "bench/random_model.py",
        "../../benchmarks/rivals/quantize_export.py",
        "../../benchmarks/rivals/workers/nemo_worker.py",
    )
