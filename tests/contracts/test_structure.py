"""The house stays as drawn: a light import, arrows one way, the README's commands the real ones."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "wheatear"

# The folders that each folder may import from, beside itself and errors.py.
ARROWS = {
    "errors": "",
    "common": "",
    "audio": "common",
    "model": "common audio",
    "encoder": "common audio model",
    "decoder": "common model",
    "transcript": "common audio model decoder",
    "recognizer": "common audio model encoder decoder transcript",
    "convert": "common audio model encoder decoder",
    "evaluate": "common audio model decoder transcript recognizer",
    "server": "common audio model decoder transcript recognizer",
    "bench": "common audio model decoder recognizer convert",
    "train": "common audio model convert evaluate",
    "cli": "common audio model decoder transcript recognizer convert evaluate bench train server",
}
_OURS = ("wheatear", "recipes", "benchmarks")
# Imports against the arrows that are still to be removed.
OWED: set[tuple[str, str]] = {
    ("audio/mel.py", "wheatear.model.latency"),
    ("audio/vad.py", "wheatear.model.latency"),
    ("bench/engines.py", "benchmarks.rivals"),
    ("bench/engines.py", "benchmarks.rivals.sherpa_export"),
    ("model/hub/external_package.py", "wheatear.recognizer.external.package"),
    ("model/hub/pull.py", "wheatear.convert"),
    ("model/hub/pull.py", "wheatear.convert.pipeline"),
    ("model/hub/pull.py", "wheatear.convert.quantize"),
}


def imported_modules(file):
    """Dotted names of modules of this repository that a file imports, at any depth."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in _OURS)


def test_import_is_light():
    """No torch, no web framework, nothing that only converting needs."""
    program = "import sys, wheatear; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {
        "av",
        "torch",
        "onnx",
        "starlette",
        "pydantic",
        "huggingface_hub",
        "yaml",
        "cyclopts",
        "rich",
        "kaldialign",
        "matplotlib",
        "wheatear.evaluate",
    }
    assert not heavy & set(out)


@pytest.mark.parametrize("package", ARROWS)
def test_imports_point_one_way(package):
    place = SOURCE / package
    files = place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]
    allowed = {package, "errors", "__version__", *ARROWS[package].split()}
    against = {
        (file.relative_to(SOURCE).as_posix(), module)
        for file in files
        for module in imported_modules(file)
        if module != "wheatear" and module.split(".")[1] not in allowed
    }
    assert {(file, module.rpartition(".")[0]) for file, module in against} <= OWED


def test_every_package_has_its_arrows():
    found = {p.stem for p in SOURCE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert found - {"__init__", "__main__"} == set(ARROWS)


def test_torch_is_imported_for_training_alone():
    """And to measure what others made with it."""
    for path in SOURCE.rglob("*.py"):
        names = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        if any(name.split(".")[0] == "torch" for name in names):
            # What runs NeMo or transformers beside us is for who has them.
            place = path.relative_to(SOURCE)
            peer = place.match("evaluate/engines/*.py")
            assert place.parts[0] == "train" or peer


def test_ci_runs_the_readmes_test_command():
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```(?:sh|console|bash)\n(.*?)```", readme, re.DOTALL)
    assert len(blocks) >= 2
    ci = (ROOT / ".ci" / "run").read_text()
    test_command = next(block for block in blocks if "pytest" in block)
    for line in filter(None, test_command.strip().splitlines()):
        assert line in ci
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_everything_public_is_found_when_it_is_asked_for():
    names = "import wheatear; print(all(getattr(wheatear, name) for name in wheatear.__all__))"
    done = subprocess.run(
        [sys.executable, "-c", names + "; print(wheatear.model.latency.__name__)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "wheatear.model.latency"]
