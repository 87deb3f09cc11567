"""Runs the tests with the oldest and with the newest releases of everything, on each Python.

    python3 tests/matrix.py                                  # all of it, for hours
    python3 tests/matrix.py --python 3.13 --releases newest -- -n 0 tests/audio/test_ffmpeg.py

Oldest are the lower bounds of pyproject.toml, of each extra; newest is whatever the index has, the
tools of the tests included. Interpreters are those on the PATH and pyenv's; one that is missing is
named. torch is installed where the index has a build of it for CPUs; without one the tests of
training are left out, and that is printed too. Environments stay in --folder and are used again.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
RELEASES = ("oldest", "newest")
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?(.*)")
_FLOOR = re.compile(r">=\s*([\w.]+)")


def main() -> int:
    """Runs the selected combinations; returns 1 if one of them fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", choices=PYTHONS)
    parser.add_argument("--releases", action="append", choices=RELEASES)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "matrix")
    parser.add_argument("--train", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    given = parser.parse_args()
    results: list[tuple[str, str]] = []
    for version in given.python or PYTHONS:
        python = interpreter(version)
        if python is None:
            results.append((version, "left out: there is no such interpreter"))
            continue
        for releases in given.releases or RELEASES:
            name = f"{version} {releases}"
            print(f"== {name}", flush=True)
            folder = given.folder / f"{version}-{releases}"
            results.append((name, combination(python, releases, folder, given.train, given.pytest)))
    print("\n== results")
    for name, result in results:
        print(f"{name:14} {result}")
    return int(any(result.startswith("failed") for _, result in results))


def interpreter(version: str) -> Path | None:
    """A Python of this version, with its own pip: pyenv's, or one on the PATH."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(pyenv.glob(f"{version}.*/bin/python{version}"))
    on_path = shutil.which(f"python{version}")
    for path in [*found[-1:], *([Path(on_path)] if on_path else [])]:
        check = f"import sys, venv; sys.exit('{version}' != '%d.%d' % sys.version_info[:2])"
        if subprocess.run([path, "-c", check], capture_output=True, check=False).returncode == 0:
            return path
    return None


def combination(
    python: Path, releases: str, folder: Path, train: bool | None, pytest: Sequence[str]
) -> str:
    """Installs and tests one of them; its line in the table."""
    run = subprocess.run([python, "-m", "venv", folder], check=False)
    if run.returncode:
        return "failed: no environment"
    environment = folder / ("Scripts" if os.name == "nt" else "bin")
    if train is None:
        train = has_torch_for_cpus(environment / "python")
    left_out = "" if train else "; without training: no torch for CPUs"
    command = [environment / "python", "-m", "pip", "install", "--upgrade"]
    bounds = folder / "bounds.txt"
    bounds.write_text(
        "".join(f"{line}\n" for line in floors(train)) if releases == "oldest" else ""
    )
    command += ["-c", bounds, *requirements(train), "-e", ROOT, ROOT / "native"]
    if subprocess.run(command, check=False).returncode:
        return f"failed to install{left_out}"
    tests = [environment / "pytest", *pytest]  # which leaves out what needs torch
    code = subprocess.run(tests, cwd=ROOT, check=False).returncode
    return (f"failed: pytest ended with {code}" if code else "passed") + left_out


def project() -> tuple[list[str], dict[str, list[str]]]:
    """Requirements of pyproject.toml: those of the package, and of each extra."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return about["dependencies"], about["optional-dependencies"]


def requirements(train: bool) -> list[str]:
    """Requirements of all extras; where there is no torch, of all but that."""
    own, extras = project()
    every = [*own, *(line for extra in extras.values() for line in extra)]
    kept = [line for line in every if not line.startswith("wheatear")]
    return [line for line in kept if train or not line.startswith("torch")]


def floors(train: bool) -> list[str]:
    """The lowest release that each requirement allows, pinned."""
    pins = []
    for line in requirements(train):
        match = _REQUIREMENT.fullmatch(line)
        assert match is not None
        floor = _FLOOR.search(match[3])
        assert floor is not None, f"{line} has no lower bound"
        pins.append(f"{match[1]}=={floor[1]}")
    return pins


def has_torch_for_cpus(python: Path) -> bool:
    """True if what pip would install of torch is small enough to be for CPUs."""
    wanted = next(line for line in project()[1]["train"] if line.startswith("torch"))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps"]
        command += ["--ignore-installed", "--report", report, wanted]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return False
        return "+cpu" in report.read_text() or "macosx" in report.read_text()


if __name__ == "__main__":
    sys.exit(main())
