"""The published size, 0.6B, with random weights: converts within bounds, runs, stays exact.

Slow, and needs 4 GB of disk: run with `pytest -m slow`.
"""

import resource
import subprocess
import sys

import numpy as np
import pytest

import wheatear
from wheatear.audio.reader import sample_speech
from wheatear.bench.random_model import write_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("full") / "full.safetensors"
    write_checkpoint("nemotron-3.5", path)
    return path


@pytest.mark.parametrize(("precision", "encoder_gb"), [("int4", 0.45), ("int8", 0.75)])
def test_converts_within_bounds_and_runs(checkpoint, tmp_path, precision, encoder_gb):
    out = tmp_path / "bundle"
    command = [sys.executable, "-m", "wheatear", "convert", str(checkpoint), str(out)]
    subprocess.run([*command, "--precision", precision], check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of the largest child yet
    assert peak * 1024 < 4 * 2**30
    assert (out / "encoder.weights").stat().st_size < encoder_gb * 1e9
    recognizer = wheatear.load(out, threads=2)
    assert recognizer.latencies_ms == (80, 160, 320, 560, 1120)
    stream = recognizer.stream(latency_ms=160)
    for block in np.array_split(sample_speech(), 11):
        stream.push(block)
    assert stream.finish() == recognizer.transcribe(sample_speech(), latency_ms=160)
