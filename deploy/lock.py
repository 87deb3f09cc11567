"""Writes requirements.txt and build-requirements.txt, the pinned packages of the image.

    pip install uv && python deploy/lock.py

requirements.txt has the dependencies of `wheatear[server,media,hub]` at the versions of
constraints.txt, which the tests use. build-requirements.txt has the packages that build the wheels.
Both contain the hashes for all platforms.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
PYTHON = "3.13"  # as in the Dockerfile
EXTRAS = ("server", "media", "hub")
BUILD = ("cmake", "ninja")  # in addition to the pyproject.toml files
HEADER = "# Written by deploy/lock.py; pip install --require-hashes -r ...\n"


def main() -> None:
    """Writes both files."""
    extras = [word for name in EXTRAS for word in ("--extra", name)]
    source = [ROOT / "pyproject.toml", *extras, "-c", ROOT / "constraints.txt"]
    _write(HERE / "requirements.txt", source, "")
    projects = [ROOT / "pyproject.toml", ROOT / "native" / "pyproject.toml"]
    needed = [tomllib.loads(path.read_text())["build-system"]["requires"] for path in projects]
    lines = [*(line for lines in needed for line in lines), *BUILD]
    _write(HERE / "build-requirements.txt", ["-"], "\n".join(lines))


def _write(path: Path, source: list[str | Path], given: str) -> None:
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", *source, "--universal"]
    command += ["--python-version", PYTHON, "--generate-hashes", "--no-header", "--no-annotate"]
    command += ["--no-emit-index-url", "--no-emit-find-links"]
    run = subprocess.run(command, input=given, capture_output=True, text=True, check=False)  # noqa: S603
    if run.returncode:
        sys.exit(run.stderr)
    path.write_text(HEADER + run.stdout)


if __name__ == "__main__":
    main()
