"""The native library under sanitizers, and its kernels for processors other than this one.

Each test builds `native/`, which needs a compiler; run them with `pytest -m slow`.
"""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from wheatear.convert.quantize import quantize

pytest.importorskip("wheatear_native")
from native_products import product as expected_product

NATIVE = Path(__file__).parents[2] / "native"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ("cmake", "ninja", "g++"))), reason="needs cmake, ninja and g++"
    ),
]


def build(folder: Path, target: str, *options: str) -> Path:
    command = ["cmake", "-G", "Ninja", "-S", str(NATIVE), "-B", str(folder), *options]
    subprocess.run(command, check=True, capture_output=True)
    subprocess.run(["ninja", "-C", str(folder), target], check=True, capture_output=True)
    return folder


def as_package(folder: Path) -> str:
    """Makes a folder for PYTHONPATH with the package and the library that was built."""
    package = folder / "site" / "wheatear_native"
    package.mkdir(parents=True)
    shutil.copy(NATIVE / "src" / "wheatear_native" / "__init__.py", package)
    shutil.copy(folder / "libwheatear.so", package)
    return str(package.parent)


def run_tests(package: str, *arguments: str, **environment: str) -> None:
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=NATIVE.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_sanitizers_find_no_fault(tmp_path):
    """The native tests with AddressSanitizer and `UndefinedBehaviorSanitizer`."""
    package = as_package(build(tmp_path, "wheatear", "-DWHEATEAR_SANITIZE=address,undefined"))
    libraries = [
        subprocess.run(
            ["g++", f"-print-file-name=lib{name}.so"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("asan", "ubsan", "stdc++")
    ]
    run_tests(
        package,
        "tests/encoder/test_native_backend.py",
        LD_PRELOAD=" ".join(libraries),
        ASAN_OPTIONS="detect_leaks=0",  # Python's own
    )


@pytest.mark.skipif(
    not Path("/usr/include/simde").exists(), reason="needs SIMDe (Debian: libsimde-dev)"
)
def test_avx512_kernels_run_without_avx512(tmp_path):
    """SIMDe's functions replace the instructions."""
    package = as_package(build(tmp_path, "wheatear", "-DWHEATEAR_SIMDE=ON"))
    run_tests(package, "tests/encoder/test_native_backend.py", "-k", "avx512")


def check_linear_layers(command: list[str], isa: str) -> None:
    """Runs the program `linear` and compares its output with integers."""
    rng = np.random.default_rng(0)
    for bits in (4, 8):
        for inputs, outputs, rows in ((1, 1, 1), (32, 16, 2), (100, 33, 7), (256, 480, 13)):
            codes, scales = quantize(rng.standard_normal((outputs, inputs), np.float32), bits)
            halves = scales.astype(np.float16)
            bias = rng.standard_normal(outputs, np.float32)
            x = rng.standard_normal((rows, inputs), np.float32)
            sizes = map(str, (bits, inputs, outputs, rows))
            run = subprocess.run(
                [*command, isa, *sizes],
                input=b"".join(array.tobytes() for array in (codes, halves, bias, x)),
                capture_output=True,
                check=False,
            )
            assert run.returncode == 0, run.stderr.decode()
            ours = np.frombuffer(run.stdout, np.float32).reshape(rows, outputs)
            np.testing.assert_array_equal(ours, expected_product(codes, scales, bias, x))


def test_threads_do_not_race(tmp_path):
    build(tmp_path, "linear", "-DWHEATEAR_SANITIZE=thread")
    check_linear_layers([str(tmp_path / "linear")], "scalar")


@pytest.mark.skipif(
    not all(map(shutil.which, ("aarch64-linux-gnu-g++", "qemu-aarch64"))),
    reason="needs g++-aarch64-linux-gnu and qemu-user",
)
def test_linear_layers_are_exact_on_arm(tmp_path):
    build(
        tmp_path,
        "linear",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++",
        "-DCMAKE_EXE_LINKER_FLAGS=-static",
    )
    for isa in ("neon", "scalar"):
        check_linear_layers(["qemu-aarch64", str(tmp_path / "linear")], isa)


def test_kernels_export_only_functions_of_their_namespace(tmp_path):
    """The linker would use any other function of isa_kernels.cpp on all processors."""
    build(tmp_path, "wheatear")
    for isa in ("scalar", "avx2", "avx512", "neon"):
        for file in tmp_path.glob(f"CMakeFiles/isa_{isa}.dir/**/*.o"):
            names = subprocess.run(
                ["nm", "-C", "--defined-only", str(file)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.splitlines()
            weak = [line.split(maxsplit=2)[2] for line in names if line.split()[1] in "WVu"]
            assert weak
            assert not [name for name in weak if f"wheatear::{isa}::" not in name]


def test_pip_builds_a_small_wheel(tmp_path):
    if find_spec("scikit_build_core") is None:
        pytest.skip("needs scikit-build-core")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", str(tmp_path), str(NATIVE)], check=True)
    (wheel,) = tmp_path.glob("wheatear_native-*-py3-none-*.whl")
    assert wheel.stat().st_size < 2_000_000
