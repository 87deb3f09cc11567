"""A real slow-down fails, a noisy machine does not: work is counted, not timed.

Valgrind runs chunks of the shipped model in a simulated processor and counts instructions and
cache misses, to a percent the same whatever else the machine does and whichever x86 it is (it
has AVX2 and nothing newer). Its usual estimate of cycles weighs them. What it cannot count is
waiting; the kernel does.

`python tests/contracts/test_work.py` prints the counts, to be written down when they have changed
for a
good reason.
"""

import gc
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import wheatear
from wheatear.audio.reader import sample_speech
from wheatear.model.native_library import NATIVE_VARIABLE

CYCLES = {
    "onnxruntime": {"80 ms": 11.9, "320 ms": 26.5},
    "native": {"80 ms": 7.1, "320 ms": 17.0},
}
"""Millions for each chunk: Python 3.11, numpy 2.4.6, onnxruntime 1.32.0, GCC 12."""
CHOICE = {"onnxruntime": "0", "native": "1"}
SLOWER, QUICKER = 1.1, 0.8
CACHES = ("--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=33554432,16,64")


class Chunks:
    """Pushes the next chunk of speech into a stream of the shipped model."""

    def __init__(self, recognizer: wheatear.Recognizer, latency_ms: int) -> None:
        self.stream = recognizer.stream(latency_ms=latency_ms, keep=False)
        self.chunk, self.at = latency_ms * 16, 0
        self.speech = np.resize(sample_speech(), 16000 * 40)

    def push(self, chunks: int) -> None:
        for _ in range(chunks):
            self.stream.push(self.speech[self.at : self.at + self.chunk])
            self.at += self.chunk


def control(*command: str) -> None:
    """Sends a command to the valgrind that runs this process."""
    command = ("callgrind_control", *command, str(os.getpid()))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def counted() -> None:
    """Program that valgrind runs; it counts only some of the chunks."""
    recognizer = wheatear.load(threads=1)
    gc.disable()  # a collection would fall into one of the counts
    short, twin, more = (Chunks(recognizer, 80) for _ in range(3))
    long = Chunks(recognizer, 320)
    short.push(1)
    control("--instr=on")
    for stream in (short, twin, more, long):
        stream.push(1)
    twin.push(1)
    more.push(1)
    control("--zero")  # the caches are warm
    short.push(4)
    control("--dump=80 ms/4")
    long.push(1)
    control("--dump=320 ms/1")
    twin.push(4)
    more.push(2)  # the same again, as if a chunk took half as much more
    control("--dump=80 ms slowed/4")


def start_counting(folder: Path, engine: str) -> subprocess.Popen:
    """Runs chunks of an engine in valgrind, which leaves its counts in a folder."""
    command = [
        "valgrind", "--tool=callgrind", "--instr-atstart=no", *CACHES,
        f"--callgrind-out-file={folder / 'counts'}", sys.executable, __file__,
    ]  # fmt: skip
    fixed = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "COUNTED": "1"}
    return subprocess.Popen(command, env=os.environ | fixed | {NATIVE_VARIABLE: CHOICE[engine]})


def cycles(folder: Path) -> dict[str, float]:
    """Estimated cycles of a chunk, in millions, by what was counted."""
    found = {}
    for file in folder.glob("counts.*"):
        text = file.read_text()
        if dump := re.search(r"^desc: Trigger: dump (.+)/(\d+)$", text, re.MULTILINE):
            names = re.search(r"^events: (.+)$", text, re.MULTILINE)[1].split()
            values = map(int, re.search(r"^totals: (.+)$", text, re.MULTILINE)[1].split())
            counts = dict(zip(names, values, strict=True))
            level_1 = sum(counts[name] for name in ("I1mr", "D1mr", "D1mw"))
            last_level = sum(counts[name] for name in ("ILmr", "DLmr", "DLmw"))
            total = counts["Ir"] + 10 * level_1 + 100 * last_level
            found[dump[1]] = total / int(dump[2]) / 1e6
    return found


def count(folder: Path) -> dict[str, dict[str, float]]:
    """Cycles by engine, of those that are installed; side by side, since nothing is timed."""
    running = {}
    for engine in CYCLES:
        if engine != "native" or find_spec("wheatear_native"):
            (folder / engine).mkdir()
            running[engine] = start_counting(folder / engine, engine)
    codes = [process.wait() for process in running.values()]
    assert not any(codes)
    return {engine: cycles(folder / engine) for engine in running}


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    return count(tmp_path_factory.mktemp("counts"))


@pytest.mark.skipif(not shutil.which("callgrind_control"), reason="valgrind is not installed")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="counts are of x86")
def test_a_chunk_is_no_more_work(counts, engine):
    found = counts[engine]
    for name, known in CYCLES[engine].items():
        assert found[name] < SLOWER * known, f"slower at {name}: {found}"
        assert found[name] > QUICKER * known, f"quicker at {name}, write it down: {found}"
    assert found["80 ms slowed"] > SLOWER * CYCLES[engine]["80 ms"], "a slow-down is not seen"


def test_a_chunk_never_waits(engine):
    chunks = Chunks(wheatear.load(threads=1), 80)
    chunks.push(10)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    chunks.push(200)
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before < 20


if __name__ == "__main__":
    if "COUNTED" in os.environ:
        counted()
    else:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            print(count(Path(folder)))
