"""Hostile model folders are refused in one line, with bounded memory and no crash."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "native"
PROGRAM = Path(__file__).parents[1] / "support" / "hostile_bundles.py"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SCALAR = ("-DWHEATEAR_ISA=scalar", "-fno-math-errno", "-fno-trapping-math")
MAX_MEGABYTES = 600  # most of it is onnxruntime


def run_program(*arguments: object, **environment: str) -> dict[str, int]:
    """Returns the counts of `tests/support/hostile_bundles.py`."""
    run = subprocess.run(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-6000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """Builds the native library with sanitizers; returns the environment that loads it."""
    pytest.importorskip("wheatear_native")
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    folder = tmp_path_factory.mktemp("sanitized")
    package = folder / "wheatear_native"
    package.mkdir()
    shutil.copy(NATIVE / "src" / "wheatear_native" / "__init__.py", package)
    common = ["-std=c++17", "-O1", "-g", "-fPIC", "-pthread", "-DWHEATEAR_SCALAR_ONLY"]
    jobs = []
    for source in sorted((NATIVE / "cpp").glob("*.cpp")):
        options = [*common, *SANITIZERS, *(SCALAR if source.stem == "isa_kernels" else ())]
        target = folder / f"{source.stem}.o"
        jobs.append(subprocess.Popen(["g++", *options, "-c", str(source), "-o", str(target)]))
    assert [job.wait() for job in jobs] == [0] * len(jobs)
    objects = map(str, sorted(folder.glob("*.o")))
    library = package / "libwheatear.so"
    subprocess.run(["g++", "-shared", *SANITIZERS, *objects, "-o", str(library)], check=True)
    found = [
        subprocess.run(
            ["g++", f"-print-file-name=lib{name}.so"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("asan", "ubsan", "stdc++")
    ]
    return {
        "LD_PRELOAD": " ".join(found),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "PYTHONPATH": str(folder),
    }


def test_library_refuses_shapes_and_weights_that_do_not_fit(sanitized, bundle_of, tmp_path):
    counts = run_program("library", bundle_of("tiny-multi", "int8"), tmp_path, **sanitized)
    assert counts["tried"] > 200
    assert counts["refused"] > 0.7 * counts["tried"]


@pytest.mark.parametrize(
    "every", [pytest.param(16, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)]
)
def test_native_engine_refuses_hostile_bundles(sanitized, bundle_of, tmp_path, every):
    counts = run_program("native", bundle_of("tiny-multi", "int8"), tmp_path, every, **sanitized)
    assert counts["tried"] > 3000 / every
    assert 0 < counts["run"] < counts["refused"]


@pytest.mark.parametrize(
    "every", [pytest.param(25, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)]
)
def test_onnxruntime_refuses_hostile_bundles(bundle_of, tmp_path, every):
    counts = run_program("onnxruntime", bundle_of("tiny-multi", "int8"), tmp_path, every)
    assert counts["tried"] > 3000 / every
    assert 0 < counts["run"] < counts["refused"]
    assert counts["megabytes"] < MAX_MEGABYTES
